//! Looks whether a backup in the bucket is what was uploaded, and could be restored.
//!
//! Quick: the tar is there, as large as its metadata says, complete by its headers, and what it says of itself agrees.
//! Full: all of it is read as well, and its hashes are compared. What is wrong with the backup is in the answer; errors
//! are what kept the agent from looking.

mod hashes;
mod records;
mod schedule;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::download::Download;
use super::listing::{Entry, MAX_METADATA_BYTES};
use super::location::Location;
use super::look::look_into;
use super::model::{Finding, FindingCode, VerifyMode, VerifyReport, VerifyStep};
use super::{Agent, stopped};
use crate::archive::{self, Manifest, Walker};
use crate::backup::{Read, StoredBackup};
use crate::error::Result;
use crate::store::{Algorithm, Object, Outcome, Patience, Stat};
use crate::units::hex;
use hashes::Hashes;
pub(super) use records::{Record, Records};
pub(super) use schedule::run as follow_schedules;

/// How often a caller hears how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A look at a backup under way. Dropping it ends it.
#[derive(Debug)]
pub struct Verification {
    steps: mpsc::Receiver<VerifyStep>,
    task: Option<AbortOnDropHandle<Result<VerifyReport>>>,
}

impl Verification {
    /// The next step; nothing after the result.
    ///
    /// # Errors
    /// What kept the agent from looking; nothing comes after it.
    pub async fn next(&mut self) -> Option<Result<VerifyStep>> {
        if let Some(step) = self.steps.recv().await {
            return Some(Ok(step));
        }
        let ended = self.task.take()?.await.map_err(stopped).flatten();
        Some(ended.map(VerifyStep::Result))
    }
}

impl Agent {
    /// Begins to look at a backup.
    ///
    /// # Errors
    /// [`Kind::BackupNotFound`], [`Kind::ShuttingDown`], and what a listing can come to.
    pub async fn verify(
        self: &Arc<Self>,
        location: &str,
        backup_id: &str,
        mode: VerifyMode,
    ) -> Result<Verification> {
        self.refuse_when_stopping()?;
        let entry = self.find(location, backup_id).await?;
        let location = self.location(location)?;
        let (sender, steps) = mpsc::channel(1);
        let agent = Arc::clone(self);
        let task = tokio::spawn(async move { run(agent, location, entry, mode, sender).await });
        Ok(Verification {
            steps,
            task: Some(AbortOnDropHandle::new(task)),
        })
    }
}

async fn run(
    agent: Arc<Agent>,
    location: Arc<Location>,
    entry: Entry,
    mode: VerifyMode,
    steps: mpsc::Sender<VerifyStep>,
) -> Result<VerifyReport> {
    let (key, place) = (&entry.tar.key, location.store.place());
    let mut look = Verifying::begin(&location, &entry, mode);
    let metadata = look.metadata().await?;
    if let Some(stat) = look.stat(metadata.as_ref()).await? {
        let manifest = match mode {
            VerifyMode::Quick => look.quick(&stat, metadata.as_ref()).await?,
            VerifyMode::Full => look.full(&stat, metadata.as_ref(), steps).await?,
        };
        look.compare(manifest, metadata.as_ref());
    }
    let Verifying {
        version, verified, ..
    } = look;
    for finding in &verified.problems {
        warn!(
            backup_id = entry.metadata.backup_id,
            key = key.as_str(),
            "{} {}",
            place,
            finding.detail
        );
    }
    if verified.ok {
        info!(
            size_bytes = verified.size_bytes,
            read_bytes = verified.read_bytes,
            "\"{key}\" in {place} is as it should be"
        );
    } else {
        // The list shows it as it was.
        if verified
            .problems
            .iter()
            .any(|finding| finding.code.is_missing())
        {
            location.changed(&entry.metadata.backup_id);
        } else {
            location.outdated();
        }
    }
    if version != entry.tar.version {
        // A status says only of tars in the list that they are damaged.
        drop(location.listings.taken().await);
    }
    agent
        .note_verified(&location, &entry.metadata.backup_id, &version, &verified)
        .await;
    Ok(verified)
}

/// A look under way, and what was found so far.
struct Verifying<'l> {
    location: &'l Arc<Location>,
    entry: &'l Entry,
    /// Of the tar that is looked at.
    version: String,
    verified: VerifyReport,
}

impl<'l> Verifying<'l> {
    fn begin(location: &'l Arc<Location>, entry: &'l Entry, mode: VerifyMode) -> Self {
        let verified = VerifyReport {
            ok: true,
            mode,
            size_bytes: 0,
            read_bytes: 0,
            sha256: None,
            problems: Vec::new(),
        };
        Self {
            location,
            entry,
            version: entry.tar.version.clone(),
            verified,
        }
    }

    fn found(&mut self, code: FindingCode, detail: impl Into<String>) {
        self.verified.ok = false;
        self.verified.problems.push(Finding {
            code,
            detail: detail.into(),
        });
    }

    /// The metadata as it is now.
    async fn metadata(&mut self) -> Result<Option<Read>> {
        let key = &self.entry.key;
        match self
            .location
            .store
            .read(key, MAX_METADATA_BYTES, Patience::INTERACTIVE)
            .await
        {
            Ok(json) => match StoredBackup::read(&json) {
                Ok(read) => {
                    if let Some(damage) = &read.damage {
                        self.found(
                            FindingCode::MetadataDamaged,
                            format!("The metadata \"{key}\" is damaged: {damage}."),
                        );
                    }
                    return Ok(Some(read));
                }
                Err(error) => {
                    self.found(
                        FindingCode::InvalidMetadata,
                        format!("Home Assistant would refuse \"{key}\": {error}."),
                    );
                }
            },
            Err(error) if error.outcome == Outcome::NotFound => {
                self.found(
                    FindingCode::MetadataMissing,
                    format!("The metadata \"{key}\" is gone."),
                );
            }
            Err(error) => return self.location.note(Err(error.into())),
        }
        Ok(None)
    }

    /// What the server says of the tar.
    async fn stat(&mut self, metadata: Option<&Read>) -> Result<Option<Stat>> {
        let key = &self.entry.tar.key;
        let stat = match self.location.store.stat(key, Patience::INTERACTIVE).await {
            Ok(stat) => stat,
            Err(error) if error.outcome == Outcome::NotFound => {
                self.found(
                    FindingCode::TarMissing,
                    format!("The tar \"{key}\" is gone."),
                );
                return Ok(None);
            }
            Err(error) => return self.location.note(Err(error.into())),
        };
        self.verified.size_bytes = stat.size;
        self.note_version(stat.version.as_deref());
        if let Some(said) = metadata.and_then(|metadata| wrong_size(metadata, stat.size)) {
            let detail = format!(
                "The tar \"{key}\" has {} bytes, but its metadata says {said}.",
                stat.size
            );
            self.found(FindingCode::SizeMismatch, detail);
        }
        Ok(Some(stat))
    }

    /// Notes which tar it is: it may be another one than when the list was taken.
    fn note_version(&mut self, read: Option<&str>) {
        let listed = &self.entry.tar.version;
        self.version = read
            .filter(|read| is_other(listed, read))
            .unwrap_or(listed)
            .to_owned();
    }

    async fn quick(&mut self, stat: &Stat, metadata: Option<&Read>) -> Result<Option<Manifest>> {
        let key = &self.entry.tar.key;
        let held = stat
            .checksums
            .iter()
            .find(|(checksum, _)| *checksum == Algorithm::Sha256)
            .map(|(_, held)| hex(held));
        if held
            .zip(recorded_sha256(metadata))
            .is_some_and(|(held, recorded)| held != recorded)
        {
            let detail = format!(
                "The SHA-256 that the server has of \"{key}\" is not the one of what was uploaded."
            );
            self.found(FindingCode::ChecksumMismatch, detail);
        }
        let look = look_into(self.location, key, stat.size).await?;
        self.verified.read_bytes = look.read_bytes;
        Ok(self.manifest(look.found))
    }

    async fn full(
        &mut self,
        stat: &Stat,
        metadata: Option<&Read>,
        steps: mpsc::Sender<VerifyStep>,
    ) -> Result<Option<Manifest>> {
        let tar = Object {
            size: stat.size,
            ..self.entry.tar.clone()
        };
        let download = Download::open(
            Arc::clone(self.location),
            &Entry {
                tar,
                ..self.entry.clone()
            },
            None,
        )
        .await?;
        self.note_version(download.e_tag.as_deref());
        let mut pieces = pin!(download.unchecked().into_stream());
        let (mut hashes, mut walker) = (Hashes::for_all_of(stat), Ok(Walker::default()));
        let mut ticks = interval(PROGRESS_EVERY);
        loop {
            tokio::select! {
                // A caller that does not listen is not waited for.
                _ = ticks.tick() => drop(steps.try_send(VerifyStep::Progress {
                    read_bytes: self.verified.read_bytes,
                    total_bytes: stat.size,
                })),
                piece = pieces.next() => {
                    let Some(piece) = piece else { break };
                    let piece = piece?;
                    self.verified.read_bytes += piece.len() as u64;
                    hashes.update(&piece);
                    walker = walker.and_then(|mut walker| walker.push(&piece).map(|()| walker));
                }
            }
        }
        let (sha256, differing) = hashes.finish(recorded_sha256(metadata));
        self.verified.sha256 = Some(sha256);
        for what in differing {
            let detail = format!(
                "The {what} of \"{}\" is not the one of what was uploaded.",
                self.entry.tar.key
            );
            self.found(FindingCode::ChecksumMismatch, detail);
        }
        Ok(self.manifest(walker.and_then(Walker::finish)))
    }

    fn manifest(
        &mut self,
        found: std::result::Result<Manifest, archive::Error>,
    ) -> Option<Manifest> {
        let key = &self.entry.tar.key;
        found
            .map_err(|error| {
                self.found(
                    FindingCode::InvalidTar,
                    format!("\"{key}\" cannot be restored: {error}."),
                );
            })
            .ok()
    }

    /// What Home Assistant shows of a backup may be changed by hand, such as its name; what it restores by may not.
    fn compare(&mut self, manifest: Option<Manifest>, metadata: Option<&Read>) {
        let (Some(manifest), Some(read)) = (manifest, metadata) else {
            return;
        };
        let backup = &read.stored.backup;
        let key = &self.entry.tar.key;
        if manifest.backup_id() != backup.backup_id {
            let (inside, said) = (manifest.backup_id(), &backup.backup_id);
            let detail = format!("The tar \"{key}\" is the backup \"{inside}\", not \"{said}\".");
            return self.found(FindingCode::OtherBackup, detail);
        }
        for (differs, what) in [
            (
                manifest.is_protected() != backup.protected,
                "whether it is encrypted",
            ),
            (
                manifest.homeassistant_version() != backup.homeassistant_version.as_deref(),
                "the version of Home Assistant",
            ),
        ] {
            if differs {
                let detail = format!("The tar \"{key}\" and its metadata do not agree on {what}.");
                self.found(FindingCode::MetadataDiffers, detail);
            }
        }
    }
}

/// Whether a tar is another one than a list says. Servers do not agree with themselves on the quotation marks of an `ETag`,
/// and some give a time in its place in a list.
fn is_other(listed: &str, read: &str) -> bool {
    listed.trim_matches('"') != read.trim_matches('"')
        && DateTime::parse_from_rfc3339(listed).is_err()
}

fn recorded_sha256(metadata: Option<&Read>) -> Option<&str> {
    metadata?.sha256.as_deref()
}

/// The size that the metadata says, when a tar of `size` bytes cannot be it. Home Assistant announces less than it sends
/// in a known case, and only the agent records what arrived.
fn wrong_size(metadata: &Read, size: u64) -> Option<u64> {
    match &metadata.stored.agent {
        Some(stored) => Some(stored.size).filter(|&said| said != size),
        None => Some(metadata.stored.backup.size).filter(|&said| said > size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_is_another_one_where_a_list_and_an_answer_can_be_compared() {
        for (listed, read, is_other_one) in [
            ("\"e1\"", "\"e1\"", false),
            ("e1", "\"e1\"", false),
            ("\"e1\"", "\"e2\"", true),
            ("2026-11-20T04:47:00.000Z", "\"e1\"", false),
        ] {
            assert_eq!(is_other(listed, read), is_other_one, "{listed} {read}");
        }
    }
}
