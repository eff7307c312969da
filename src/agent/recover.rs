//! Adopts tars that have no metadata: what they are is read from inside, and the metadata that makes them backups is
//! written. A tar is never changed and never deleted.

mod adopt;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::listing::Listing;
use super::location::Location;
use super::look::look_into;
use super::model::{FailedRecovery, Recovered, Recovery};
use super::{Agent, shutting_down, stopped};
use crate::backup::AgentBackup;
use crate::error::{Error, Kind, Result};
use crate::store::Object;

/// Tars that are looked into at the same time.
const LOOKS_IN_FLIGHT: usize = 4;

/// Why one tar is not adopted.
#[derive(Debug)]
enum Refusal {
    /// The backup is listed already.
    Duplicate(String),
    /// It may be of an upload that has not ended.
    UnderWay(String),
    /// There is metadata beside it.
    HasMetadata(String),
    Error(Error),
}

impl Refusal {
    fn of(self, key: &str) -> FailedRecovery {
        let (code, detail) = match self {
            Self::Duplicate(detail) => ("duplicate", detail),
            Self::UnderWay(detail) => ("under_way", detail),
            Self::HasMetadata(detail) => ("has_metadata", detail),
            Self::Error(error) => (error.kind().code(), error.to_string()),
        };
        FailedRecovery {
            key: key.to_owned(),
            code,
            detail,
        }
    }

    fn under_way(key: &str) -> Self {
        Self::UnderWay(format!(
            "\"{key}\" may be of an upload that has not ended: one is under way here, or the tar is younger than an hour."
        ))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Agent {
    /// Adopts tars without metadata: the named ones, or all that nobody is at. With `dry_run` nothing is written.
    ///
    /// # Errors
    /// [`Kind::ShuttingDown`], and what a listing can come to. What is wrong with one tar is in the answer.
    pub async fn recover(
        self: &Arc<Self>,
        location: &str,
        keys: Option<Vec<String>>,
        dry_run: bool,
    ) -> Result<Recovery> {
        self.refuse_when_stopping()?;
        let (agent, location) = (Arc::clone(self), self.location(location)?);
        // Runs on when the client goes away, so that no tar is half adopted.
        let recovering = self
            .tasks
            .spawn(async move { agent.recover_at(&location, keys, dry_run).await });
        recovering.await.map_err(stopped)?
    }

    async fn recover_at(
        &self,
        location: &Arc<Location>,
        keys: Option<Vec<String>>,
        dry_run: bool,
    ) -> Result<Recovery> {
        let _alone = location.folder.recovering.lock().await;
        let listing = location.note(location.listings.taken().await)?;
        let (candidates, failed) = candidates(location, &listing, keys);
        let (mut recovery, mut adopted) = (
            Recovery {
                recovered: Vec::new(),
                failed,
            },
            HashSet::new(),
        );
        let looks = candidates.into_iter().map(|tar| async move {
            let described = self.describe(location, &tar).await;
            (tar, described)
        });
        let mut looks = stream::iter(looks).buffered(LOOKS_IN_FLIGHT);
        while let Some((tar, described)) = looks.next().await {
            let settled = match described {
                Ok(backup)
                    if listing.find(&backup.backup_id).is_some()
                        || adopted.contains(&backup.backup_id) =>
                {
                    Err(duplicate(&backup, location))
                }
                Ok(backup) if !self.uploads_at(location, &backup.backup_id).0.is_empty() => {
                    Err(Refusal::UnderWay(format!(
                        "The backup \"{}\" is being uploaded.",
                        backup.backup_id
                    )))
                }
                Ok(backup) if dry_run => Ok(backup),
                Ok(backup) => adopt::adopt(location, &tar, backup).await,
                Err(refusal) => Err(refusal),
            };
            match settled {
                Ok(backup) => {
                    adopted.insert(backup.backup_id.clone());
                    let (key, size_bytes) = (tar.key.to_string(), tar.size);
                    recovery.recovered.push(Recovered {
                        key,
                        backup_id: backup.backup_id,
                        name: backup.name,
                        size_bytes,
                    });
                }
                Err(refusal) => recovery.failed.push(refusal.of(tar.key.as_str())),
            }
        }
        Ok(recovery)
    }

    /// What a tar says of itself, as Home Assistant's manager would know it.
    async fn describe(&self, location: &Location, tar: &Object) -> Result<AgentBackup, Refusal> {
        if self.stopping.is_cancelled() {
            return Err(shutting_down().into());
        }
        let look = look_into(location, &tar.key, tar.size).await?;
        let backup = look
            .found
            .and_then(|manifest| manifest.into_agent_backup(tar.size))
            .map_err(|error| {
                Error::new(
                    Kind::InvalidMetadata,
                    format!("\"{}\" cannot be adopted: {error}.", tar.key),
                )
            })?;
        adopt::refuse_strange(&backup, tar)?;
        Ok(backup)
    }
}

fn duplicate(backup: &AgentBackup, location: &Location) -> Refusal {
    Refusal::Duplicate(format!(
        "The backup \"{}\" is in {} already.",
        backup.backup_id,
        location.store.place()
    ))
}

/// The tars to look at, the newest first, and what was asked for and is none of them.
fn candidates(
    location: &Location,
    listing: &Listing,
    keys: Option<Vec<String>>,
) -> (Vec<Object>, Vec<FailedRecovery>) {
    let (mut candidates, mut failed) = (Vec::new(), Vec::new());
    match keys {
        None => candidates.extend(
            listing
                .orphans
                .iter()
                .filter(|tar| location.folder.is_orphan(tar))
                .cloned(),
        ),
        Some(keys) => {
            let mut seen = HashSet::new();
            for key in keys.into_iter().filter(|key| seen.insert(key.clone())) {
                match named(location, listing, &key) {
                    Ok(tar) => candidates.push(tar),
                    Err(refusal) => failed.push(refusal.of(&key)),
                }
            }
        }
    }
    candidates.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.key.cmp(&b.key)));
    (candidates, failed)
}

fn named(location: &Location, listing: &Listing, key: &str) -> Result<Object, Refusal> {
    if let Some(tar) = listing.orphans.iter().find(|tar| tar.key.as_str() == key) {
        return if location.folder.is_orphan(tar) {
            Ok(tar.clone())
        } else {
            Err(Refusal::under_way(key))
        };
    }
    if listing
        .entries
        .iter()
        .any(|entry| entry.tar.key.as_str() == key)
    {
        return Err(Refusal::HasMetadata(format!(
            "\"{key}\" is a listed backup."
        )));
    }
    if let Some(metadata) = listing.metadata_of(key) {
        return Err(Refusal::HasMetadata(format!(
            "\"{key}\" has metadata, \"{metadata}\", which cannot be used: remove that object first."
        )));
    }
    let detail = format!(
        "There is no tar \"{key}\" in {}, or it is in another folder.",
        location.store.place()
    );
    Err(Error::new(Kind::BackupNotFound, detail).into())
}
