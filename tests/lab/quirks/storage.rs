//! What is done with objects: `s3s-fs` in a folder, with what the main job needs and it lacks, and with the quirks that
//! concern objects.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, ETag, ETagCondition, EncodingType, GetBucketLocationInput,
    GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
    HeadObjectInput, HeadObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, MultipartUpload,
    Part, PutObjectInput, PutObjectOutput, StorageClass, Timestamp, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use super::{Quirk, Quirks};

/// What a listing may hold unescaped. Source: `encoding-type` in Amazon's API reference of `ListObjectsV2`.
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'*');

/// S3's smallest part but for the last.
const MIN_PART_SIZE: i64 = 5 * 1024 * 1024;

/// The objects and the uploads under way.
pub(super) struct Storage {
    fs: FileSystem,
    quirks: Quirks,
    uploads: Uploads,
    failed_to_complete: AtomicUsize,
}

/// The uploads under way, by their ids.
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

/// The one key that is known.
pub(super) struct Keys {
    pub(super) key_id: String,
    pub(super) secret: String,
}

/// What the key may do.
pub(super) struct Permissions(pub(super) Quirks);

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Upload>> {
        self.0.lock().unwrap()
    }

    /// Keys of the uploads that were neither completed nor aborted.
    pub(super) fn keys(&self) -> Vec<String> {
        self.lock()
            .values()
            .map(|upload| upload.key.clone())
            .collect()
    }

    /// Makes all of them look as if they had been begun, and their parts stored, so long ago.
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

/// The action of IAM that an operation needs. Source: the same reference as at [`Quirk::Denies`].
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

    /// The `ETag` as the server shows it: turned around, an MD5 is none any more.
    fn shown(&self, e_tag: ETag) -> ETag {
        if self.quirks.has(&Quirk::OpaqueETags) {
            return ETag::Strong(e_tag.value().chars().rev().collect());
        }
        e_tag
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

    /// What S3 checks before it puts parts together, and R2's own rule.
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

    /// Whether this time the server finds out in the middle that it cannot.
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

fn is_gone(error: &S3Error) -> bool {
    matches!(error.code(), S3ErrorCode::NoSuchKey)
}

fn error(code: &'static str, status: u16, message: &'static str) -> S3Error {
    let mut error =
        S3Error::with_message(S3ErrorCode::from_bytes(code.as_bytes()).unwrap(), message);
    error.set_status_code(StatusCode::from_u16(status).unwrap());
    error
}

/// As Amazon does it: a space is a plus sign. Source: `unquote_str` in `botocore/compat.py` of
/// <https://github.com/boto/botocore>, which decodes listings with `unquote_plus`.
fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNESCAPED)
        .to_string()
        .replace("%20", "+")
}

#[async_trait::async_trait]
impl S3 for Storage {
    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.fs.head_bucket(request).await
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.fs.get_bucket_location(request).await
    }

    async fn list_objects_v2(
        &self,
        mut request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        request.input.max_keys = Some(self.page_size(request.input.max_keys));
        let bucket = request.input.bucket.clone();
        let mut answer = self.fs.list_objects_v2(request).await?;
        for object in answer.output.contents.iter_mut().flatten() {
            let e_tag = self
                .e_tag(&bucket, object.key.as_deref().unwrap_or_default())
                .await;
            // One that was deleted since has none.
            object.e_tag = e_tag.or_else(|error| {
                if is_gone(&error) {
                    Ok(None)
                } else {
                    Err(error)
                }
            })?;
            object.storage_class = None;
        }
        if answer
            .output
            .encoding_type
            .as_ref()
            .map(EncodingType::as_str)
            == Some(EncodingType::URL)
        {
            for object in answer.output.contents.iter_mut().flatten() {
                object.key = object.key.as_deref().map(encode);
            }
            answer.output.prefix = answer.output.prefix.as_deref().map(encode);
        }
        Ok(answer)
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        self.check_room()?;
        self.check_class(request.input.storage_class.as_ref())?;
        let mut answer = self.fs.put_object(request).await?;
        answer.output.e_tag = self.shown_if_any(answer.output.e_tag);
        Ok(answer)
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        self.fs.copy_object(request).await
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        if let Some(ETagCondition::ETag(wanted)) = &request.input.if_match {
            let found = self
                .e_tag(&request.input.bucket, &request.input.key)
                .await?;
            if found.as_ref() != Some(wanted) {
                return Err(s3_error!(
                    PreconditionFailed,
                    "At least one of the preconditions did not hold"
                ));
            }
        }
        let mut answer = self.fs.get_object(request).await?;
        answer.output.e_tag = self.shown_if_any(answer.output.e_tag);
        Ok(answer)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let mut answer = self.fs.head_object(request).await?;
        answer.output.e_tag = self.shown_if_any(answer.output.e_tag);
        Ok(answer)
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.fs.delete_object(request).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.fs.delete_objects(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.check_class(request.input.storage_class.as_ref())?;
        let bucket = HeadBucketInput {
            bucket: request.input.bucket.clone(),
            ..HeadBucketInput::default()
        };
        self.fs.head_bucket(self::request(bucket)).await?;
        let key = request.input.key.clone();
        let answer = self.fs.create_multipart_upload(request).await?;
        let id = answer.output.upload_id.clone().unwrap_or_default();
        self.uploads.lock().insert(
            id,
            Upload {
                key,
                begun: SystemTime::now(),
                parts: BTreeMap::new(),
            },
        );
        Ok(answer)
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.check_room()?;
        let (id, number) = (request.input.upload_id.clone(), request.input.part_number);
        self.uploads.parts(&id)?;
        self.check_number(number)?;
        let size = request.input.content_length;
        let mut answer = self.fs.upload_part(request).await?;
        answer.output.e_tag = self.shown_if_any(answer.output.e_tag);
        let (e_tag, last_modified) = (
            answer.output.e_tag.clone(),
            Some(Timestamp::from(SystemTime::now())),
        );
        if let Some(upload) = self.uploads.lock().get_mut(&id) {
            upload.parts.insert(
                number,
                Part {
                    e_tag,
                    part_number: Some(number),
                    size,
                    last_modified,
                    ..Part::default()
                },
            );
        }
        Ok(answer)
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let ListPartsInput {
            bucket,
            key,
            upload_id,
            ..
        } = request.input;
        let parts = self.uploads.parts(&upload_id)?.into_values().collect();
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(upload_id),
            parts: Some(parts),
            is_truncated: Some(false),
            ..ListPartsOutput::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let ListMultipartUploadsInput {
            prefix,
            encoding_type,
            key_marker,
            upload_id_marker,
            ..
        } = request.input;
        let (prefix, most) = (
            prefix.unwrap_or_default(),
            self.page_size(request.input.max_uploads),
        );
        let is_encoded = encoding_type.is_some();
        let shown = |key: &str| {
            Some(if is_encoded {
                encode(key)
            } else {
                key.to_owned()
            })
        };
        let uploads = self.uploads.lock();
        let mut left: Vec<_> = uploads
            .iter()
            .filter(|(_, upload)| upload.key.starts_with(&prefix))
            .collect();
        left.sort_by_key(|(id, upload)| (&upload.key, *id));
        let after = (
            key_marker.unwrap_or_default(),
            upload_id_marker.unwrap_or_default(),
        );
        left.retain(|(id, upload)| (&upload.key, *id) > (&after.0, &after.1));
        let is_truncated = left.len() > usize::try_from(most).unwrap();
        left.truncate(usize::try_from(most).unwrap());
        let last = left.last().filter(|_| is_truncated);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(request.input.bucket),
            encoding_type,
            is_truncated: Some(is_truncated),
            next_key_marker: last.and_then(|(_, upload)| shown(&upload.key)),
            next_upload_id_marker: last.map(|(id, _)| (*id).clone()),
            uploads: Some(
                left.iter()
                    .map(|(id, upload)| upload.shown(id, shown(&upload.key)))
                    .collect(),
            ),
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.check_parts(&request.input)?;
        if self.fails_to_complete() {
            // s3s sends 200 at once and white space until it knows how this ends, as Amazon does.
            let future = Box::pin(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Err(s3_error!(
                    InternalError,
                    "We encountered an internal error. Please try again."
                ))
            });
            let output = CompleteMultipartUploadOutput {
                future: Some(future),
                ..Default::default()
            };
            return Ok(S3Response::new(output));
        }
        let (id, bucket, key) = (
            request.input.upload_id.clone(),
            request.input.bucket.clone(),
            request.input.key.clone(),
        );
        self.fs.complete_multipart_upload(request).await?;
        self.uploads.lock().remove(&id);
        let e_tag = self.e_tag(&bucket, &key).await?;
        let (bucket, key) = (Some(bucket), Some(key));
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket,
            key,
            e_tag,
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let id = request.input.upload_id.clone();
        self.uploads.parts(&id)?;
        let answer = self.fs.abort_multipart_upload(request).await?;
        self.uploads.lock().remove(&id);
        Ok(answer)
    }
}
