//! What a location learned about its bucket.

use std::sync::Arc;

use object_store::aws::AwsCredential;
use parking_lot::Mutex;

use super::answer::Answer;
use super::detour::Detours;
use super::dialect::Dialect;
use super::e_tag::ETags;
use super::request::Request;
use super::sign;
use super::traffic::Counters;
use super::transport::Reply;
use crate::config::S3Settings;
use crate::logging::scrub::scrub_with;

/// State that a location keeps when its settings change; running transfers see the change.
#[derive(Debug)]
pub(super) struct Shared {
    /// The location's id, for the log.
    pub(super) location: Arc<str>,
    pub(super) counters: Counters,
    pub(super) e_tags_of_objects: ETags,
    pub(super) e_tags_of_parts: ETags,
    pub(super) learned: Mutex<Learned>,
}

#[derive(Debug)]
pub(super) struct Learned {
    /// One for each time that the settings of the dialect changed: running transfers keep theirs.
    pub(super) dialects: Vec<Dialect>,
    pub(super) credential: Arc<AwsCredential>,
    /// Whether an S3 server answered: another answer comes from a server between.
    pub(super) was_s3: bool,
    /// Whether the bucket was listed: the endpoint's path is right.
    pub(super) was_listed: bool,
    pub(super) detours: Detours,
    /// Whether the answer to the last write named a version.
    pub(super) keeps_versions: Option<bool>,
}

impl Shared {
    pub(super) fn new(settings: &S3Settings, location: &str) -> Self {
        Self {
            location: location.into(),
            counters: Counters::default(),
            e_tags_of_objects: ETags::default(),
            e_tags_of_parts: ETags::default(),
            learned: Mutex::new(Learned {
                dialects: Vec::new(),
                credential: Arc::new(sign::credential(settings)),
                was_s3: false,
                was_listed: false,
                detours: Detours::default(),
                keeps_versions: None,
            }),
        }
    }

    pub(super) fn new_dialect(&self, initial: Dialect) -> usize {
        let dialects = &mut self.learned.lock().dialects;
        dialects.push(initial);
        dialects.len() - 1
    }

    /// Signs with the credential of these settings from now on.
    pub(super) fn use_settings(&self, settings: &S3Settings) {
        self.learned.lock().credential = Arc::new(sign::credential(settings));
    }

    /// Notes whether the answer to a completed upload names a version: Garage 2 names one for every single write, and keeps
    /// none. Source: `x-amz-version-id` in Amazon's API reference of `CompleteMultipartUpload`; where versions are suspended
    /// it is `null`.
    pub(super) fn note_version(&self, request: &Request, reply: &Reply) {
        if request.completes_upload() {
            let version = reply.header("x-amz-version-id");
            let is_version = version.is_some_and(|version| version != "null");
            self.learned.lock().keeps_versions = Some(is_version);
        }
    }

    /// Adds to an answer whether an S3 server answered before, and removes secrets and the ID of the key: a provider names
    /// the key that it does not know, and people swap the two.
    pub(super) fn noted(&self, mut answer: Answer, credential: &AwsCredential) -> Answer {
        let mut learned = self.learned.lock();
        learned.was_s3 |= answer.is_s3 && !answer.code.is_empty();
        answer.was_s3 = learned.was_s3;
        drop(learned);
        for text in answer.texts() {
            scrub_with(text, &credential.key_id);
        }
        answer
    }
}
