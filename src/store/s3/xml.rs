//! S3's XML documents.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::names::{Readings, addressable};
use crate::store::backend::{HeldPart, Leftover, Listed, Object, Part, SessionId};
use crate::store::key::Key;
use crate::store::pages::{Cursor, Page};

/// `EncodingType` of a list with encoded keys.
const ENCODED: &str = "url";

/// Reads one kind of list.
pub(in crate::store) trait List: for<'d> Deserialize<'d> {
    /// Root element.
    const ROOT: &'static [u8];

    type Item;

    /// Converts a page; `weight` is the size of the document.
    fn into_page(self, readings: &Readings, weight: usize) -> Result<Page<Self::Item>, String>;

    /// Keys that the server says are encoded, and that exist.
    fn encoded_keys(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Parses a page. A web page is XML enough for a parser that ignores the root's name, and would be an empty list.
    fn parse(text: &[u8]) -> Result<Self, String> {
        if !text.windows(Self::ROOT.len()).any(|at| at == Self::ROOT) {
            return Err("the answer is not a listing".to_owned());
        }
        quick_xml::de::from_reader(text)
            .map_err(|error| format!("the answer is not a listing: {error}"))
    }

    /// Reads a page of a server that encodes keys as specified.
    #[cfg(any(feature = "fuzzing", test))]
    fn read(text: &[u8]) -> Result<Page<Self::Item>, String> {
        Self::parse(text)?.into_page(&Readings::default(), text.len())
    }
}

/// One page of `ListObjectsV2`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::store) struct Objects {
    #[serde(default)]
    encoding_type: Option<String>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_continuation_token: Option<String>,
    #[serde(default)]
    contents: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    size: u64,
    #[serde(default, rename = "ETag")]
    e_tag: Option<String>,
    #[serde(default)]
    last_modified: String,
}

impl List for Objects {
    const ROOT: &'static [u8] = b"<ListBucketResult";

    type Item = Listed;

    fn encoded_keys(&self) -> Vec<&str> {
        let is_encoded = self.encoding_type.as_deref() == Some(ENCODED);
        let keys = self.contents.iter().filter(|_| is_encoded);
        keys.map(|entry| entry.key.as_str()).collect()
    }

    fn into_page(self, readings: &Readings, _: usize) -> Result<Page<Listed>, String> {
        let token = self
            .next_continuation_token
            .filter(|token| self.is_truncated && !token.is_empty());
        if self.is_truncated && token.is_none() {
            return Err("the answer is truncated and has no token of the next page".to_owned());
        }
        let encoding = self.encoding_type.as_deref();
        let items: Vec<Listed> = self
            .contents
            .into_iter()
            .map(|entry| match key_of(readings, encoding, &entry.key) {
                Some(key) => Ok(Object {
                    key,
                    size: entry.size,
                    modified: entry.last_modified.parse().ok(),
                    version: entry
                        .e_tag
                        .filter(|e_tag| !e_tag.is_empty())
                        .unwrap_or(entry.last_modified),
                }),
                // object_store would ask for another key, so this one is only reported.
                None => Err(entry.key),
            })
            .collect();
        let text = |item: &Listed| match item {
            Ok(object) => object.key.as_str().len() + object.version.len(),
            Err(key) => key.len(),
        };
        let next = token.map(|token| vec![("continuation-token", token)]);
        Ok(Page::of(items, next, text))
    }
}

/// One page of `ListParts`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::store) struct Parts {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_part_number_marker: Option<String>,
    #[serde(default, rename = "Part")]
    held: Vec<HeldPart>,
}

impl List for Parts {
    const ROOT: &'static [u8] = b"<ListPartsResult";

    type Item = HeldPart;

    fn into_page(self, _: &Readings, weight: usize) -> Result<Page<HeldPart>, String> {
        let next = self
            .next_part_number_marker
            .filter(|next| self.is_truncated && next != "0");
        let next = next.map(|next| vec![("part-number-marker", next)]);
        Ok(Page {
            weight,
            ..Page::of(self.held, next, |_| 0)
        })
    }
}

/// One page of `ListMultipartUploads`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::store) struct Uploads {
    #[serde(default)]
    encoding_type: Option<String>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: Option<String>,
    #[serde(default)]
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    begun: Vec<Begun>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    key: String,
    upload_id: String,
    #[serde(default)]
    initiated: String,
}

impl Uploads {
    /// Markers of the next page. One without a key leads nowhere.
    fn next(&self, readings: &Readings) -> Option<Cursor> {
        let key = self
            .next_key_marker
            .as_deref()
            .filter(|key| self.is_truncated && !key.is_empty())?;
        let key = decode(readings, self.encoding_type.as_deref(), key)?;
        let id = self.next_upload_id_marker.clone();
        let id = id.filter(|id| !id.is_empty());
        let mut cursor = vec![("key-marker", key)];
        cursor.extend(id.map(|id| ("upload-id-marker", id)));
        Some(cursor)
    }
}

impl List for Uploads {
    const ROOT: &'static [u8] = b"<ListMultipartUploadsResult";

    type Item = Leftover;

    /// Uploads without a time are left out: they may have just begun.
    fn into_page(self, readings: &Readings, _: usize) -> Result<Page<Leftover>, String> {
        let (next, encoding) = (self.next(readings), self.encoding_type.as_deref());
        let leftover = |upload: Begun| {
            let begun: DateTime<Utc> = upload.initiated.parse().ok()?;
            Some(Leftover {
                key: key_of(readings, encoding, &upload.key)?,
                begun,
                id: SessionId::Upload(Some(upload.upload_id).filter(|id| !id.is_empty())?),
            })
        };
        let items = self.begun.into_iter().filter_map(leftover).collect();
        let text = |item: &Leftover| item.key.as_str().len() + item.upload_id().map_or(0, str::len);
        Ok(Page::of(items, next, text))
    }
}

/// Decodes a key of a listing, and drops one that no client can address.
fn key_of(readings: &Readings, encoding: Option<&str>, key: &str) -> Option<Key> {
    addressable(decode(readings, encoding, key)?)
}

fn decode(readings: &Readings, encoding: Option<&str>, key: &str) -> Option<String> {
    if encoding == Some(ENCODED) {
        readings.decode(key)
    } else {
        Some(key.to_owned())
    }
}

/// An error document.
#[derive(Deserialize)]
#[serde(rename = "Error", rename_all = "PascalCase")]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    pub(super) region: Option<String>,
}

impl Refusal {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let text = Some(text).filter(|text| text.contains("<Error"))?;
        quick_xml::de::from_str(text).ok()
    }
}

/// Returns the id in an answer to `CreateMultipartUpload`.
pub(super) fn upload_id(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Started {
        upload_id: String,
    }
    let started: Started = quick_xml::de::from_reader(text).ok()?;
    Some(started.upload_id)
}

/// Returns the `ETag` in an answer to `CopyObject`, `UploadPartCopy` or `CompleteMultipartUpload`.
pub(super) fn e_tag(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Made {
        #[serde(default, rename = "ETag")]
        e_tag: String,
    }
    let made: Made = quick_xml::de::from_reader(text).ok()?;
    Some(made.e_tag).filter(|e_tag| !e_tag.is_empty())
}

/// Writes the body of `CompleteMultipartUpload`.
pub(super) fn completion(parts: &[Part]) -> Result<String, quick_xml::SeError> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct CompleteMultipartUpload<'p> {
        part: Vec<Completed<'p>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Completed<'p> {
        #[serde(rename = "ETag")]
        e_tag: &'p str,
        part_number: usize,
    }
    let part = parts
        .iter()
        .enumerate()
        .map(|(index, part)| Completed {
            e_tag: &part.e_tag,
            part_number: index + 1,
        })
        .collect();
    quick_xml::se::to_string(&CompleteMultipartUpload { part })
}

#[cfg(test)]
mod tests;
