//! Whether a password opens a backup: two small reads, and one derivation of a key.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::damaged;
use crate::agent::catalog::Entry;
use crate::agent::location::Location;
use crate::agent::model::KeyCheck;
use crate::agent::peek::{peek_archives, read};
use crate::archive::securetar::{Content, Error as OpenError, HEAD_BYTES, Password};
use crate::archive::{self, Archive};
use crate::config::Secret;
use crate::error::{Error, Kind, Result};

/// One check at a time: Argon2 takes 16 MiB, and all of a core for a tenth of a second.
static ONE: Semaphore = Semaphore::const_new(1);

/// Checks a password with the first archive of a backup that is not plain: a backup may hold others before it.
///
/// # Errors
/// Those of a ranged read; [`Kind::InvalidMetadata`] when the tar has no archive, or one that cannot be opened.
pub async fn check_key(
    location: Arc<Location>,
    entry: Entry,
    password: Secret,
) -> Result<KeyCheck> {
    let tar = &entry.tar;
    let damaged = |error| damaged(&entry, error);
    let found = peek_archives(&location, &tar.key, tar.size, |found| {
        found.iter().any(Archive::may_be_locked)
    });
    let (found, mut e_tag) = found.await?;
    let found = found.map_err(damaged)?;
    let Some(archive) = found.locked().map_err(damaged)?.cloned() else {
        return Ok(KeyCheck::NotEncrypted);
    };
    let end = archive.start + archive.size.min(HEAD_BYTES as u64);
    let head = read(&location, &tar.key, archive.start..end, &mut e_tag).await?;
    let permit = ONE.acquire().await;
    let checked = spawn_blocking(move || {
        let _permit = permit;
        check_head(&head, password)
    });
    let checked = checked.await.map_err(|error| {
        let detail = format!("The check of the key ended early: {error}");
        Error::new(Kind::Internal, detail)
    })?;
    checked.map_err(|error| damaged(archive::Error::from(error).within(&archive.name)))
}

/// Checks a password with the first bytes of an archive.
///
/// # Errors
/// When they are neither a tar nor SecureTar.
pub fn check_head(head: &[u8], password: Secret) -> Result<KeyCheck, OpenError> {
    let header = match Content::of(head)? {
        Content::Plain => return Ok(KeyCheck::NotEncrypted),
        Content::Encrypted(header) => header,
    };
    match Password::new(password).check(&header, head) {
        Ok(()) => Ok(KeyCheck::Opens),
        Err(OpenError::WrongPassword) => Ok(KeyCheck::Wrong),
        Err(error) => Err(error),
    }
}
