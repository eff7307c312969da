//! Tars outside the folder, anywhere in the bucket: the storage copies them into the folder, and the original stays.

use std::sync::Arc;

use super::Described;
use super::refusal::Refusal;
use crate::agent::copy::InsideLimits;
use crate::agent::location::Location;
use crate::agent::upload::{Announcement, Inside, Uploader};
use crate::agent::uploads::Uploads;
use crate::backup::AgentBackup;
use crate::error::{Error, Kind, Result};
use crate::store::{Key, Object, Patience, Role};

/// Finds a tar by its key.
///
/// # Errors
/// A refusal if there is none, or it is in the folder and no orphan.
pub(super) async fn find(location: &Location, key: &str) -> Result<Object, Refusal> {
    let key = Key::new(key);
    let missing = || {
        let storage = location.store.description();
        let detail = format!("There is no archive \"{key}\" in {storage}.");
        Refusal::Error(Error::new(Kind::BackupNotFound, detail))
    };
    if key.role() != Role::Tar || location.folder.holds(&key) {
        return Err(missing());
    }
    let found = location
        .store
        .object_if_any(&key, Patience::INTERACTIVE)
        .await;
    let found = location.note(found.map_err(Error::from))?;
    found.ok_or_else(missing)
}

/// Copies a tar into the folder, and describes it there, in the order of an upload.
///
/// # Errors
/// Those of a copy; nothing is kept then.
pub(super) async fn take_over(
    location: &Arc<Location>,
    uploads: &Uploads,
    tar: &Object,
    described: Described,
) -> Result<AgentBackup, Refusal> {
    let Described { backup, inventory } = described;
    let source = location
        .store
        .copy_source(tar)
        .filter(|_| location.store.can_copy_inside_to(&location.store));
    let source = source.ok_or_else(|| {
        let detail = format!("\"{}\" cannot be copied inside the storage.", tar.key);
        let hint = "Download the archive with another tool, then add it with `upload`.";
        Error::new(Kind::StorageError, detail).with_hint(hint)
    })?;
    let limits = InsideLimits::default();
    let name = tar.key.as_str().rsplit('/').next().unwrap_or_default();
    let announced = Announcement {
        backup: backup.clone(),
        filename: name.to_owned(),
        uploader: Uploader::Copy,
        part_size: Some(limits.part_size),
    };
    let upload = uploads.begin(Arc::clone(location), announced).await?;
    let inside = Inside {
        source,
        size: tar.size,
        sha256: None,
        crc32: None,
        inventory,
        single_limit: limits.single,
    };
    upload.copy_inside(inside).await?;
    Ok(backup)
}
