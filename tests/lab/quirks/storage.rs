//! Operations on objects: `s3s-fs` in a folder, its missing features, and the quirks of objects.

mod operations;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::{
    CompleteMultipartUploadInput, ETag, HeadObjectInput, MultipartUpload, Part, StorageClass,
    Timestamp,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use s3s_fs::FileSystem;

use super::{Quirk, Quirks};

/// S3's minimum size of all parts but the last.
const MIN_PART_SIZE: i64 = 5 * 1024 * 1024;

/// Objects and unfinished uploads.
pub(super) struct Storage {
    fs: FileSystem,
    quirks: Quirks,
    uploads: Uploads,
    failed_to_complete: AtomicUsize,
}

/// Unfinished uploads by id.
#[derive(Clone, Default)]
pub(super) struct Uploads(Arc<Mutex<BTreeMap<String, Upload>>>);

struct Upload {
    key: String,
    begun: SystemTime,
    parts: BTreeMap<i32, Part>,
}

impl Upload {
    fn shown(&self, id: &str, key: Option<String>) -> MultipartUpload {
        let initiated = Some(Timestamp::from(self.begun));
        MultipartUpload {
            key,
            upload_id: Some(id.to_owned()),
            initiated,
            ..MultipartUpload::default()
        }
    }
}

/// The only valid key.
pub(super) struct Keys {
    pub(super) key_id: String,
    pub(super) secret: String,
}

/// Permissions of the key.
pub(super) struct Permissions(pub(super) Quirks);

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Upload>> {
        self.0.lock().unwrap()
    }

    /// Keys of unfinished uploads.
    pub(super) fn keys(&self) -> Vec<String> {
        self.lock()
            .values()
            .map(|upload| upload.key.clone())
            .collect()
    }

    /// Makes all unfinished uploads and their parts look this much older.
    pub(super) fn make_older(&self, by: Duration) {
        for upload in self.lock().values_mut() {
            upload.begun -= by;
            for part in upload.parts.values_mut() {
                part.last_modified = Some(Timestamp::from(upload.begun));
            }
        }
    }

    fn parts(&self, id: &str) -> S3Result<BTreeMap<i32, Part>> {
        let uploads = self.lock();
        let upload = uploads
            .get(id)
            .ok_or_else(|| s3_error!(NoSuchUpload, "The specified upload does not exist."))?;
        Ok(upload.parts.clone())
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.key_id {
            return Ok(SecretKey::from(self.secret.as_str()));
        }
        Err(s3_error!(
            InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records."
        ))
    }
}

#[async_trait::async_trait]
impl S3Access for Permissions {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let action = action(context.s3_op().name());
        let is_denied = self
            .0
            .0
            .iter()
            .any(|quirk| matches!(quirk, Quirk::Denies(denied) if *denied == action));
        if is_denied || context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        Ok(())
    }
}

/// The IAM action of an operation. Source: the reference at [`Quirk::Denies`].
fn action(operation: &str) -> &'static str {
    match operation {
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "s3:ListBucket",
        "GetObject" | "HeadObject" => "s3:GetObject",
        "DeleteObject" | "DeleteObjects" => "s3:DeleteObject",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "ListParts" => "s3:ListMultipartUploadParts",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "GetBucketLocation" => "s3:GetBucketLocation",
        _ => "s3:PutObject",
    }
}

impl Storage {
    pub(super) fn new(folder: &Path, quirks: Quirks, uploads: Uploads) -> Self {
        Self {
            fs: FileSystem::new(folder).unwrap(),
            quirks,
            uploads,
            failed_to_complete: AtomicUsize::new(0),
        }
    }

    /// The version that a write makes.
    fn version(&self) -> Option<String> {
        let keeps = self.quirks.has(&Quirk::KeepsVersions);
        keeps.then(|| "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY".to_owned())
    }

    /// The `ETag` shown by the server; reversed, it is not an MD5 any more.
    fn shown(&self, e_tag: ETag) -> ETag {
        self.reversed(e_tag, &Quirk::OpaqueObjectETags)
    }

    /// The `ETag` of a part.
    fn shown_of_part(&self, e_tag: ETag) -> ETag {
        self.reversed(e_tag, &Quirk::OpaquePartETags)
    }

    fn reversed(&self, e_tag: ETag, quirk: &Quirk) -> ETag {
        if self.quirks.has(&Quirk::OpaqueETags) || self.quirks.has(quirk) {
            return ETag::Strong(e_tag.value().chars().rev().collect());
        }
        e_tag
    }

    /// Whether the bucket keeps what it has.
    async fn check_kept(&self, bucket: &str, key: &str) -> S3Result<()> {
        let is_kept = self.quirks.has(&Quirk::WriteOnce) && self.e_tag(bucket, key).await.is_ok();
        if is_kept {
            let message = "Object is WORM protected and cannot be overwritten";
            return Err(error("InvalidRequest", 400, message));
        }
        Ok(())
    }

    fn shown_if_any(&self, e_tag: Option<ETag>) -> Option<ETag> {
        e_tag.map(|e_tag| self.shown(e_tag))
    }

    async fn e_tag(&self, bucket: &str, key: &str) -> S3Result<Option<ETag>> {
        let input = HeadObjectInput {
            bucket: bucket.into(),
            key: key.into(),
            ..HeadObjectInput::default()
        };
        let head = self.fs.head_object(request(input)).await?;
        Ok(self.shown_if_any(head.output.e_tag))
    }

    fn check_room(&self) -> S3Result<()> {
        if self.quirks.has(&Quirk::QuotaExceeded) {
            return Err(error(
                "QuotaExceeded",
                403,
                "Your request was denied due to quota exceeded.",
            ));
        }
        if self.quirks.has(&Quirk::StorageFull) {
            let message = "Storage backend has reached its minimum free drive threshold. \
                           Please delete a few objects to proceed.";
            return Err(error("XMinioStorageFull", 507, message));
        }
        Ok(())
    }

    fn check_class(&self, class: Option<&StorageClass>) -> S3Result<()> {
        let known = self.quirks.find(|quirk| match quirk {
            Quirk::StorageClasses(known) => Some(*known),
            _ => None,
        });
        match (known, class) {
            (Some(known), Some(class)) if !known.contains(&class.as_str()) => Err(s3_error!(
                InvalidStorageClass,
                "The storage class you specified is not valid"
            )),
            _ => Ok(()),
        }
    }

    fn check_number(&self, number: i32) -> S3Result<()> {
        let max_parts = self.quirks.find(|quirk| match quirk {
            Quirk::MaxParts(max_parts) => Some(*max_parts),
            _ => None,
        });
        let max_parts = max_parts.unwrap_or(10_000);
        if (1..=max_parts).contains(&number) {
            return Ok(());
        }
        Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and {}, inclusive",
            max_parts
        ))
    }

    /// S3's checks before completion, and R2's own rule.
    fn check_parts(&self, input: &CompleteMultipartUploadInput) -> S3Result<()> {
        let stored = self.uploads.parts(&input.upload_id)?;
        let named = input
            .multipart_upload
            .as_ref()
            .and_then(|upload| upload.parts.as_deref())
            .unwrap_or_default();
        let mut sizes = Vec::new();
        for part in named {
            let found = stored
                .get(&part.part_number.unwrap_or_default())
                .filter(|found| found.e_tag == part.e_tag);
            let found = found.ok_or_else(|| {
                s3_error!(InvalidPart, "One or more of the parts could not be found.")
            })?;
            sizes.push(found.size.unwrap_or_default());
        }
        let before_last = sizes
            .split_last()
            .map_or(&[] as &[i64], |(_, before)| before);
        if self.quirks.has(&Quirk::EqualParts)
            && before_last.windows(2).any(|pair| pair[0] != pair[1])
        {
            return Err(s3_error!(
                InvalidPart,
                "All non-trailing parts must have the same length."
            ));
        }
        if before_last.iter().any(|size| *size < MIN_PART_SIZE) {
            return Err(s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size"
            ));
        }
        Ok(())
    }

    /// Returns whether this completion fails after its 200.
    fn fails_to_complete(&self) -> bool {
        let failed = self.failed_to_complete.fetch_add(1, Ordering::SeqCst);
        self.quirks
            .0
            .iter()
            .any(|quirk| matches!(quirk, Quirk::FailsToComplete(times) if failed < *times))
    }

    fn page_size(&self, asked: Option<i32>) -> i32 {
        let most = self.quirks.find(|quirk| match quirk {
            Quirk::PageSize(most) => Some(*most),
            _ => None,
        });
        asked.unwrap_or(1000).min(most.unwrap_or(1000))
    }
}

fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: http::Method::default(),
        uri: http::Uri::default(),
        headers: http::HeaderMap::default(),
        extensions: http::Extensions::default(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

fn error(code: &'static str, status: u16, message: &'static str) -> S3Error {
    let mut error =
        S3Error::with_message(S3ErrorCode::from_bytes(code.as_bytes()).unwrap(), message);
    error.set_status_code(StatusCode::from_u16(status).unwrap());
    error
}
