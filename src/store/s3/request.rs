//! Requests to a bucket, before they are aimed and signed.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::store::backend::{Payload, Session};
use crate::store::digest::Algorithm;
use crate::store::key::Key;

/// Characters that a query may hold unescaped, so that the signature's canonical form and the request are the same text.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same for a path, whose slashes stay.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// A request for the bucket, or for one object.
#[derive(Debug, Clone)]
pub(in crate::store) struct Request {
    pub(super) method: Method,
    pub(super) key: Option<Key>,
    query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    /// Whether the server may take long, and fail although the status is 200.
    pub(super) may_fail_late: bool,
}

impl Request {
    /// A request for the bucket itself.
    pub(super) fn of_bucket(method: Method) -> Self {
        Self {
            method,
            key: None,
            query: Vec::new(),
            headers: HeaderMap::new(),
            payload: Payload::default(),
            may_fail_late: false,
        }
    }

    /// A request for an object.
    pub(super) fn of(method: Method, key: &Key) -> Self {
        Self {
            key: Some(key.clone()),
            ..Self::of_bucket(method)
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn queries(
        mut self,
        pairs: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        self.query.extend(pairs);
        self
    }

    /// Adds a header; a value that no header can hold is left out.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Adds a range of bytes.
    pub(super) fn range(self, name: &'static str, range: Option<&Range<u64>>) -> Self {
        match range {
            Some(range) => {
                let bytes = format!("bytes={}-{}", range.start, range.end - 1);
                self.header(name, &bytes)
            }
            None => self,
        }
    }

    /// Makes it a request of this upload.
    pub(super) fn of_upload(self, session: &Session) -> Self {
        self.query("uploadId", session.id.upload_id().unwrap_or_default())
    }

    pub(super) fn headers(mut self, headers: &HeaderMap) -> Self {
        self.headers.extend(headers.clone());
        self
    }

    pub(super) fn payload(self, payload: Payload) -> Self {
        Self { payload, ..self }
    }

    pub(super) fn body(self, bytes: impl Into<Bytes>) -> Self {
        self.payload(Payload {
            bytes: bytes.into(),
            ..Payload::default()
        })
    }

    /// Completing a multipart upload and copying may fail although the status is 200.
    ///
    /// Source: Amazon's API reference: "Processing of a Complete Multipart Upload request could take several minutes to
    /// finalize" in `CompleteMultipartUpload`, and "200 OK response can contain either a success or an error" in
    /// `CopyObject`.
    pub(super) fn may_fail_late(self) -> Self {
        Self {
            may_fail_late: true,
            ..self
        }
    }

    /// Path below the bucket, and query.
    pub(super) fn path_and_query(&self) -> String {
        let mut text = format!("/{}", self.key.as_ref().map(encode_key).unwrap_or_default());
        for (index, (name, value)) in self.query.iter().enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.extend([name, "="]);
            text.extend(utf8_percent_encode(value, QUERY));
        }
        text
    }

    /// Number of the part that it stores, from 1.
    pub(super) fn part_number(&self) -> Option<&str> {
        self.query
            .iter()
            .find_map(|(name, value)| (*name == "partNumber").then_some(value.as_str()))
    }

    /// Whether it belongs to a multipart upload that has begun.
    pub(super) fn is_of_upload(&self) -> bool {
        self.query.iter().any(|(name, _)| *name == "uploadId")
    }

    /// Deletes what this request began: the upload of this id, or the object.
    pub(super) fn undo(&self, upload_id: Option<String>) -> Self {
        Self {
            method: Method::DELETE,
            key: self.key.clone(),
            query: upload_id.map(|id| ("uploadId", id)).into_iter().collect(),
            ..Self::of_bucket(Method::DELETE)
        }
    }

    /// Stores a few bytes as the first part of the upload that this request began.
    pub(super) fn first_part(&self, upload_id: &str, headers: &HeaderMap) -> Self {
        let part = Self {
            key: self.key.clone(),
            ..Self::of_bucket(Method::PUT)
        };
        part.query("partNumber", "1")
            .query("uploadId", upload_id)
            .headers(headers)
            .body("Does the server encrypt parts?")
    }

    /// Whether it writes content; a copy has none.
    pub(super) fn has_content(&self) -> bool {
        self.method == Method::PUT && !self.payload.bytes.is_empty()
    }

    /// Whether it completes an upload in parts.
    pub(super) fn completes_upload(&self) -> bool {
        self.method == Method::POST && self.is_of_upload()
    }

    /// Adds the MD5 of the content, if it has any.
    pub(super) fn with_md5(self) -> Self {
        if !self.has_content() {
            return self;
        }
        let given = self.payload.digest.as_ref();
        let md5 = given.filter(|digest| digest.algorithm() == Algorithm::Md5);
        let md5 = md5.map_or_else(
            || BASE64.encode(Algorithm::Md5.digest(&self.payload.bytes).value()),
            |md5| BASE64.encode(md5.value()),
        );
        self.header("content-md5", &md5)
    }

    /// Whether a proxy may refuse it for characters in its key.
    pub(super) fn has_special_name(&self) -> bool {
        let is_special = |key: &Key| encode_key(key).contains('%');
        self.method != Method::HEAD && self.key.as_ref().is_some_and(is_special)
    }

    pub(super) fn starts_multipart(&self) -> bool {
        self.method == Method::POST && self.query.iter().any(|(name, _)| *name == "uploads")
    }

    /// Whether it only reads.
    pub(super) fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

/// Encodes a key for an address, and for the header that names the source of a copy.
pub(in crate::store) fn encode_key(key: &Key) -> String {
    encode_path(key.as_str())
}

/// Encodes a path for an address. A bucket's tenant ends with a colon, which needs it.
pub(super) fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}
