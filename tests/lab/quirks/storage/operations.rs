//! The operations of S3.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, ETagCondition, EncodingType, GetBucketLocationInput,
    GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
    HeadObjectInput, HeadObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, Part, PutObjectInput,
    PutObjectOutput, Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::{Quirk, Storage, Upload, request};

/// Characters that a listing leaves unescaped. Source: `encoding-type` in Amazon's API reference of
/// `ListObjectsV2`.
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'*');

fn is_gone(error: &S3Error) -> bool {
    matches!(error.code(), S3ErrorCode::NoSuchKey)
}

/// Amazon's encoding: a space becomes a plus sign. Source: `unquote_str` in `botocore/compat.py` of
/// <https://github.com/boto/botocore>, which decodes listings with `unquote_plus`.
fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNESCAPED)
        .to_string()
        .replace("%20", "+")
}

impl Storage {
    /// The key in a listing that claims to be encoded.
    fn listed(&self, key: &str) -> String {
        if self.quirks.has(&Quirk::LeavesKeys) {
            key.to_owned()
        } else if self.quirks.has(&Quirk::LeavesPlusSigns) {
            encode(key).replace('+', "%20").replace("%2B", "+")
        } else {
            encode(key)
        }
    }
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
            // A concurrently deleted object has none.
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
                object.key = object.key.as_deref().map(|key| self.listed(key));
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
        self.check_kept(&request.input.bucket, &request.input.key)
            .await?;
        let mut answer = self.fs.put_object(request).await?;
        answer.output.version_id = self.version();
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
        if self.quirks.has(&Quirk::KeepsObjects) || self.quirks.has(&Quirk::WriteOnce) {
            return Err(s3_error!(AccessDenied, "The object is locked."));
        }
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
        let e_tag = answer.output.e_tag.take();
        answer.output.e_tag = e_tag.map(|e_tag| self.shown_of_part(e_tag));
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
                self.listed(key)
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
            // s3s sends 200 immediately and white space until the result is known, as
            // Amazon does.
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
        self.check_kept(&bucket, &key).await?;
        self.fs.complete_multipart_upload(request).await?;
        self.uploads.lock().remove(&id);
        let e_tag = self.e_tag(&bucket, &key).await?;
        let (bucket, key) = (Some(bucket), Some(key));
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket,
            key,
            e_tag,
            version_id: self.version(),
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
