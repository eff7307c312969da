//! What uploads that never ended left in a bucket or a directory, and how long nobody was at it.
//!
//! Sources: `ListMultipartUploads` and `ListParts` in Amazon's API reference. Ages are told by the server's own clock,
//! which its answers carry: this machine's may be off. A directory keeps what it writes beside the object as
//! `NAME#1` until it is whole (`staged_upload_path` in object_store's `local.rs`).

use std::fs;
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method};
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::error::{Error, Outcome};
use super::http::read_up_to;
use super::key::Key;
use super::multipart::Multipart;
use super::retry::{Patience, retry};
use super::s3::S3;
use super::{Store, StoreBackend};

/// Pages of a thousand; a listing that goes on after them is a broken server.
const MAX_PAGES: usize = 100;

/// A page holds 1,000 keys of 1,024 bytes, each of which may be escaped, and their ids.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Keys and ids of all pages together. A listing that is larger is of no server's.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 16;

const ROOT: &[u8] = b"<ListMultipartUploadsResult";

/// Something that an upload left under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The key that the object would have had.
    pub key: Key,
    /// When it was begun.
    pub begun: DateTime<Utc>,
    what: What,
}

impl Leftover {
    /// The id of an upload in parts.
    #[must_use]
    pub fn upload_id(&self) -> Option<&str> {
        if let What::Upload(id) = &self.what {
            Some(id)
        } else {
            None
        }
    }

    /// What it takes in memory.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.as_str().len() + self.upload_id().map_or(0, str::len)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A multipart upload, by its id.
    Upload(String),
    /// A file that was not given its name.
    File(PathBuf),
}

/// What is left in a folder.
#[derive(Debug)]
pub struct Leftovers {
    /// Each of them.
    pub all: Vec<Leftover>,
    /// The time there.
    pub now: DateTime<Utc>,
}

impl Store {
    /// What uploads that have not ended left under `folder`, those under way included.
    ///
    /// # Errors
    /// What a listing can come to: not every provider has this one, and not every key may ask for it.
    pub async fn leftovers(&self, folder: &str, patience: Patience) -> Result<Leftovers, Error> {
        let action = &format!("list the unfinished uploads in {}", self.place);
        match &*self.backend {
            StoreBackend::S3(s3) => s3.unfinished(folder, patience, action).await,
            StoreBackend::Directory(directory) => {
                let folder = folder.to_owned();
                let all = directory
                    .with_files(action, move |root| unnamed_files(root, &folder))
                    .await?;
                Ok(Leftovers {
                    all,
                    now: Utc::now(),
                })
            }
        }
    }

    /// When something was last done to it; nothing when that cannot be told, or it is gone.
    pub async fn last_touched(
        &self,
        leftover: &Leftover,
        patience: Patience,
    ) -> Option<DateTime<Utc>> {
        match &leftover.what {
            What::Upload(upload_id) => {
                let parts = Multipart::resume(self, &leftover.key, upload_id)?
                    .stored_parts(patience)
                    .await
                    .ok()?;
                let stored = parts
                    .iter()
                    .map(|part| part.last_modified.as_deref()?.parse().ok());
                stored
                    .chain([Some(leftover.begun)])
                    .collect::<Option<Vec<DateTime<Utc>>>>()?
                    .into_iter()
                    .max()
            }
            // A file that is written to has a new time.
            What::File(path) => {
                let StoreBackend::Directory(directory) = &*self.backend else {
                    return None;
                };
                let (path, action) = (path.clone(), format!("look at \"{}\"", path.display()));
                let found = directory
                    .with_files(&action, move |_| fs::metadata(path))
                    .await
                    .ok()?;
                Some(found.ok()?.modified().ok()?.into())
            }
        }
    }

    /// Removes it.
    ///
    /// # Errors
    /// What a request can come to; what is gone already is as good as removed.
    pub async fn remove_leftover(
        &self,
        leftover: &Leftover,
        patience: Patience,
    ) -> Result<(), Error> {
        match &leftover.what {
            What::Upload(upload_id) => match Multipart::resume(self, &leftover.key, upload_id) {
                Some(multipart) => multipart.abort(patience).await,
                None => Ok(()),
            },
            What::File(path) => self.remove_file(path).await,
        }
    }

    /// Removes a directory's files of this key that never got their name.
    pub(super) async fn remove_unnamed(&self, key: &Key, patience: Patience) -> Result<(), Error> {
        for leftover in self.leftovers(key.folder(), patience).await?.all {
            if leftover.key == *key
                && let What::File(path) = &leftover.what
            {
                self.remove_file(path).await?;
            }
        }
        Ok(())
    }

    async fn remove_file(&self, path: &FilePath) -> Result<(), Error> {
        let StoreBackend::Directory(directory) = &*self.backend else {
            return Ok(());
        };
        let (path, action) = (path.to_owned(), format!("remove \"{}\"", path.display()));
        match directory
            .with_files(&action, move |_| fs::remove_file(path))
            .await?
        {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from_failure(Outcome::Refused, error, &action))
            }
            _ => Ok(()),
        }
    }
}

impl S3 {
    async fn unfinished(
        &self,
        folder: &str,
        patience: Patience,
        action: &str,
    ) -> Result<Leftovers, Error> {
        let refused =
            |why: &str| Error::new(Outcome::Refused, format!("Could not {action}: {why}"));
        let (mut all, mut after): (Vec<Leftover>, Option<(String, String)>) = (Vec::new(), None);
        let mut room = MAX_BYTES;
        for _ in 0..MAX_PAGES {
            let (page, date) = retry(patience, || {
                self.unfinished_page(folder, after.as_ref(), action)
            })
            .await?;
            let next = page.next();
            let before = all.len();
            all.extend(page.leftovers(folder));
            let taken = all[before..].iter().map(Leftover::bytes).sum();
            room = room
                .checked_sub(taken)
                .ok_or_else(|| refused("the listing is too long"))?;
            match next {
                // Without the server's clock nobody can tell how old anything is.
                None => {
                    return Ok(Leftovers {
                        all,
                        now: date.ok_or_else(|| refused("the answer has no date"))?,
                    });
                }
                Some(next) if Some(&next) == after.as_ref() => break,
                next => after = next,
            }
        }
        Err(refused("the listing has no end"))
    }

    async fn unfinished_page(
        &self,
        folder: &str,
        after: Option<&(String, String)>,
        action: &str,
    ) -> Result<(UploadsPage, Option<DateTime<Utc>>), Error> {
        let mut query = vec![("encoding-type", "url")];
        query.extend(after.map(|(key, _)| ("key-marker", key.as_str())));
        query.push(("prefix", folder));
        query.extend(
            after
                .map(|(_, id)| ("upload-id-marker", id.as_str()))
                .filter(|(_, id)| !id.is_empty()),
        );
        query.push(("uploads", ""));
        let failed = |error| Error::from_http(error, action);
        let answer = self
            .request(Method::GET, None, &query, HeaderMap::new(), Bytes::new())
            .await
            .map_err(failed)?;
        let date = answer
            .headers()
            .get("date")
            .and_then(|date| date.to_str().ok());
        let date = date
            .and_then(|date| DateTime::parse_from_rfc2822(date).ok())
            .map(|date| date.to_utc());
        let text = read_up_to(MAX_PAGE_BYTES, answer.into_body())
            .await
            .map_err(failed)?;
        let page = UploadsPage::read(&text).ok_or_else(|| {
            Error::new(
                Outcome::NotS3,
                format!("Could not {action}: the answer is no such list"),
            )
        })?;
        Ok((page, date))
    }
}

/// One page of `ListMultipartUploads`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UploadsPage {
    #[serde(default)]
    encoding_type: Option<String>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: Option<String>,
    #[serde(default)]
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Begun>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    key: String,
    upload_id: String,
    #[serde(default)]
    initiated: String,
}

impl UploadsPage {
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let is_list = text.windows(ROOT.len()).any(|window| window == ROOT);
        is_list
            .then(|| quick_xml::de::from_reader(text).ok())
            .flatten()
    }

    /// Markers of the next page. One without a key leads nowhere.
    pub(super) fn next(&self) -> Option<(String, String)> {
        let key = self
            .next_key_marker
            .as_deref()
            .filter(|key| self.is_truncated && !key.is_empty())?;
        Some((
            self.decoded(key)?,
            self.next_upload_id_marker.clone().unwrap_or_default(),
        ))
    }

    /// Those under `folder`, whatever the server takes a prefix for. What has no time may be of just now.
    pub(super) fn leftovers(&self, folder: &str) -> impl Iterator<Item = Leftover> {
        self.uploads.iter().filter_map(move |upload| {
            let key = self.decoded(&upload.key)?;
            let is_ours =
                key.starts_with(folder) && Path::parse(&key).is_ok_and(|path| path.as_ref() == key);
            let begun = upload
                .initiated
                .parse()
                .ok()
                .filter(|_| is_ours && !upload.upload_id.is_empty())?;
            Some(Leftover {
                key: Key::new(key),
                begun,
                what: What::Upload(upload.upload_id.clone()),
            })
        })
    }

    /// `encoding-type=url` is form encoding: a space may arrive as `+`, a plus sign as `%2B`.
    fn decoded(&self, key: &str) -> Option<String> {
        if self.encoding_type.as_deref() != Some("url") {
            return Some(key.to_owned());
        }
        let key = key.replace('+', " ");
        percent_decode_str(&key)
            .decode_utf8()
            .ok()
            .map(std::borrow::Cow::into_owned)
    }
}

fn unnamed_files(root: &FilePath, folder: &str) -> Vec<Leftover> {
    let mut found = Vec::new();
    add_unnamed(root, &root.join(folder), MAX_DEPTH, &mut found);
    found
}

fn add_unnamed(root: &FilePath, folder: &FilePath, depth: usize, found: &mut Vec<Leftover>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        // A link is followed nowhere.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => {
                add_unnamed(root, &entry.path(), depth - 1, found);
            }
            Ok(kind) if kind.is_file() => found.extend(unnamed(root, entry.path())),
            _ => {}
        }
    }
}

fn unnamed(root: &FilePath, path: PathBuf) -> Option<Leftover> {
    let (name, number) = path.strip_prefix(root).ok()?.to_str()?.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let key = Key::new(is_number.then_some(name)?);
    let begun = fs::metadata(&path).ok()?.modified().ok()?.into();
    Some(Leftover {
        key,
        begun,
        what: What::File(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_keys_byte_for_byte_and_the_way_to_the_next() {
        let page = UploadsPage::read(
            br"<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
            <NextKeyMarker>p/backups/a+%23</NextKeyMarker><NextUploadIdMarker>u2</NextUploadIdMarker>
            <Upload><Key>p/backups/a+%23.tar</Key><UploadId>u1</UploadId><Initiated>2026-11-20T04:47:12.000Z</Initiated></Upload>
            <Upload><Key>p/backups/young.tar</Key><UploadId>u2</UploadId></Upload>
            <Upload><Key>q/backups/other.tar</Key><UploadId>u3</UploadId><Initiated>2026-11-20T04:47:12Z</Initiated></Upload>
            </ListMultipartUploadsResult>",
        )
        .unwrap();
        let left: Vec<_> = page.leftovers("p/backups/").collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(
            (left[0].key.as_str(), &left[0].what),
            ("p/backups/a #.tar", &What::Upload("u1".into()))
        );
        assert_eq!(page.next(), Some(("p/backups/a #".into(), "u2".into())));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "<html>Welcome</html>", "<ListMultipartUploadsResult>"] {
            assert!(UploadsPage::read(text.as_bytes()).is_none(), "{text}");
        }
        let last = UploadsPage::read(
            b"<ListMultipartUploadsResult><NextKeyMarker>a</NextKeyMarker></ListMultipartUploadsResult>",
        );
        assert_eq!(last.unwrap().next(), None);
    }

    #[test]
    fn a_file_without_its_name_is_known_by_its_number() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("backups/a");
        fs::create_dir_all(&folder).unwrap();
        for name in [
            "b.tar#1",
            "b.tar#12",
            "b.tar",
            "b.tar#",
            "b.tar#x",
            "#1 fan.tar",
        ] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let mut keys: Vec<_> = unnamed_files(root.path(), "backups/")
            .into_iter()
            .map(|left| left.key)
            .collect();
        keys.sort();
        assert_eq!(
            keys,
            [Key::new("backups/a/b.tar"), Key::new("backups/a/b.tar")]
        );
        assert!(unnamed_files(root.path(), "elsewhere/").is_empty());
    }
}
