//! Objects: the requests that write them, the proof that they arrived, the answers about them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use tracing::{debug, info, warn};

use super::client::Client;
use super::copy::copying;
use super::e_tag::{Kind, Verdict, opaque};
use super::range;
use super::request::Request;
use super::transport::Reply;
use super::xml;
use crate::provider::Checksum;
use crate::store::backend::{Backend, Content, ContentType, PROBE, Part, Session, Stat};
use crate::store::digest::{Algorithm, PartDigest};
use crate::store::error::{Error, Outcome};
use crate::store::key::Key;
use crate::store::retry::{Call, Patience, Retry};

/// Checksum headers of an object that the agent can compare.
const CHECKSUMS: [(Algorithm, &str); 3] = [
    (Algorithm::Sha256, "x-amz-checksum-sha256"),
    (Algorithm::Crc32c, "x-amz-checksum-crc32c"),
    (Algorithm::Crc64Nvme, "x-amz-checksum-crc64nvme"),
];

impl Client {
    /// Reads an object's metadata with the first byte of its content.
    pub(super) async fn head_by_get(&self, call: &Call, key: &Key) -> Result<Stat, Error> {
        let first = 0..1;
        let request = Request::of(Method::GET, key)
            .headers(&self.headers.customer)
            .range("range", Some(&first));
        let reply = match self.send(call, request).await {
            // An empty object has no first byte.
            Err(error) if error.provider_code.as_deref() == Some("InvalidRange") => {
                return Ok(Stat {
                    size: 0,
                    version: None,
                    modified: None,
                    checksums: Vec::new(),
                });
            }
            reply => reply?,
        };
        let sent = range::sent(&reply, Some(&first));
        let sent = sent.ok_or_else(|| Error::refused(&call.action, "the answer has no size"))?;
        self.keep(self.detours(call));
        let found = stat(&reply);
        Ok(Stat {
            size: sent.object_size,
            // A checksum may be that of the range.
            checksums: Vec::new(),
            version: found.as_ref().and_then(|found| found.version.clone()),
            modified: found.and_then(|found| found.modified),
        })
    }

    /// A request that stores part `number`, from 0.
    pub(super) fn part(&self, session: &Session, number: usize) -> Request {
        Request::of(Method::PUT, &session.key)
            .query("partNumber", (number + 1).to_string())
            .of_upload(session)
            .headers(&self.headers.customer)
    }

    /// A request that begins an object.
    pub(super) fn begin(&self, method: Method, key: &Key, kind: ContentType) -> Request {
        let request = Request::of(method, key).headers(&self.headers.begin);
        match (&self.settings.storage_class, kind) {
            (Some(class), ContentType::Tar) => request.header("x-amz-storage-class", class),
            _ => request,
        }
    }

    /// Sends the content of an object or a part, which the provider or its `ETag` verifies. Returns the `ETag`.
    pub(super) async fn fill(
        &self,
        call: &Call,
        key: &Key,
        request: Request,
        content: &Content,
    ) -> Result<String, Error> {
        let is_part = request.is_of_upload();
        match content {
            Content::Payload(payload) => {
                self.prove(key).await;
                let reply = self.send(call, request.payload(payload.clone())).await?;
                let e_tag = e_tag_of(&reply);
                if let Some(digest) = &payload.digest {
                    let md5 = match self.algorithm() {
                        // Learned from this answer: the digest is another one.
                        Algorithm::Md5 if digest.algorithm() != Algorithm::Md5 => {
                            Algorithm::Md5.digest(&payload.bytes)
                        }
                        _ => digest.clone(),
                    };
                    self.verify(call, key, &e_tag, is_part, &md5).await?;
                }
                Ok(e_tag)
            }
            Content::Copy(source, range) => {
                // A server without copies ignores the header, stores an empty object and answers without a document.
                let why = "the answer is not that of a copy";
                let request = copying(request, source, range.as_ref());
                self.made(call, request, why).await
            }
        }
    }

    /// Makes a request that may fail late. Returns the `ETag` of what it made; an answer without one fails with `why`.
    pub(super) async fn made(
        &self,
        call: &Call,
        request: Request,
        why: &str,
    ) -> Result<String, Error> {
        let request = request.may_fail_late();
        let text = self.document(call, request).await?;
        xml::e_tag(&text).ok_or_else(|| Error::refused(&call.action, why))
    }

    /// Compares an `ETag` where the content's digest is an MD5, which no provider verifies.
    async fn verify(
        &self,
        call: &Call,
        key: &Key,
        e_tag: &str,
        is_part: bool,
        md5: &PartDigest,
    ) -> Result<(), Error> {
        if md5.algorithm() != Algorithm::Md5 {
            return Ok(());
        }
        let e_tags = self.e_tags(is_part);
        let mut verdict = e_tags.judge(e_tag, md5);
        if verdict == Verdict::Unclear {
            let (client, key) = (self.clone(), key.clone());
            // A task of its own: an upload that is cancelled meanwhile leaves no probe behind.
            let found =
                tokio::spawn(async move { Box::pin(client.find_out_e_tags(&key, is_part)).await });
            drop(found.await);
            verdict = e_tags.judge(e_tag, md5);
        }
        match verdict {
            // The ETag is compared for want of a checksum, and proves nothing.
            Verdict::Fine if !e_tags.are_md5() && self.settings.checksum.value != Checksum::Off => {
                Err(self.sign_content(call))
            }
            Verdict::Fine => Ok(()),
            Verdict::Differs | Verdict::Unclear => {
                let why = "the provider received content with another MD5";
                Err(Error::could_not(&call.action, Outcome::Damaged, why))
            }
        }
    }

    async fn find_out_e_tags(&self, key: &Key, is_part: bool) {
        let probe = key.probe_beside(is_part);
        let found = self
            .e_tags(is_part)
            .find_out(Box::pin(self.probe(&probe, is_part)));
        match found.await {
            Ok(Kind::Opaque) => info!(
                of_parts = is_part,
                "the ETags of bucket \"{}\" are no MD5 and are not compared", self.settings.bucket
            ),
            Ok(Kind::Md5) => {}
            Err(error) => debug!("the kind of ETags is unknown: {error}"),
        }
    }

    /// Writes a probe and reads it back. Fails when the bytes differ: the path may damage all content.
    ///
    /// A storage that neither deletes nor writes over an object has the probe of an earlier agent, which proves the same: one
    /// of parts is completed only when the `ETag` of its part is no MD5.
    async fn probe(&self, probe: &Key, is_part: bool) -> Result<Kind, Error> {
        let action = format!("probe \"{probe}\"");
        let call = &Call::new(&action);
        let kind = async {
            let written = if is_part {
                self.write_probe_in_a_part(call, probe).await
            } else {
                let request = self.begin(Method::PUT, probe, ContentType::Text);
                let stored = self.send(call, request.body(PROBE)).await;
                stored.map(|reply| e_tag_of(&reply))
            };
            let refused = match written {
                Ok(e_tag) if self.is_md5_of_probe(&e_tag, is_part) => return Ok(Kind::Md5),
                Ok(_) => None,
                Err(error) if error.outcome.is_refusal() => Some(error),
                Err(error) => return Err(error),
            };
            let read = Retry::with(Patience::INTERACTIVE).run(&action, |call| async move {
                let body = self.get_range(&call, probe, None, None).await?;
                let e_tag = body.e_tag.clone().unwrap_or_default();
                Ok((body.collect(1024).await?, e_tag))
            });
            match read.await {
                Ok((bytes, e_tag)) if bytes == PROBE => {
                    let is_earlier = refused.is_some() && !is_part;
                    let is_md5 = is_earlier && self.is_md5_of_probe(&e_tag, is_part);
                    Ok(if is_md5 { Kind::Md5 } else { Kind::Opaque })
                }
                read => Err(refused
                    .or(read.err())
                    .unwrap_or_else(|| Error::refused(&action, "it came back with other bytes"))),
            }
        };
        let kind = kind.await;
        let deleted = Retry::with(Patience::INTERACTIVE).run(&action, |call| async move {
            self.delete(&call, probe).await
        });
        if let Err(error) = deleted.await {
            warn!("\"{probe}\" is left behind: {error}");
        }
        kind
    }

    fn is_md5_of_probe(&self, e_tag: &str, is_part: bool) -> bool {
        let md5 = Algorithm::Md5.digest(PROBE);
        self.e_tags(is_part).judge(e_tag, &md5) == Verdict::Fine
    }

    /// Stores a probe as the only part of a multipart upload, and completes it unless the part's `ETag` is its MD5. Returns
    /// that `ETag`.
    async fn write_probe_in_a_part(&self, call: &Call, probe: &Key) -> Result<String, Error> {
        let session = self.start(call, probe).await?;
        let stored = async {
            let request = self.part(&session, 0).body(PROBE);
            let e_tag = e_tag_of(&self.send(call, request).await?);
            let part = Part {
                number: 0,
                e_tag: e_tag.clone(),
            };
            let is_md5 = self.is_md5_of_probe(&e_tag, true);
            if !is_md5 {
                self.complete(call, &session, &[part]).await?;
            }
            Ok((e_tag, is_md5))
        };
        let stored = stored.await;
        if stored.as_ref().map_or(true, |(_, is_md5)| *is_md5)
            && let Err(error) = self.abort(call, &session).await
        {
            warn!("an unfinished upload of \"{probe}\" is left behind: {error}");
        }
        stored.map(|(e_tag, _)| e_tag)
    }
}

/// The `ETag` that the server gave: it knows none that a proxy made weak.
fn e_tag_of(reply: &Reply) -> String {
    opaque(reply.header("etag").unwrap_or_default()).to_owned()
}

/// Reads the answer to `HeadObject`.
///
/// Source: "Checking object integrity in Amazon S3" in Amazon's user guide. A composite checksum, of the parts' checksums,
/// is none of the bytes.
pub(super) fn stat(reply: &Reply) -> Option<Stat> {
    let is_composite = reply.header("x-amz-checksum-type") == Some("COMPOSITE");
    let checksum = |(algorithm, name): (Algorithm, &str)| {
        let value = BASE64_STANDARD.decode(reply.header(name)?).ok()?;
        (!is_composite && value.len() == algorithm.length()).then_some((algorithm, value))
    };
    Some(Stat {
        size: reply.header("content-length")?.parse().ok()?,
        version: reply.header("etag").map(|tag| opaque(tag).to_owned()),
        modified: reply.time("last-modified"),
        checksums: CHECKSUMS.into_iter().filter_map(checksum).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::transport::tests::reply;
    use super::*;

    #[test]
    fn only_checksums_of_all_bytes_count() {
        let whole = stat(&reply(
            200,
            &[
                ("content-length", "7"),
                ("x-amz-checksum-crc32c", "AAAAAQ=="),
                ("etag", "\"e\""),
            ],
        ))
        .unwrap();
        assert_eq!(whole.version.as_deref(), Some("\"e\""));
        assert_eq!(
            (whole.size, whole.checksums),
            (7, vec![(Algorithm::Crc32c, vec![0, 0, 0, 1])])
        );
        for of_parts in [
            [
                ("x-amz-checksum-crc32c", "AAAAAQ==-3"),
                ("content-length", "7"),
            ],
            [
                ("x-amz-checksum-crc32c", "AAAAAQ=="),
                ("x-amz-checksum-type", "COMPOSITE"),
            ],
        ] {
            let headers = [&[("content-length", "7")], &of_parts[..]].concat();
            assert_eq!(stat(&reply(200, &headers)).unwrap().checksums, []);
        }
        assert_eq!(
            stat(&reply(200, &[("x-amz-checksum-crc32c", "AAAAAQ==")])),
            None
        );
    }
}
