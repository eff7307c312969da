//! Proof that the provider verifies content: a probe with a deliberately wrong digest, which it must refuse.
//!
//! Many servers take a digest and verify nothing: `SeaweedFS` 4.48, `rclone serve s3` 1.75 and moto 5 do not compare the
//! SHA-256 in a signature, and moto repeats checksums that it did not compute. So each location asks before its first content.
//! Where a wrong digest is taken, the agent asks about the other kinds, and at last whether the `ETag` is an MD5, which it
//! compares itself.

use std::time::Duration;

use http::Method;
use tokio::time::timeout;
use tracing::{info, warn};

use super::answer::Answer;
use super::checksum::Verification;
use super::client::Client;
use super::dialect::Dialect;
use super::e_tag::{Verdict, opaque};
use crate::config::Encryption;
use crate::provider::Checksum;
use crate::store::backend::{Backend, ContentType, PROBE, Payload};
use crate::store::digest::{Algorithm, PartDigest};
use crate::store::error::{Error, Outcome};
use crate::store::key::Key;
use crate::store::retry::{Call, Patience, Retry};

/// Kinds of digests to ask about after the first.
const ALTERNATIVES: [Checksum; 3] = [Checksum::Sha256, Checksum::Crc64Nvme, Checksum::Crc32c];

/// Time limit of an answer about a few bytes.
const LIMIT: Duration = Duration::from_secs(15);

/// What became of a probe.
enum Fate {
    /// Stored, with this `ETag`.
    Taken(String),
    /// The digest differs.
    Damaged,
    /// The provider does not take such a request.
    Refused,
}

impl Client {
    /// Finds out once whether the provider verifies content, and changes to a digest that it verifies.
    pub(super) async fn prove(&self, key: &Key) {
        if self.dialect().checksum == Checksum::Off || !self.proof.is_open() {
            return;
        }
        let (client, probe) = (self.clone(), key.probe_beside(false));
        // A task of its own: an upload that is cancelled meanwhile leaves no probe behind.
        let found = tokio::spawn(async move {
            let asked = Box::pin(client.find_out_digest(&probe));
            client.proof.find_out(asked).await
        });
        if let Ok(Err(error)) = found.await {
            info!("whether content is verified is unknown: {error}");
        }
    }

    async fn find_out_digest(&self, probe: &Key) -> Result<Verification, Error> {
        let known = self.dialect();
        let with = |checksum| Dialect {
            checksum,
            ..known.clone()
        };
        let first = self.stored(&known, probe, true).await?;
        let is_taken = match first {
            Fate::Damaged => return Ok(Verification::Proven),
            Fate::Taken(_) => true,
            Fate::Refused => false,
        };
        // A setting that the user gave stays while the provider does not take it.
        if !is_taken && self.settings.checksum.is_given {
            return Ok(Verification::Unknown);
        }
        for checksum in ALTERNATIVES {
            let dialect = with(checksum);
            if checksum != known.checksum
                && matches!(self.stored(&dialect, probe, true).await?, Fate::Damaged)
                && matches!(self.stored(&dialect, probe, false).await?, Fate::Taken(_))
            {
                self.remember(&known, &dialect);
                return Ok(Verification::Proven);
            }
        }
        let off = with(Checksum::Off);
        if self.has_md5(&off, probe).await? {
            self.remember(&known, &off);
            return Ok(Verification::Proven);
        }
        if !is_taken {
            return Ok(Verification::Unknown);
        }
        warn!(
            "the provider of bucket \"{}\" verifies no content: damage on the way stays unnoticed",
            self.settings.bucket
        );
        Ok(Verification::Missing)
    }

    /// Whether an `ETag` is the MD5 of the content. With a key of the key service or of the customer, none is.
    async fn has_md5(&self, off: &Dialect, probe: &Key) -> Result<bool, Error> {
        if let Encryption::Kms(_) | Encryption::Customer(_) = self.settings.encryption {
            return Ok(false);
        }
        let Fate::Taken(e_tag) = self.stored(off, probe, false).await? else {
            return Ok(false);
        };
        let e_tags = self.e_tags(false);
        let verdict = e_tags.judge(&e_tag, &Algorithm::Md5.digest(PROBE));
        Ok(verdict == Verdict::Fine && e_tags.are_md5())
    }

    /// Sends a probe with its digest or a wrong one, and deletes it. Fails when the answer says nothing about digests.
    async fn stored(&self, dialect: &Dialect, probe: &Key, is_wrong: bool) -> Result<Fate, Error> {
        let action = format!("probe \"{probe}\"");
        let call = Call::new(&action);
        let payload = Payload {
            bytes: PROBE.into(),
            digest: digest(dialect.checksum, is_wrong),
            ..Payload::default()
        };
        let request = self.begin(Method::PUT, probe, ContentType::Text);
        let request = request.payload(payload);
        let credential = self.credential();
        let answered = async {
            match self.sent(&call, &request, dialect, &credential).await {
                // A bucket with a lock takes nothing else; this one is right.
                Err(failure) if failure.refused().is_some_and(Answer::demands_digest) => {
                    let request = request.clone().with_md5();
                    self.sent(&call, &request, dialect, &credential).await
                }
                answered => answered,
            }
        };
        let Ok(answered) = timeout(LIMIT, answered).await else {
            let why = format!("no answer within {} s", LIMIT.as_secs());
            return Err(Error::could_not(&action, Outcome::Timeout, why));
        };
        let e_tag = match answered {
            Ok(reply) => opaque(reply.header("etag").unwrap_or_default()).to_owned(),
            Err(failure) => {
                let error = failure.error(&action);
                return match error.outcome {
                    Outcome::Damaged => Ok(Fate::Damaged),
                    Outcome::Refused if error.provider_code.is_some() => Ok(Fate::Refused),
                    _ => Err(error),
                };
            }
        };
        let deleted = Retry::with(Patience::INTERACTIVE).run(&action, |call| async move {
            self.delete(&call, probe).await
        });
        if let Err(error) = deleted.await {
            warn!("\"{probe}\" is left behind: {error}");
        }
        Ok(Fate::Taken(e_tag))
    }

    /// Whether nothing would notice damage on the way; unknown before the first write.
    pub(in crate::store) fn is_unverified(&self) -> bool {
        self.proof.get() == Some(Verification::Missing)
    }
}

/// The probe's digest, or that of other bytes.
fn digest(checksum: Checksum, is_wrong: bool) -> Option<PartDigest> {
    let algorithm = match checksum {
        Checksum::Sha256 => Algorithm::Sha256,
        Checksum::Crc32c => Algorithm::Crc32c,
        Checksum::Crc64Nvme => Algorithm::Crc64Nvme,
        Checksum::Off => return None,
    };
    Some(algorithm.digest(if is_wrong { b"other content" } else { PROBE }))
}
