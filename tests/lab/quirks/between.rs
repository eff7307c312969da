//! Proxies and caches between the agent and the server.

use std::collections::HashSet;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, RANGE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use s3s::Body;

use super::{Quirk, Quirks};

/// Ending of the objects that a cache keeps.
const TAR: &str = ".tar";

/// What is between the agent and one server.
#[derive(Default)]
pub(super) struct Between {
    /// Addresses that a cache answers with "not found".
    not_found: Mutex<HashSet<String>>,
}

/// What becomes of a request before it arrives.
pub(super) enum Passes {
    /// It arrives, perhaps changed.
    On,
    /// It is answered on the way.
    Answered(Response<Body>),
    /// The connection breaks.
    Broken,
}

/// What to do with the answer.
pub(super) struct Back {
    target: String,
    is_read: bool,
    /// The range that a cache cuts out itself.
    range: Option<String>,
    /// The tag that a cache compares itself.
    if_match: Option<String>,
}

impl Between {
    /// Lets a request pass, or not, and changes it.
    pub(super) fn passes(&self, request: &mut Parts, length: usize, quirks: &Quirks) -> Passes {
        if let Some(refused) = refused(request, length, quirks) {
            return refused;
        }
        let is_known = self.not_found.lock().unwrap().contains(&target(request));
        if is_known && is_read(request) {
            let message = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
            return Passes::Answered(answer(404, "application/xml", message));
        }
        for quirk in &quirks.0 {
            change(request, quirk);
        }
        Passes::On
    }

    /// Notes what the answer to a request needs.
    pub(super) fn back(request: &Parts, quirks: &Quirks) -> Back {
        let is_read = is_read(request);
        let kept = |name: HeaderName| {
            let is_cached = quirks.has(&Quirk::CachesTars) && is_read && is_tar(request);
            let value = request.headers.get(name).filter(|_| is_cached)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Back {
            target: target(request),
            is_read,
            range: kept(RANGE).filter(|_| request.method == Method::GET),
            if_match: kept(IF_MATCH),
        }
    }

    /// Changes an answer.
    pub(super) async fn answers(
        &self,
        answer: Response<Body>,
        back: Back,
        quirks: &Quirks,
    ) -> Response<Body> {
        let caches = quirks.has(&Quirk::CachesNotFound) || quirks.has(&Quirk::CachesTars);
        if caches && back.is_read && answer.status() == StatusCode::NOT_FOUND {
            let is_tar = back.target.split('?').next().unwrap().ends_with(TAR);
            if is_tar {
                self.not_found.lock().unwrap().insert(back.target.clone());
            }
        }
        let mut answer = cached(answer, &back).await;
        if quirks.has(&Quirk::WeakETags) {
            weaken(&mut answer);
        }
        if quirks.has(&Quirk::RangeAs200) && answer.status() == StatusCode::PARTIAL_CONTENT {
            *answer.status_mut() = StatusCode::OK;
        }
        let is_completion =
            back.target.contains("uploadId=") && !back.target.contains("partNumber");
        if is_completion && quirks.has(&Quirk::CompletesSilently) {
            answer = silenced(answer).await;
        }
        answer
    }
}

fn target(request: &Parts) -> String {
    request
        .uri
        .path_and_query()
        .map_or_else(String::new, ToString::to_string)
}

fn is_read(request: &Parts) -> bool {
    matches!(request.method, Method::GET | Method::HEAD)
}

fn is_tar(request: &Parts) -> bool {
    request.uri.path().ends_with(TAR)
}

fn refused(request: &Parts, length: usize, quirks: &Quirks) -> Option<Passes> {
    quirks.find(|quirk| match quirk {
        // nginx's own page.
        Quirk::MaxBody(most) if length > *most => {
            Some(Passes::Answered(page(413, "Request Entity Too Large")))
        }
        Quirk::CutsBodiesAbove(most) if length > *most => Some(Passes::Broken),
        Quirk::RefusesBrackets
            if ["%22", "%5B"]
                .iter()
                .any(|code| request.uri.path().contains(code)) =>
        {
            Some(Passes::Answered(page(403, "Forbidden")))
        }
        Quirk::DeniesDotfiles if request.uri.path().contains("/.") => {
            Some(Passes::Answered(page(403, "Forbidden")))
        }
        Quirk::WeakETags if is_read(request) && request.headers.contains_key(IF_MATCH) => {
            Some(Passes::Answered(page(412, "Precondition Failed")))
        }
        _ => None,
    })
}

fn change(request: &mut Parts, quirk: &Quirk) {
    let caches = matches!(quirk, Quirk::CachesTars) && is_tar(request);
    if (caches || matches!(quirk, Quirk::HeadAsGet)) && request.method == Method::HEAD {
        request.method = Method::GET;
    }
    if caches || matches!(quirk, Quirk::DropsRange) {
        request.headers.remove(RANGE);
    }
    if caches || matches!(quirk, Quirk::DropsIfMatch) {
        request.headers.remove(IF_MATCH);
    }
    if matches!(quirk, Quirk::ChangesContentType) && request.headers.contains_key(CONTENT_TYPE) {
        let other = HeaderValue::from_static("application/octet-stream");
        request.headers.insert(CONTENT_TYPE, other);
    }
    if matches!(quirk, Quirk::EncodesTwice) {
        let path = request.uri.path().replace('%', "%25");
        let query = request.uri.query().map(|query| format!("?{query}"));
        let target = path + &query.unwrap_or_default();
        request.uri = target.parse().unwrap();
    }
}

/// Compares the tag and cuts the range as a cache does, which has the whole object.
async fn cached(answer: Response<Body>, back: &Back) -> Response<Body> {
    if answer.status() != StatusCode::OK || (back.range.is_none() && back.if_match.is_none()) {
        return answer;
    }
    let e_tag = answer
        .headers()
        .get(ETAG)
        .map(|e_tag| e_tag.to_str().unwrap());
    if back.if_match.is_some() && back.if_match.as_deref() != e_tag {
        return page(412, "Precondition Failed");
    }
    let Some(range) = &back.range else {
        return answer;
    };
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (start, end) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let start: usize = start.parse().unwrap();
    let end = (end.parse::<usize>().unwrap() + 1).min(body.len());
    if start >= body.len() {
        return page(416, "Requested Range Not Satisfiable");
    }
    let content_range = format!("bytes {start}-{}/{}", end - 1, body.len());
    parts.status = StatusCode::PARTIAL_CONTENT;
    parts
        .headers
        .insert(CONTENT_RANGE, content_range.parse().unwrap());
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(end - start));
    Response::from_parts(parts, Body::from(body.slice(start..end)))
}

fn weaken(answer: &mut Response<Body>) {
    if let Some(e_tag) = answer.headers().get(ETAG) {
        let weak = format!("W/{}", e_tag.to_str().unwrap());
        answer.headers_mut().insert(ETAG, weak.parse().unwrap());
    }
}

/// The same success without a document.
async fn silenced(answer: Response<Body>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let is_done = body.windows(7).any(|text| text == b"</ETag>");
    let body = if is_done { Bytes::new() } else { body };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

fn page(status: u16, words: &str) -> Response<Body> {
    let text = format!(
        "<html>\r\n<head><title>{status} {words}</title></head>\r\n<body>\r\n<center><h1>{status} {words}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    answer(status, "text/html", &text)
}

fn answer(status: u16, content_type: &str, text: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .body(Body::from(text.to_owned()))
        .unwrap()
}
