//! Client of one bucket: sends a request in the dialect that is known, and learns from refusals.
//!
//! A refusal that asks for another dialect is tried in it by the next attempt, which the retry layer makes at once. The
//! dialect is kept when that attempt comes further; otherwise the call fails with the first refusal. A credential that was
//! replaced while the request was in flight is retried at once, too: its owner deletes the old key at the provider next.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use object_store::aws::AwsCredential;
use parking_lot::Mutex;
use tracing::info;

use super::answer::Answer;
use super::checksum::Proof;
use super::detour::Detours;
use super::dialect::{Dialect, Lesson, Subject, are_alike};
use super::e_tag::ETags;
use super::encryption::Headers;
use super::failure::Failure;
use super::names::Readings;
use super::request::Request;
use super::shared::Shared;
use super::sign;
use super::traffic::Traffic;
use super::transport::{Reply, Transport};
use crate::config::{Encryption, S3Settings};
use crate::error::Reason;
use crate::provider::Checksum;
use crate::store::backend::path_of;
use crate::store::digest::Algorithm;
use crate::store::error::{AtOnce, Error, Outcome};
use crate::store::retry::Call;

/// Largest answer that is no content of an object: a page of a listing, with its keys escaped.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Client of one bucket.
#[derive(Debug, Clone)]
pub(in crate::store) struct Client {
    transport: Transport,
    pub(super) settings: S3Settings,
    pub(super) headers: Headers,
    /// Number of its dialect among those learned.
    dialect: usize,
    /// How the server's listings are read.
    pub(super) readings: Arc<Mutex<Readings>>,
    pub(super) proof: Proof,
    shared: Arc<Shared>,
}

/// The trial of a lesson by the next attempt.
#[derive(Clone)]
struct Trial {
    lesson: Lesson,
    /// Dialect that the lesson changes.
    known: Dialect,
    /// Refusal that taught it.
    refused: Answer,
    /// Subjects learned in this call; each is learned once.
    learned: Vec<Subject>,
}

impl Client {
    /// Opens a bucket; `previous` is the client with the settings before.
    ///
    /// Running transfers have the new credential, and the dialect stays while the settings that it depends on do.
    pub(in crate::store) fn open(
        settings: &S3Settings,
        location: &str,
        previous: Option<&Self>,
    ) -> Self {
        let shared = previous.map_or_else(
            || Arc::new(Shared::new(settings, location)),
            |previous| Arc::clone(&previous.shared),
        );
        let transport = Transport::new(
            &settings.wire,
            &settings.endpoint,
            Arc::clone(&shared.location),
            shared.counters.clone(),
        );
        shared.use_settings(settings);
        let alike = previous.filter(|previous| are_alike(&previous.settings, settings));
        let dialect = alike.map_or_else(
            || shared.new_dialect(Dialect::of(settings)),
            |previous| previous.dialect,
        );
        Self {
            transport,
            readings: alike.map_or_else(Arc::default, |previous| Arc::clone(&previous.readings)),
            proof: alike.map_or_else(Proof::default, |previous| previous.proof.clone()),
            settings: settings.clone(),
            headers: Headers::of(&settings.encryption),
            dialect,
            shared,
        }
    }

    /// The dialect as far as it is known.
    pub(in crate::store) fn dialect(&self) -> Dialect {
        self.shared.learned.lock().dialects[self.dialect].clone()
    }

    pub(in crate::store) fn traffic(&self) -> Traffic {
        self.transport.traffic()
    }

    /// Algorithm of the digest that proves the arrival of content.
    pub(in crate::store) fn algorithm(&self) -> Algorithm {
        match self.dialect().checksum {
            Checksum::Sha256 => Algorithm::Sha256,
            Checksum::Crc32c => Algorithm::Crc32c,
            Checksum::Crc64Nvme => Algorithm::Crc64Nvme,
            // With a key of the key service or of the customer, no ETag is an MD5: nothing is compared.
            Checksum::Off => match self.settings.encryption {
                Encryption::Kms(_) | Encryption::Customer(_) => Algorithm::Crc64Nvme,
                Encryption::None | Encryption::Aes256 => Algorithm::Md5,
            },
        }
    }

    pub(super) fn e_tags(&self, of_parts: bool) -> &ETags {
        if of_parts {
            &self.shared.e_tags_of_parts
        } else {
            &self.shared.e_tags_of_objects
        }
    }

    /// Detours of this attempt.
    pub(super) fn detours(&self, call: &Call) -> Detours {
        let known = self.shared.learned.lock().detours;
        call.learned().copied().unwrap_or(known)
    }

    /// Keeps detours that led to an answer.
    pub(super) fn keep(&self, detours: Detours) {
        self.shared.learned.lock().detours = detours.lasting();
    }

    /// Whether an S3 server answered before.
    pub(super) fn was_s3(&self) -> bool {
        self.shared.learned.lock().was_s3
    }

    /// Notes that an S3 server listed the bucket.
    pub(super) fn note_listed(&self) {
        let mut learned = self.shared.learned.lock();
        learned.was_s3 = true;
        learned.was_listed = true;
    }

    /// Whether the bucket keeps versions: what is deleted stays. Unknown before the first write.
    pub(in crate::store) fn keeps_versions(&self) -> Option<bool> {
        self.shared.learned.lock().keeps_versions
    }

    /// Makes one attempt. Its error may ask the retry layer for the next one at once.
    pub(super) async fn send(&self, call: &Call, mut request: Request) -> Result<Reply, Error> {
        // A URL would resolve the dots of an unaddressable key.
        request.key.as_ref().map(path_of).transpose()?;
        let detours = self.detours(call);
        if detours.no_content_type {
            request.headers.remove(CONTENT_TYPE);
        }
        if detours.with_md5 {
            request = request.with_md5();
        }
        let trial = call.learned::<Trial>();
        let dialect = trial.map_or_else(|| self.dialect(), |trial| trial.lesson.dialect.clone());
        let credential = self.credential();
        let result = match (
            trial,
            self.sent(call, &request, &dialect, &credential).await,
        ) {
            // A connection that the server closed meanwhile tells nothing about the lesson.
            (Some(trial), Err(failure)) if failure.is_broken_http() => {
                let error = failure.error(&call.action);
                let at_once = Some(AtOnce::with(trial.clone()));
                return Err(Error { at_once, ..error });
            }
            (_, result) => result,
        };
        if let Some(trial) = trial {
            if !trial.lesson.leads_on(&result) {
                let refused = trial.refused.error(&call.action);
                let failed = result.err().map(|failure| failure.error(&call.action));
                // Its answer may be lost.
                let may_have_succeeded = failed.is_some_and(|error| error.may_have_succeeded);
                return Err(Error {
                    may_have_succeeded,
                    ..refused
                });
            }
            self.remember(&trial.known, &trial.lesson.dialect);
        }
        let failure = match result {
            Ok(reply) => {
                if detours.no_content_type || detours.with_md5 {
                    self.keep(detours);
                }
                self.shared.note_version(&request, &reply);
                let reply = self.encrypted(call, &request, reply, &dialect).await?;
                return self.verified(call, &request, reply, &dialect);
            }
            Err(failure) => failure,
        };
        let next = failure
            .refused()
            .and_then(|answer| self.next_attempt(&request, answer, &dialect, &credential, trial));
        let unused = self.transport.way.unused;
        let (demands_digest, may_be_of_name) = failure.refused().map_or((false, false), |answer| {
            (
                answer.demands_digest(),
                request.has_special_name() && answer.is_bare_refusal(),
            )
        });
        let mut error = failure.error(&call.action).without_proxy(unused);
        if demands_digest && request.has_content() && !detours.with_md5 {
            return Err(detours.with_md5(error));
        }
        if request.key.is_none() {
            error.reason = self.wrong_path(&error).or(error.reason);
        }
        let is_signature = error.reason == Some(Reason::WrongSecret) && next.is_none();
        if is_signature && request.headers.contains_key(CONTENT_TYPE) {
            return Err(detours.without_content_type(error));
        }
        if (is_signature || may_be_of_name)
            && request.key.is_some()
            && self.signs_well(&dialect, &credential).await
        {
            return Err(Error {
                outcome: Outcome::Refused,
                reason: Some(Reason::NameChanged),
                ..error
            });
        }
        Err(Error {
            at_once: next,
            ..error
        })
    }

    /// Whether the bucket itself accepts the signature: then something on the way changes one key.
    async fn signs_well(&self, dialect: &Dialect, credential: &AwsCredential) -> bool {
        let call = Call::new("list the bucket");
        let request = Request::of_bucket(Method::GET)
            .query("list-type", "2")
            .query("max-keys", "1");
        match self.sent(&call, &request, dialect, credential).await {
            Ok(_) => true,
            Err(failure) => failure.error(&call.action).outcome == Outcome::Forbidden,
        }
    }

    /// Makes one attempt and reads the answer, a document.
    pub(super) async fn document(&self, call: &Call, request: Request) -> Result<Bytes, Error> {
        let reply = self.send(call, request).await?;
        read(call, reply, MAX_ANSWER_BYTES).await
    }

    fn next_attempt(
        &self,
        request: &Request,
        answer: &Answer,
        dialect: &Dialect,
        credential: &Arc<AwsCredential>,
        trial: Option<&Trial>,
    ) -> Option<AtOnce> {
        if answer.is_of_credential() && !Arc::ptr_eq(credential, &self.credential()) {
            return Some(AtOnce::with(()));
        }
        let mut learned = trial.map(|trial| trial.learned.clone()).unwrap_or_default();
        let lesson = dialect
            .lesson(&self.settings, answer, request)
            .filter(|lesson| !learned.contains(&lesson.subject))?;
        learned.push(lesson.subject);
        Some(AtOnce::with(Trial {
            lesson,
            known: dialect.clone(),
            refused: answer.clone(),
            learned,
        }))
    }

    pub(super) async fn sent(
        &self,
        call: &Call,
        request: &Request,
        dialect: &Dialect,
        credential: &AwsCredential,
    ) -> Result<Reply, Failure> {
        let signed = sign::signed(request, &self.settings.bucket, dialect, credential)?;
        let sent = self
            .transport
            .send(&signed.request, signed.url, call.is_hedge, |answer| {
                self.shared.noted(answer, credential)
            });
        let result = sent.await;
        call.answered();
        result
    }

    pub(super) fn credential(&self) -> Arc<AwsCredential> {
        Arc::clone(&self.shared.learned.lock().credential)
    }

    pub(super) fn remember(&self, known: &Dialect, learned: &Dialect) {
        for (setting, value) in learned.difference(known) {
            info!("the provider wants {setting} \"{value}\"");
        }
        self.shared.learned.lock().dialects[self.dialect].take_from(known, learned);
    }

    /// Builds the error of an answer that is no S3 document.
    pub(super) fn not_s3(&self, call: &Call, why: &str) -> Error {
        let error = Error {
            reason: Some(Reason::NotS3),
            may_pass: self.was_s3(),
            ..Error::could_not(&call.action, Outcome::NotS3, why)
        };
        Error {
            reason: self.wrong_path(&error).or(error.reason),
            ..error
        }
    }

    /// Blames the endpoint's path for the error of a request to the bucket: it may hold a bucket, or lead elsewhere.
    fn wrong_path(&self, error: &Error) -> Option<Reason> {
        let is_nothing = match error.outcome {
            // An S3 server takes what is below the first segment for a key.
            Outcome::NotFound | Outcome::BucketNotFound => true,
            Outcome::NotS3 => error.reason == Some(Reason::NotS3),
            _ => false,
        };
        let mut segments = self.settings.endpoint.path_segments()?;
        let has_path = segments.clone().any(|segment| !segment.is_empty());
        let is_open = has_path && !self.shared.learned.lock().was_listed;
        (is_nothing && is_open).then(|| {
            if segments.any(|segment| segment == self.settings.bucket) {
                Reason::EndpointWithBucket
            } else {
                Reason::EndpointWithPath
            }
        })
    }
}

pub(super) async fn read(call: &Call, reply: Reply, max: usize) -> Result<Bytes, Error> {
    let text = reply.read(max).await;
    text.map_err(|error| error.error(&call.action))
}
