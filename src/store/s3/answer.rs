//! Refusals: any status but 2xx, or an error document with status 200.

mod meaning;
mod sent;
mod words;

use http::{HeaderMap, Method};
use url::Url;

pub(in crate::store) use sent::Setting;

use super::request::Request;
use super::xml;
use crate::error::{Placeholders, Reason};
use crate::store::error::{Error, Outcome, clock_offset};

/// Longest text of a foreign answer that is shown.
const MAX_PLAIN_CHARS: usize = 160;

/// An answer other than success.
#[derive(Debug, Clone, Default, thiserror::Error)]
#[error("HTTP status {status}: {code} {message}")]
pub(in crate::store) struct Answer {
    pub(in crate::store) status: u16,
    pub(in crate::store) code: String,
    pub(in crate::store) message: String,
    pub(in crate::store) request_id: Option<String>,
    pub(in crate::store) region: Option<String>,
    /// The server's clock.
    pub(in crate::store) date: Option<String>,
    /// Whether it was an S3 error document, or an empty body as HEAD and some proxies have.
    pub(in crate::store) is_s3: bool,
    /// Whether an S3 server answered there before.
    pub(in crate::store) was_s3: bool,
    /// Origin with TLS that it redirects to.
    pub(in crate::store) tls_at: Option<String>,
    /// Whether the request was to write.
    pub(in crate::store) to_write: bool,
    /// Optional settings that the request carried.
    pub(in crate::store) sent: Vec<Setting>,
}

impl Answer {
    /// Reads a refusal of a request to `url`.
    pub(super) fn read(
        status: http::StatusCode,
        headers: &HeaderMap,
        text: &[u8],
        url: &Url,
    ) -> Self {
        let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let said = Self::parse(text).unwrap_or_else(|| Self {
            message: plain(&String::from_utf8_lossy(text)),
            // S3 redirects to another region with a document, or with a header in an answer without a body.
            is_s3: text.is_empty() && !matches!(status.as_u16(), 302 | 303),
            ..Self::default()
        });
        let location =
            header("location").filter(|_| status.is_redirection() && said.code.is_empty());
        let tls_at = location.and_then(|location| same_with_tls(url, &location));
        Self {
            status: status.as_u16(),
            request_id: said.request_id.or_else(|| header("x-amz-request-id")),
            region: said.region.or_else(|| header("x-amz-bucket-region")),
            date: header("date"),
            is_s3: said.is_s3 && tls_at.is_none(),
            tls_at,
            ..said
        }
    }

    /// Reads an S3 error document.
    pub(in crate::store) fn parse(text: &[u8]) -> Option<Self> {
        let document = xml::Refusal::parse(text)?;
        Some(Self {
            code: document.code,
            message: document.message,
            request_id: document.request_id,
            region: document.region.filter(|region| !region.is_empty()),
            is_s3: true,
            ..Self::default()
        })
    }

    /// Whether the bucket takes content only with a digest that the server verifies.
    pub(super) fn demands_digest(&self) -> bool {
        words::demand_a_digest(&self.code, &self.message.to_lowercase())
    }

    /// Texts in which a server may repeat what it was sent.
    pub(super) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let optional = [
            &mut self.request_id,
            &mut self.region,
            &mut self.date,
            &mut self.tls_at,
        ];
        [&mut self.code, &mut self.message]
            .into_iter()
            .chain(optional.into_iter().flatten())
    }

    /// Converts it to an error; `action` completes "could not …".
    pub(in crate::store) fn error(&self, action: &str) -> Error {
        let outcome = meaning::outcome_of(self);
        let mut said = match &self.tls_at {
            Some(origin) => format!("the server redirects to {origin}"),
            None if self.message.is_empty() => {
                format!("the provider answered with HTTP status {}", self.status)
            }
            None => self.message.clone(),
        };
        let words = (!self.message.is_empty()).then(|| self.message.clone());
        let placeholders: Placeholders = [("said", words), ("region", self.region.clone())]
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?)))
            .collect();
        let ahead = self.date.as_deref().and_then(ahead_of);
        if let Some(ahead) = ahead.filter(|_| outcome == Outcome::ClockSkew) {
            said = format!("{said} This machine's clock is {}.", clock_offset(ahead));
        }
        Error {
            reason: meaning::reason_of(self),
            provider_code: (!self.code.is_empty()).then(|| self.code.clone()),
            request_id: self.request_id.clone(),
            placeholders: placeholders.into(),
            may_pass: meaning::may_pass(self, outcome),
            ..Error::could_not(action, outcome, said)
        }
    }

    /// Whether it refuses without a code, which S3 has except in answers to HEAD.
    pub(super) fn is_bare_refusal(&self) -> bool {
        self.code.is_empty() && matches!(self.status, 400 | 403 | 406)
    }

    /// Adds what the refused request was.
    pub(super) fn to(self, request: &Request) -> Self {
        Self {
            to_write: matches!(request.method, Method::PUT | Method::POST),
            sent: sent::of(&request.headers),
            ..self
        }
    }

    /// Whether the request asked for encryption.
    fn sent_encryption(&self) -> bool {
        self.sent
            .iter()
            .any(|setting| matches!(setting, Setting::Aes256 | Setting::Kms | Setting::Customer))
    }

    /// Whether no request of this kind is answered: without TLS, or with this proxy.
    pub(super) fn is_on_the_way(&self) -> bool {
        matches!(
            meaning::reason_of(self),
            Some(Reason::TlsNeeded | Reason::ProxyFailed)
        )
    }

    /// Whether it refuses the credential, or the credential for this request.
    pub(super) fn is_of_credential(&self) -> bool {
        matches!(
            meaning::outcome_of(self),
            Outcome::Auth | Outcome::Forbidden
        )
    }
}

/// Returns how far this machine's clock is ahead of a `Date` header (RFC 9110, section 5.6.7).
pub(super) fn ahead_of(date: &str) -> Option<chrono::Duration> {
    let server = chrono::DateTime::parse_from_rfc2822(date).ok()?;
    Some(chrono::Utc::now().signed_duration_since(server))
}

/// Origin with TLS that a redirect leads to, when nothing else differs there.
fn same_with_tls(from: &Url, location: &str) -> Option<String> {
    let to = from
        .join(location)
        .ok()
        .filter(|_| from.scheme() == "http")?;
    let is_same = to.scheme() == "https" && to.host() == from.host() && to.path() == from.path();
    is_same.then(|| to.origin().ascii_serialization())
}

/// First words of a web page or of another service's answer.
pub(in crate::store) fn plain(text: &str) -> String {
    let mut is_tag = false;
    let outside = text.chars().map(|c| {
        is_tag = c == '<' || (is_tag && c != '>');
        if is_tag || c == '>' { ' ' } else { c }
    });
    let words: String = outside.collect();
    words
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MAX_PLAIN_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error as AgentError, Kind};

    #[test]
    fn only_the_same_address_with_tls_is_a_redirect_to_tls() {
        let asked = "http://nas:9000/bucket/?list-type=2".parse().unwrap();
        for (location, expected) in [
            (
                "https://nas:9000/bucket/?list-type=2",
                Some("https://nas:9000"),
            ),
            ("https://nas/bucket/", Some("https://nas")),
            ("https://nas:9000/login", None),
            ("https://elsewhere:9000/bucket/", None),
            ("http://nas:9000/bucket/", None),
            ("/bucket/", None),
        ] {
            assert_eq!(
                same_with_tls(&asked, location).as_deref(),
                expected,
                "{location}"
            );
        }
    }

    #[test]
    fn redirect_to_tls_is_no_other_region() {
        let answer = Answer {
            status: 301,
            tls_at: Some("https://nas".into()),
            ..Answer::default()
        };
        let error = answer.error("list bucket \"b\"");
        assert_eq!(
            (error.outcome, error.reason),
            (Outcome::NotS3, Some(Reason::TlsNeeded))
        );
        assert!(
            error
                .message
                .ends_with("the server redirects to https://nas"),
            "{error}"
        );
    }

    #[test]
    fn region_that_the_provider_names_becomes_the_hint() {
        let answer = Answer {
            status: 400,
            code: "AuthorizationHeaderMalformed".into(),
            message: "wrong".into(),
            region: Some("eu-1".into()),
            is_s3: true,
            ..Answer::default()
        };
        let error = AgentError::from(answer.error("list bucket \"b\""));
        assert_eq!(
            (error.kind(), error.hint()),
            (Kind::WrongRegion, "Set the location's region to \"eu-1\".")
        );
        assert_eq!(
            error.to_string(),
            "Could not list bucket \"b\": wrong (AuthorizationHeaderMalformed)"
        );
    }
}
