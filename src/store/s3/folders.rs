//! Folders of a bucket: the `CommonPrefixes` of a listing with a delimiter.

use http::Method;
use serde::Deserialize;

use super::client::{Client, MAX_ANSWER_BYTES};
use super::names::Readings;
use super::request::Request;
use super::xml::List;
use crate::store::error::Error;
use crate::store::pages::Page;
use crate::store::retry::Call;

/// The common prefixes of one page of `ListObjectsV2`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Folders {
    #[serde(default)]
    common_prefixes: Vec<CommonPrefix>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CommonPrefix {
    prefix: String,
}

impl List for Folders {
    const ROOT: &'static [u8] = b"<ListBucketResult";

    type Item = String;

    /// The first page alone: a bucket may have millions of folders.
    fn into_page(self, _: &Readings, weight: usize) -> Result<Page<String>, String> {
        let prefixes = self.common_prefixes.into_iter();
        let items = prefixes.map(|common| common.prefix).collect();
        Ok(Page {
            weight,
            ..Page::of(items, None, |_| 0)
        })
    }
}

impl Client {
    /// `ListObjectsV2` with a delimiter. Without an encoding: what XML cannot hold is no folder that a user would name.
    pub(super) async fn list_folders(
        &self,
        call: &Call,
        folder: &str,
    ) -> Result<Vec<String>, Error> {
        let request = Request::of_bucket(Method::GET)
            .query("delimiter", "/")
            .query("list-type", "2")
            .query("prefix", folder);
        let page = self.page::<Folders>(call, request, MAX_ANSWER_BYTES);
        let name = |prefix: String| {
            let name = prefix.strip_prefix(folder)?.strip_suffix('/')?;
            (!name.is_empty()).then(|| name.to_owned())
        };
        Ok(page.await?.items.into_iter().filter_map(name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_prefixes_are_read() {
        let text = b"<?xml version='1.0'?><ListBucketResult><Name>b</Name><Contents><Key>x</Key><Size>1</Size></Contents>\
            <CommonPrefixes><Prefix>a &amp; b/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>\
            </ListBucketResult>";
        assert_eq!(Folders::read(text).unwrap().items, ["a & b/", "c/"]);
        assert!(Folders::read(b"<html></html>").is_err());
    }
}
