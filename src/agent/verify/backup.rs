//! Verifies one backup.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::hashes::Hashes;
use crate::agent::catalog::{Entry, MAX_METADATA_BYTES};
use crate::agent::download::Download;
use crate::agent::location::Location;
use crate::agent::model::{Finding, FindingCode, VerifyMode, VerifyReport, VerifyStep};
use crate::agent::peek::peek_contents;
use crate::archive::{self, Contents, Manifest, Walker};
use crate::backup::{Inventory, Read, StoredBackup};
use crate::error::Result;
use crate::store::{Algorithm, Error as StoreError, Object, Outcome, Patience, Stat};
use crate::units::hex;

/// Interval of progress steps.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Verifies a backup.
///
/// # Errors
/// When a request fails for another reason than a missing object.
pub(super) async fn verify_backup(
    location: &Arc<Location>,
    entry: &Entry,
    mode: VerifyMode,
    steps: mpsc::Sender<VerifyStep>,
) -> Result<VerifyReport> {
    let mut inspection = Inspection::new(location, entry, mode);
    inspection.read_metadata().await?;
    if let Some(stat) = inspection.stat_tar().await? {
        let contents = match mode {
            VerifyMode::Quick => inspection.read_headers(&stat).await?,
            VerifyMode::Full => inspection.read_tar(&stat, steps).await?,
        };
        match contents {
            Ok(contents) => {
                inspection.compare_manifest(&contents.manifest);
                inspection.note_inventory(contents.inventory.as_deref());
            }
            Err(error) => {
                let detail = format!("\"{}\" cannot be restored: {error}.", entry.tar.key);
                inspection.add(FindingCode::InvalidTar, detail);
            }
        }
    }
    Ok(inspection.report)
}

/// The tar's contents, or why the tar cannot be restored.
type ReadContents = std::result::Result<Contents, archive::Error>;

struct Inspection<'l> {
    location: &'l Arc<Location>,
    entry: &'l Entry,
    /// The metadata as it is now; none if it is missing or invalid.
    metadata: Option<Read>,
    report: VerifyReport,
}

impl<'l> Inspection<'l> {
    fn new(location: &'l Arc<Location>, entry: &'l Entry, mode: VerifyMode) -> Self {
        Self {
            location,
            entry,
            metadata: None,
            report: VerifyReport {
                ok: true,
                mode,
                version: entry.tar.version.clone(),
                size_bytes: 0,
                read_bytes: 0,
                sha256: None,
                problems: Vec::new(),
                notes: Vec::new(),
            },
        }
    }

    fn add(&mut self, code: FindingCode, detail: impl Into<String>) {
        self.report.add(code, detail);
    }

    /// Adds a finding if the object is missing.
    fn found<T>(
        &mut self,
        result: Result<T, StoreError>,
        code: FindingCode,
        missing: String,
    ) -> Result<Option<T>> {
        match result {
            Err(error) if error.outcome == Outcome::NotFound => {
                self.add(code, missing);
                Ok(None)
            }
            result => self.location.note_error(result.map(Some)),
        }
    }

    async fn read_metadata(&mut self) -> Result<()> {
        let (key, store) = (&self.entry.key, &self.location.store);
        let read = store.read(key, MAX_METADATA_BYTES, Patience::INTERACTIVE);
        let missing = format!("The metadata \"{key}\" is gone.");
        let Some(json) = self.found(read.await, FindingCode::MetadataMissing, missing)? else {
            return Ok(());
        };
        match StoredBackup::read(&json) {
            Ok(read) => {
                if let Some(damage) = &read.damage {
                    let detail = format!("The metadata \"{key}\" is damaged: {damage}.");
                    self.add(FindingCode::MetadataDamaged, detail);
                }
                self.metadata = Some(read);
            }
            Err(error) => {
                let detail = format!("The metadata \"{key}\" cannot be used: {error}.");
                self.add(FindingCode::InvalidMetadata, detail);
            }
        }
        Ok(())
    }

    async fn stat_tar(&mut self) -> Result<Option<Stat>> {
        let key = &self.entry.tar.key;
        let stat = self.location.store.stat(key, Patience::INTERACTIVE);
        let missing = format!("The tar \"{key}\" is gone.");
        let Some(stat) = self.found(stat.await, FindingCode::TarMissing, missing)? else {
            return Ok(None);
        };
        self.report.size_bytes = stat.size;
        self.set_version(stat.version.as_deref());
        let expected = self.metadata.as_ref();
        if let Some(expected) = expected.and_then(|metadata| wrong_size(metadata, stat.size)) {
            let size = stat.size;
            let detail =
                format!("The tar \"{key}\" has {size} bytes, but its metadata says {expected}.");
            self.add(FindingCode::SizeMismatch, detail);
        }
        Ok(Some(stat))
    }

    /// Notes the version that is read: the tar may have been replaced since the scan.
    fn set_version(&mut self, read: Option<&str>) {
        let listed = &self.entry.tar.version;
        let version = read.filter(|read| is_other_version(listed, read));
        self.report.version = version.unwrap_or(listed).to_owned();
    }

    async fn read_headers(&mut self, stat: &Stat) -> Result<ReadContents> {
        let key = &self.entry.tar.key;
        let stored = stat
            .checksums
            .iter()
            .find(|(checksum, _)| *checksum == Algorithm::Sha256)
            .map(|(_, stored)| hex(stored));
        if stored
            .zip(self.recorded_sha256())
            .is_some_and(|(stored, recorded)| stored != recorded)
        {
            let detail =
                format!("The SHA-256 that the server has of \"{key}\" is not that of the upload.");
            self.add(FindingCode::ChecksumMismatch, detail);
        }
        let peek = peek_contents(self.location, key, stat.size).await?;
        self.report.read_bytes = peek.read_bytes;
        Ok(peek.contents)
    }

    async fn read_tar(
        &mut self,
        stat: &Stat,
        steps: mpsc::Sender<VerifyStep>,
    ) -> Result<ReadContents> {
        let entry = Entry {
            tar: Object {
                size: stat.size,
                ..self.entry.tar.clone()
            },
            ..self.entry.clone()
        };
        let download = Download::open(Arc::clone(self.location), &entry, None).await?;
        self.set_version(download.e_tag.as_deref());
        let mut pieces = pin!(download.unchecked().into_stream());
        let mut hashes = Hashes::for_all_of(&stat.checksums);
        let mut walker = Ok(Walker::default());
        let mut ticks = interval(PROGRESS_INTERVAL);
        loop {
            tokio::select! {
                // The first step is one of progress, also where the first bytes are there at once.
                biased;
                // A caller that does not read its steps does not slow this down.
                _ = ticks.tick() => drop(steps.try_send(VerifyStep::Progress {
                    read_bytes: self.report.read_bytes,
                    total_bytes: stat.size,
                })),
                piece = pieces.next() => {
                    let Some(piece) = piece else { break };
                    let piece = piece?;
                    self.report.read_bytes += piece.len() as u64;
                    hashes.update(&piece);
                    walker = walker.and_then(|mut walker| walker.push(&piece).map(|()| walker));
                }
            }
        }
        let compared = hashes.finish(self.recorded_sha256());
        self.report.sha256 = Some(compared.sha256);
        let key = &self.entry.tar.key;
        for hash in compared.differing {
            let detail = format!("The {hash} of \"{key}\" is not that of the upload.");
            self.add(FindingCode::ChecksumMismatch, detail);
        }
        for hash in compared.wrong {
            let server = self.location.store.description();
            let detail = format!(
                "The {hash} of \"{key}\" in {server} is wrong: the backup is intact, its SHA-256 is that of the upload."
            );
            let code = FindingCode::ServerChecksumWrong;
            self.report.notes.push(Finding { code, detail });
        }
        Ok(walker.and_then(Walker::finish))
    }

    fn recorded_sha256(&self) -> Option<&str> {
        self.metadata.as_ref()?.sha256.as_deref()
    }

    /// Compares what Home Assistant restores by. A user may change what it only shows, such as the name.
    fn compare_manifest(&mut self, manifest: &Manifest) {
        let Some(Read { stored, .. }) = &self.metadata else {
            return;
        };
        let (backup, key) = (&stored.backup, &self.entry.tar.key);
        if manifest.backup_id() != backup.backup_id {
            let detail = format!(
                "The tar \"{key}\" is the backup \"{}\", not \"{}\".",
                manifest.backup_id(),
                backup.backup_id
            );
            return self.add(FindingCode::OtherBackup, detail);
        }
        let is_other_version =
            backup.is_of_version(manifest.homeassistant_version()) == Some(false);
        let differences = [
            (
                "whether it is encrypted",
                backup.is_protected() == Some(!manifest.is_protected()),
            ),
            ("the version of Home Assistant", is_other_version),
        ];
        for (subject, _) in differences.iter().filter(|(_, differs)| *differs) {
            let detail = format!("The tar \"{key}\" and its metadata do not agree on {subject}.");
            self.add(FindingCode::MetadataDiffers, detail);
        }
    }

    /// Notes what the backup lacks: the tar is what was uploaded, and what it has can be restored.
    fn note_inventory(&mut self, inventory: Option<&Inventory>) {
        if let Some(inventory) = inventory.filter(|inventory| !inventory.complete) {
            let detail = format!("The backup is incomplete: {inventory}.");
            let code = FindingCode::Incomplete;
            self.report.notes.push(Finding { code, detail });
        }
    }
}

/// Whether the tar that was read is another version than the listed one. Servers disagree on the quotation marks of an
/// `ETag`, and some list a time in its place.
fn is_other_version(listed: &str, read: &str) -> bool {
    listed.trim_matches('"') != read.trim_matches('"')
        && DateTime::parse_from_rfc3339(listed).is_err()
}

/// The size in the metadata, if a tar of `size` bytes cannot have it. Home Assistant announces fewer bytes than it sends in a
/// known case, and only the agent records what arrived.
fn wrong_size(metadata: &Read, size: u64) -> Option<u64> {
    match &metadata.stored.agent {
        Some(stored) => Some(stored.size).filter(|&expected| expected != size),
        None => Some(metadata.stored.backup.size).filter(|&expected| expected > size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_differs_only_where_list_and_answer_are_comparable() {
        for (listed, read, is_other) in [
            ("\"e1\"", "\"e1\"", false),
            ("e1", "\"e1\"", false),
            ("\"e1\"", "\"e2\"", true),
            ("2026-11-20T04:47:00.000Z", "\"e1\"", false),
        ] {
            assert_eq!(is_other_version(listed, read), is_other, "{listed} {read}");
        }
    }
}
