//! The endpoint: written out, copied from a provider's page with the bucket in it, or built from the provider's template.

use std::collections::HashMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use url::{ParseError, Url};

use super::reader::Reader;
use crate::error::Reason;
use crate::logging::scrub::without_credentials;
use crate::provider::{self, Provider};

/// Characters that stay as they are in the path that a signature covers. Source: "`UriEncode()`" in "Create a signed request"
/// in Amazon's user guide of IAM.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The settings that an endpoint depends on.
#[derive(Clone, Copy)]
pub(super) struct Place<'s> {
    pub(super) provider: &'static Provider,
    pub(super) region: Option<&'s str>,
    pub(super) bucket: Option<&'s str>,
}

/// Reads the endpoint, or builds it from the provider's template and fields.
pub(super) fn read(
    section: &mut Reader<'_>,
    endpoint: Option<String>,
    place: Place<'_>,
) -> Option<Url> {
    let provider = place.provider;
    let fields: HashMap<&str, String> = provider
        .fields
        .iter()
        .filter_map(|field| Some((field.id.as_str(), section.text(&field.id)?)))
        .collect();
    if let Some(text) = endpoint {
        return written(section, &text, place.bucket);
    }
    let value = |name: &str| match name {
        "region" => place.region.map(str::to_owned),
        _ => fields.get(name).cloned(),
    };
    match provider.endpoint_for(value) {
        Ok(url) => Some(url),
        Err(missing) => {
            for field in missing {
                let message = if field == "endpoint" {
                    "is missing: the URL of the provider's S3 API, such as \"https://s3.example.com\"".to_owned()
                } else {
                    format!(
                        "is missing or not right: {} needs it for its endpoint",
                        provider.name
                    )
                };
                let kind = if field == "endpoint" {
                    "endpoint_missing"
                } else {
                    "needed_for_endpoint"
                };
                section
                    .problem(&field, message)
                    .of_kind(kind, [("provider", provider.name.clone())]);
            }
            None
        }
    }
}

fn written(section: &mut Reader<'_>, text: &str, bucket: Option<&str>) -> Option<Url> {
    let parsed = Url::parse(text);
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let Some(url) = parsed.as_ref().ok().filter(|url| is_web(url)).cloned() else {
        note_no_url(section, text, parsed.err());
        return None;
    };
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        section
            .problem(
                "endpoint",
                "must be scheme, host, port and path only; the key goes into access_key_id",
            )
            .of_kind("endpoint_with_more", []);
        return None;
    }
    // Only a host that the table does not know may have its S3 API below a path.
    if url.path() != "/" && provider::of_endpoint(&url).is_some() {
        note_path(section, &url, bucket);
        return None;
    }
    if let Some(without) = bucket.and_then(|bucket| without_bucket(&url, bucket)) {
        let message = format!("has the bucket before the host: write \"{without}\"");
        let problem = section.problem("endpoint", message);
        problem.reason = Some(Reason::EndpointWithBucket);
        problem.suggestion = Some(without);
        return None;
    }
    Some(canonical(url))
}

/// The URL with its path in the one form that servers compute the signature over, and without a slash at its end.
fn canonical(mut url: Url) -> Url {
    let segments = url.path().trim_end_matches('/').split('/');
    let encoded = segments.map(|segment| {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        percent_encode(&decoded, SEGMENT).to_string()
    });
    let path = encoded.collect::<Vec<_>>().join("/");
    url.set_path(&path);
    url
}

fn note_no_url(section: &mut Reader<'_>, text: &str, error: Option<ParseError>) {
    let text = without_credentials(text);
    let has_web_scheme = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if let Some(error) = error.filter(|_| has_web_scheme) {
        let (message, kind) = match error {
            ParseError::InvalidPort => (
                format!("must have a number up to 65535 as its port, or no port, not \"{text}\""),
                "bad_port",
            ),
            error => (format!("is not a URL: {error} in \"{text}\""), "not_a_url"),
        };
        section.problem("endpoint", message).of_kind(kind, []);
        return;
    }
    let completed = format!("https://{text}");
    let has_scheme = text.contains("://");
    let guess = Url::parse(&completed)
        .ok()
        .filter(|url| !has_scheme && url.has_host() && text.contains(['.', ':']));
    let message = format!("must be a URL that starts with https:// or http://, not \"{text}\"");
    let problem = section
        .problem("endpoint", message)
        .of_kind("not_a_url", []);
    if guess.is_some() {
        problem.reason = Some(Reason::EndpointWithoutScheme);
        problem.suggestion = Some(completed);
    }
}

fn note_path(section: &mut Reader<'_>, url: &Url, bucket: Option<&str>) {
    let origin = url.origin().ascii_serialization();
    let first = url.path().trim_matches('/').split('/').next();
    let (reason, what) = if bucket.is_some() && bucket == first {
        (Reason::EndpointWithBucket, "has the bucket in it")
    } else {
        (
            Reason::EndpointWithPath,
            "must be scheme, host and port only; the bucket and the folder go into bucket and prefix",
        )
    };
    let problem = section.problem("endpoint", format!("{what}: write \"{origin}\""));
    problem.reason = Some(reason);
    problem.suggestion = Some(origin);
}

/// The endpoint without the bucket before its host, if that is a known provider's.
fn without_bucket(url: &Url, bucket: &str) -> Option<String> {
    let host = url
        .host_str()?
        .strip_prefix(bucket)?
        .strip_prefix('.')?
        .to_owned();
    let mut without = url.clone();
    without.set_host(Some(&host)).ok()?;
    let provider = provider::of_endpoint(&without)?;
    // A template such as `https://{field}.example.com` may match the bucket as its field.
    let is_same = provider::of_endpoint(url).is_none_or(|other| other.id == provider.id);
    is_same.then(|| without.origin().ascii_serialization())
}
