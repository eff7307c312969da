//! A refusal, read where it arrives: its body and headers are gone further up.

use http_body_util::BodyExt;
use object_store::client::{HttpError, HttpErrorKind, HttpRequest, HttpResponse};
use serde::Deserialize;
use url::Url;

use super::watch::WatchedResponse;

/// The largest error document that is read, and the largest answer that may be one.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// As much of an answer that is no S3 error document is shown.
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
    /// Where the same is to be asked for with TLS, when it redirects there.
    pub(in crate::store) tls_at: Option<String>,
    /// Whether the request was to write something.
    pub(in crate::store) to_write: bool,
}

impl From<Answer> for HttpError {
    fn from(answer: Answer) -> Self {
        Self::new(HttpErrorKind::Unknown, answer)
    }
}

/// Reads the whole of an answer that may be an error although its status is 200.
pub(super) async fn late(
    parts: http::response::Parts,
    body: WatchedResponse,
) -> Result<HttpResponse, Late> {
    let text = super::read_up_to(MAX_ERROR_BYTES, body)
        .await
        .map_err(Late::Broken)?;
    match parse_error(&text) {
        // What may fail late, writes.
        Some(answer) => Err(Late::Refused(Answer {
            status: 500,
            to_write: true,
            ..answer
        })),
        None => Ok(HttpResponse::from_parts(parts, text.into())),
    }
}

/// How an answer with status 200 can fail.
pub(super) enum Late {
    Refused(Answer),
    Broken(HttpError),
}

/// What was asked, as far as it says what an answer means.
pub(super) struct Asked {
    to_write: bool,
    url: Option<Url>,
}

impl Asked {
    pub(super) fn by(request: &HttpRequest) -> Self {
        let to_write = matches!(*request.method(), http::Method::PUT | http::Method::POST);
        Self {
            to_write,
            url: request.uri().to_string().parse().ok(),
        }
    }

    /// The origin with TLS that a redirect leads to, when nothing else is different there.
    fn with_tls(&self, location: &str) -> Option<String> {
        let from = self.url.as_ref().filter(|url| url.scheme() == "http")?;
        let to = from.join(location).ok()?;
        let is_same =
            to.scheme() == "https" && to.host() == from.host() && to.path() == from.path();
        is_same.then(|| to.origin().ascii_serialization())
    }
}

pub(super) async fn read(
    parts: &http::response::Parts,
    mut body: WatchedResponse,
    asked: &Asked,
) -> Answer {
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        text.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if text.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let said = parse_error(&text).unwrap_or_else(|| Answer {
        message: plain(&String::from_utf8_lossy(&text)),
        // S3 redirects to another region with a document, or with a header when nobody may read one.
        is_s3: text.is_empty() && !matches!(parts.status.as_u16(), 302 | 303),
        ..Answer::default()
    });
    let location =
        header("location").filter(|_| parts.status.is_redirection() && said.code.is_empty());
    let tls_at = location.and_then(|location| asked.with_tls(&location));
    Answer {
        status: parts.status.as_u16(),
        request_id: said.request_id.or_else(|| header("x-amz-request-id")),
        region: said.region.or_else(|| header("x-amz-bucket-region")),
        date: header("date"),
        is_s3: said.is_s3 && tls_at.is_none(),
        tls_at,
        to_write: asked.to_write,
        ..said
    }
}

/// The first words of a web page or of another service's answer.
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

/// Reads an S3 error document.
pub(in crate::store) fn parse_error(text: &[u8]) -> Option<Answer> {
    #[derive(Deserialize)]
    #[serde(rename = "Error", rename_all = "PascalCase")]
    struct Document {
        code: String,
        #[serde(default)]
        message: String,
        request_id: Option<String>,
        region: Option<String>,
    }
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.contains("<Error"))?;
    let document: Document = quick_xml::de::from_str(text).ok()?;
    Some(Answer {
        status: 0,
        code: document.code,
        message: document.message,
        request_id: document.request_id,
        region: document.region.filter(|region| !region.is_empty()),
        is_s3: true,
        ..Answer::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_with_tls_is_a_redirect_to_tls() {
        let asked = Asked {
            to_write: false,
            url: "http://nas:9000/bucket/?list-type=2".parse().ok(),
        };
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
            assert_eq!(asked.with_tls(location).as_deref(), expected, "{location}");
        }
    }
}
