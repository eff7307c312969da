//! Pages of a listing.

use http::{HeaderMap, Method};
use object_store::client::HttpError;
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::S3;
use crate::error::Reason;
use crate::store::error::{Error, Outcome};
use crate::store::http::read_up_to;
use crate::store::key::Key;
use crate::store::retry::{Patience, retry};
use crate::store::{Object, Objects};

/// A listing that never ends is a broken server: 10,000 pages hold ten million objects.
const MAX_PAGES: usize = 10_000;

/// A page holds 1,000 keys of 1,024 bytes, each of which may be escaped.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// All that a listing may take in memory. A hundred thousand backups take half of it.
const MAX_LISTING_BYTES: usize = 64 * 1024 * 1024;

/// What an object takes beside its texts.
const OBJECT_BYTES: usize = size_of::<Object>();

/// What every listing begins with, after its XML declaration.
const ROOT: &[u8] = b"<ListBucketResult";

impl S3 {
    pub(in crate::store) async fn list(
        &self,
        folder: &str,
        patience: Patience,
        action: &str,
    ) -> Result<Objects, Error> {
        let mut objects = Objects::default();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let token_now = token.as_deref();
            let page = retry(patience, || self.list_page(folder, token_now, action)).await?;
            let next = page
                .next_continuation_token
                .clone()
                .filter(|_| page.is_truncated);
            page.add_to(&mut objects);
            if size_of_listing(&objects) > MAX_LISTING_BYTES {
                let why = "the listing is larger than any number of backups makes it";
                return Err(Error::new(
                    Outcome::Refused,
                    format!("Could not {action}: {why}"),
                ));
            }
            if next.is_none() {
                return Ok(objects);
            }
            if next == token {
                break;
            }
            token = next;
        }
        Err(Error::new(
            Outcome::Refused,
            format!("Could not {action}: the listing has no end"),
        ))
    }

    /// Lists one object at most: enough to know that listing is allowed.
    pub(in crate::store) async fn peek(
        &self,
        folder: &str,
        patience: Patience,
        action: &str,
    ) -> Result<(), Error> {
        let query = &[("list-type", "2"), ("max-keys", "1"), ("prefix", folder)];
        retry(patience, || self.page(query, action)).await.map(drop)
    }

    async fn list_page(
        &self,
        folder: &str,
        token: Option<&str>,
        action: &str,
    ) -> Result<Page, Error> {
        let mut query = vec![
            ("encoding-type", "url"),
            ("list-type", "2"),
            ("prefix", folder),
        ];
        query.extend(token.map(|token| ("continuation-token", token)));
        self.page(&query, action).await
    }

    async fn page(&self, query: &[(&str, &str)], action: &str) -> Result<Page, Error> {
        let failed = |error: HttpError| Error::from_http(error, action);
        let answer = self
            .request(
                Method::GET,
                None,
                query,
                HeaderMap::new(),
                bytes::Bytes::new(),
            )
            .await
            .map_err(failed)?;
        let text = read_up_to(MAX_PAGE_BYTES, answer.into_body())
            .await
            .map_err(failed)?;
        let page = read_page(&text).map_err(|why| {
            let message = format!("Could not {action}: {why}");
            let (reason, may_pass) = (Some(Reason::NotS3), self.shared.was_s3());
            Error {
                reason,
                may_pass,
                ..Error::new(Outcome::NotS3, message)
            }
        })?;
        self.shared.note_s3();
        Ok(page)
    }
}

fn size_of_listing(listing: &Objects) -> usize {
    let objects = listing
        .objects
        .iter()
        .map(|object| object.key.as_str().len() + object.version.len() + OBJECT_BYTES);
    objects
        .chain(
            listing
                .unreachable
                .iter()
                .map(|key| key.len() + size_of::<String>()),
        )
        .sum()
}

/// A web page is XML enough for a reader that does not ask for the root's name, and would be an empty bucket.
pub(in crate::store) fn read_page(text: &[u8]) -> Result<Page, String> {
    let is_listing = text.windows(ROOT.len()).any(|window| window == ROOT);
    if !is_listing {
        return Err("the answer is not a listing".to_owned());
    }
    let page: Page = quick_xml::de::from_reader(text)
        .map_err(|error| format!("the answer is not a listing: {error}"))?;
    if page.is_truncated
        && page
            .next_continuation_token
            .as_deref()
            .is_none_or(str::is_empty)
    {
        return Err(
            "the answer is a part of the listing, and does not say how to go on".to_owned(),
        );
    }
    Ok(page)
}

/// One page of `ListObjectsV2`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::store) struct Page {
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

impl Page {
    pub(in crate::store) fn add_to(self, listing: &mut Objects) {
        let encoded = self.encoding_type.as_deref() == Some("url");
        for entry in self.contents {
            let key = if encoded {
                decode(&entry.key)
            } else {
                Some(entry.key.clone())
            };
            // What object_store would not send back unchanged cannot be read, so it is only mentioned.
            match key.filter(|key| Path::parse(key).is_ok_and(|path| path.as_ref() == key)) {
                Some(key) => listing.objects.push(Object {
                    key: Key::new(key),
                    size: entry.size,
                    modified: entry.last_modified.parse().ok(),
                    version: entry
                        .e_tag
                        .filter(|e_tag| !e_tag.is_empty())
                        .unwrap_or(entry.last_modified),
                }),
                None => listing.unreachable.push(entry.key),
            }
        }
    }
}

/// `encoding-type=url` is form encoding: a space may arrive as `+`, a plus sign as `%2B`.
pub(in crate::store) fn decode(key: &str) -> Option<String> {
    let key = key.replace('+', " ");
    percent_decode_str(&key)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Objects {
        let mut objects = Objects::default();
        read_page(xml.as_bytes()).unwrap().add_to(&mut objects);
        objects
    }

    #[test]
    fn keys_arrive_byte_for_byte() {
        let objects = read(
            r#"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
            <Contents><Key>p/backups/a+b%2B%23%25%5B%22%C3%A4%F0%9F%98%80.tar</Key><Size>7</Size><ETag>"x"</ETag></Contents>
            <Contents><Key>p/backups/a%2F%2Fb.tar</Key><Size>1</Size></Contents></ListBucketResult>"#,
        );
        assert_eq!(objects.objects.len(), 1);
        assert_eq!(
            objects.objects[0].key.as_str(),
            "p/backups/a b+#%[\"ä😀.tar"
        );
        assert_eq!(objects.unreachable, ["p/backups/a%2F%2Fb.tar"]);
    }

    #[test]
    fn what_is_no_whole_listing_is_no_empty_bucket() {
        for (text, word) in [
            ("<html><body>Welcome</body></html>", "not a listing"),
            ("", "not a listing"),
            (
                "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
                "how to go on",
            ),
            (
                "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken/></ListBucketResult>",
                "how to go on",
            ),
        ] {
            assert!(
                read_page(text.as_bytes()).unwrap_err().contains(word),
                "{text}"
            );
        }
        assert!(
            read("<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"/>")
                .objects
                .is_empty()
        );
    }

    #[test]
    fn a_server_without_encoding_is_read_as_it_is() {
        let objects = read(
            "<ListBucketResult><Contents><Key>a+b&amp;c.tar</Key><Size>1</Size><LastModified>t</LastModified></Contents></ListBucketResult>",
        );
        assert_eq!(
            (
                objects.objects[0].key.as_str(),
                objects.objects[0].version.as_str()
            ),
            ("a+b&c.tar", "t")
        );
    }
}
