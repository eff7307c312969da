//! Answers of a provider before it touches any object.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Mutex;

use chrono::{DateTime, NaiveDateTime, Utc};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use s3s::Body;

use super::{Quirk, Quirks, Saying};

/// S3's limit of clock skew. Source: `RequestTimeTooSkewed` in Amazon's API reference, "Error
/// responses".
const MAX_SKEW_SECONDS: i64 = 15 * 60;

/// A refusal in a provider's words.
pub(super) struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    /// Elements beside code and message.
    more: String,
    headers: Vec<(&'static str, String)>,
}

/// Number of requests per kind.
#[derive(Default)]
pub(super) struct Counts {
    kinds: Mutex<HashMap<String, usize>>,
    all: Mutex<usize>,
}

/// The fate of a request, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Answer,
    SlowDown,
    HangUpBefore,
    HangUpAfter,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            more: String::new(),
            headers: Vec::new(),
        }
    }

    fn with(mut self, element: &str, text: &str) -> Self {
        write!(self.more, "<{element}>{text}</{element}>").unwrap();
        self
    }

    pub(super) fn slow_down() -> Self {
        Self::new(503, "SlowDown", "Please reduce your request rate.")
    }

    pub(super) fn unavailable() -> Self {
        Self::new(
            503,
            "ServiceUnavailable",
            "Service is unable to handle request.",
        )
    }

    pub(super) fn denied() -> Self {
        Self::new(403, "AccessDenied", "Access Denied")
    }

    pub(super) fn internal_error() -> Self {
        Self::new(
            500,
            "InternalError",
            "We encountered an internal error. Please try again.",
        )
    }

    pub(super) fn answer(self) -> Response<Body> {
        let Self {
            status,
            code,
            message,
            more,
            headers,
        } = self;
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{more}\
             <RequestId>4442587FB7D0A2F9</RequestId></Error>"
        );
        let answer = Response::builder().status(StatusCode::from_u16(status).unwrap());
        let answer = answer
            .header("content-type", "application/xml")
            .header("x-amz-request-id", "4442587FB7D0A2F9");
        headers
            .into_iter()
            .fold(answer, |answer, (name, value)| answer.header(name, value))
            .body(text.into())
            .unwrap()
    }
}

impl Counts {
    /// Counts a request and decides its fate.
    pub(super) fn turn(&self, request: &Parts, quirks: &Quirks) -> Turn {
        let number = count(&mut self.all.lock().unwrap());
        let of_kind = count(self.kinds.lock().unwrap().entry(kind(request)).or_default());
        let turn = quirks.find(|quirk| match quirk {
            Quirk::SlowDownFirst(first) if of_kind <= *first => Some(Turn::SlowDown),
            Quirk::SlowDownEvery(every) if number.is_multiple_of(*every) => Some(Turn::SlowDown),
            Quirk::HangsUpEvery(every) if number.is_multiple_of(2 * *every) => {
                Some(Turn::HangUpAfter)
            }
            Quirk::HangsUpEvery(every) if number.is_multiple_of(*every) => Some(Turn::HangUpBefore),
            _ => None,
        });
        turn.unwrap_or(Turn::Answer)
    }
}

fn count(counter: &mut usize) -> usize {
    *counter += 1;
    *counter
}

/// Requests are of one kind if method and query parameter names are equal.
fn kind(request: &Parts) -> String {
    let query = request.uri.query().unwrap_or_default();
    let names = query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default());
    let level = if bucket_of(request).1.is_empty() {
        "bucket"
    } else {
        "object"
    };
    format!(
        "{} {level} {}",
        request.method,
        names.collect::<Vec<_>>().join(" ")
    )
}

/// Bucket and key, for either addressing style.
pub(super) fn bucket_of(request: &Parts) -> (&str, &str) {
    let path = request.uri.path().trim_start_matches('/');
    match virtual_bucket(request) {
        Some(bucket) => (bucket, path),
        None => path.split_once('/').unwrap_or((path, "")),
    }
}

fn virtual_bucket(request: &Parts) -> Option<&str> {
    let (host, _port) = header(request, "host").rsplit_once(':')?;
    host.strip_suffix(".localhost")
}

fn header<'r>(request: &'r Parts, name: &str) -> &'r str {
    request
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The refusal of the request by a provider with these quirks at this time, if any.
pub(super) fn refusal(request: &Parts, quirks: &Quirks, now: DateTime<Utc>) -> Option<Refusal> {
    let refusal = quirks.find(|quirk| match quirk {
        Quirk::VirtualHostsOnly => path_style(request),
        Quirk::Region(region) => other_region(request, region),
        Quirk::RedirectsTo(region) => redirect(request, region),
        Quirk::TokenExpired => expired_token(request),
        Quirk::RefusesChecksumHeaders => checksum_header(request),
        Quirk::MisreadsTrailers => misread_trailer(request),
        Quirk::NoBulkDelete => bulk_delete(request),
        Quirk::Says(saying) => said(request, saying),
        Quirk::RegionInWords(region) => region_in_words(request, region),
        Quirk::Jurisdiction(name) => other_jurisdiction(request, name),
        Quirk::HiddenJurisdiction(name) => {
            other_jurisdiction(request, name).map(|_| Refusal::denied())
        }
        Quirk::DemandsEncryption => plain_object(request),
        Quirk::ListsFolderOnly => other_folder(request),
        Quirk::DemandsDigest => without_digest(request),
        _ => None,
    });
    refusal.or_else(|| skewed(request, now))
}

fn path_style(request: &Parts) -> Option<Refusal> {
    let is_path_style = virtual_bucket(request).is_none() && request.uri.path() != "/";
    is_path_style
        .then(|| {
            Refusal::new(
                403,
                "SecondLevelDomainForbidden",
                "Please use virtual hosted style to access.",
            )
        })
        .map(|refusal| refusal.with("HostId", header(request, "host")))
}

/// The region in the signature's scope: `Credential=KEY/DATE/REGION/s3/aws4_request`.
fn signed_region(request: &Parts) -> Option<&str> {
    let (_, credential) = header(request, "authorization").split_once("Credential=")?;
    credential.split('/').nth(2)
}

fn other_region(request: &Parts, region: &str) -> Option<Refusal> {
    let signed = signed_region(request).filter(|signed| *signed != region)?;
    let message = format!(
        "The authorization header is malformed; the region '{signed}' is wrong; expecting '{region}'"
    );
    Some(Refusal::new(400, "AuthorizationHeaderMalformed", message).with("Region", region))
}

fn redirect(request: &Parts, region: &str) -> Option<Refusal> {
    signed_region(request).filter(|signed| *signed != region)?;
    let message = "The bucket you are attempting to access must be addressed using the specified endpoint. \
                   Please send all future requests to this endpoint.";
    let refusal = Refusal::new(301, "PermanentRedirect", message);
    let refusal = refusal
        .with("Endpoint", header(request, "host"))
        .with("Bucket", bucket_of(request).0);
    Some(Refusal {
        headers: vec![("x-amz-bucket-region", region.to_owned())],
        ..refusal
    })
}

fn expired_token(request: &Parts) -> Option<Refusal> {
    let has_token = request.headers.contains_key("x-amz-security-token");
    has_token.then(|| Refusal::new(400, "ExpiredToken", "The provided token has expired."))
}

fn checksum_header(request: &Parts) -> Option<Refusal> {
    let is_refused = |name: &str| {
        name.starts_with("x-amz-checksum-")
            || matches!(name, "x-amz-sdk-checksum-algorithm" | "x-amz-trailer")
    };
    let name = request
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| is_refused(name))?;
    Some(Refusal::new(
        400,
        "InvalidArgument",
        format!("Unsupported header '{name}' received for this API call."),
    ))
}

fn misread_trailer(request: &Parts) -> Option<Refusal> {
    let has_trailer = header(request, "x-amz-content-sha256").starts_with("STREAMING-");
    // Ceph sends no message at all.
    has_trailer.then(|| Refusal::new(400, "XAmzContentSHA256Mismatch", ""))
}

fn bulk_delete(request: &Parts) -> Option<Refusal> {
    let query = request.uri.query().unwrap_or_default();
    let deletes = request.method == Method::POST
        && query
            .split('&')
            .any(|pair| matches!(pair, "delete" | "delete="));
    let message = "A header or query you provided requested a function that is not implemented.";
    deletes
        .then(|| Refusal::new(400, "NotImplemented", message))
        .map(|refusal| refusal.with("Details", "POST ?delete is not implemented for objects."))
}

fn said(request: &Parts, saying: &Saying) -> Option<Refusal> {
    let is_of_upload = request
        .uri
        .query()
        .is_some_and(|query| query.contains("uploadId"));
    let level = match bucket_of(request).1 {
        "" => "bucket",
        _ if is_of_upload => "upload",
        _ => "object",
    };
    let is_meant = saying.to == "any" || saying.to == format!("{} {level}", request.method);
    is_meant.then(|| Refusal::new(saying.status, saying.code, saying.message))
}

fn region_in_words(request: &Parts, region: &str) -> Option<Refusal> {
    signed_region(request).filter(|signed| *signed != region)?;
    let message = "The secret key required to complete authentication could not be found. The region must be \
                   specified if this is not the home region for the tenancy.";
    Some(Refusal::new(403, "SignatureDoesNotMatch", message))
}

fn other_jurisdiction(request: &Parts, name: &str) -> Option<Refusal> {
    let is_there = header(request, "host").contains(&format!(".{name}.r2."));
    let message = "The specified bucket does not exist.";
    (!is_there).then(|| Refusal::new(404, "NoSuchBucket", message))
}

fn plain_object(request: &Parts) -> Option<Refusal> {
    let query = request.uri.query().unwrap_or_default();
    let begins =
        matches!(request.method, Method::PUT | Method::POST) && !query.contains("uploadId");
    let is_plain = header(request, "x-amz-server-side-encryption") != "AES256";
    let message = "User: arn:aws:iam::111122223333:user/ha is not authorized to perform: s3:PutObject on resource: \
                   \"arn:aws:s3:::ha-backups/*\" with an explicit deny in a resource-based policy";
    (begins && is_plain).then(|| Refusal::new(403, "AccessDenied", message))
}

fn other_folder(request: &Parts) -> Option<Refusal> {
    let query = request.uri.query().unwrap_or_default();
    let lists = query.contains("list-type=2");
    let is_allowed = query.split('&').any(|pair| pair == "prefix=backups%2F");
    (lists && !is_allowed).then(Refusal::denied)
}

fn without_digest(request: &Parts) -> Option<Refusal> {
    let has_content =
        request.method == Method::PUT && !matches!(header(request, "content-length"), "" | "0");
    let is_digest = |name: &str| {
        let is_checksum = name.starts_with("x-amz-checksum-") && !name.ends_with("-mode");
        name == "content-md5" || is_checksum
    };
    let has_digest = request.headers.keys().any(|name| is_digest(name.as_str()));
    let message = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
    (has_content && !has_digest).then(|| Refusal::new(400, "InvalidRequest", message))
}

fn skewed(request: &Parts, now: DateTime<Utc>) -> Option<Refusal> {
    let said = header(request, "x-amz-date");
    let time = NaiveDateTime::parse_from_str(said, "%Y%m%dT%H%M%SZ")
        .ok()?
        .and_utc();
    let is_off = (now - time).num_seconds().abs() > MAX_SKEW_SECONDS;
    let message = "The difference between the request time and the current time is too large.";
    is_off.then(|| {
        Refusal::new(403, "RequestTimeTooSkewed", message)
            .with("RequestTime", said)
            .with("ServerTime", &now.format("%Y-%m-%dT%H:%M:%SZ").to_string())
            .with("MaxAllowedSkewMilliseconds", "900000")
    })
}
