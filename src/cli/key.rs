//! `key`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;

use super::output::{Output, lines};
use super::password::PasswordArgs;
use super::{CommandError, THIS_MACHINE};
use crate::agent::Agent;
use crate::agent::model::{Failure, KeyCheck};
use crate::agent::opened::cannot_open;
use crate::agent::opened::key::{check_head, check_key};
use crate::archive::securetar::HEAD_BYTES;
use crate::archive::{self, Archive};
use crate::config::Secret;

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// ID of a location, or `-` for a file on this machine
    #[arg(value_name = "LOC")]
    location: String,
    /// ID of the backup, as shown by `list`; after `-`, the path of an archive (.tar) [default: all]
    #[arg(required_if_eq("location", "-"))]
    backup_id: Option<String>,
    #[command(flatten)]
    password: PasswordArgs,
}

impl KeyArgs {
    pub(super) fn location(&self) -> &str {
        &self.location
    }
}

/// Checks whether a key opens backups; a wrong one for one of them does not hide the others.
pub(super) async fn key(agent: &Agent, args: &KeyArgs, output: Output) -> Result<(), CommandError> {
    let KeyArgs {
        location,
        backup_id,
        password,
    } = args;
    let ids = match backup_id {
        Some(id) => vec![id.clone()],
        None => ids_of(agent, location).await?,
    };
    let password = Secret::new(password.read().await?.secret.expose_secret());
    let (mut wrong, mut failed) = (0, None);
    for id in &ids {
        let checked = if location == THIS_MACHINE {
            check_file(id, password.clone())
        } else {
            let check = |location, entry| check_key(location, entry, password.clone());
            agent.open(location, id, check).await.map_err(Into::into)
        };
        match checked {
            Ok(result) => {
                wrong += u32::from(result == KeyCheck::Wrong);
                let line = format!("{id}: {}", words(result));
                let value = json!({"location": location, "backup_id": id, "result": result});
                output.result(&line, &value)?;
            }
            Err(CommandError::Agent(error)) if ids.len() > 1 => {
                let failure = Failure::from(&error);
                let line = format!("{id}: {}", lines(&failure));
                let value = json!({"location": location, "backup_id": id, "error": failure});
                output.result(&line, &value)?;
                failed = failed.or(Some(CommandError::Agent(error)));
            }
            Err(error) => return Err(error),
        }
    }
    end(wrong, failed)
}

/// The result of all checks, whose errors were printed.
fn end(wrong: u32, failed: Option<CommandError>) -> Result<(), CommandError> {
    match failed.map(|error| error.code()) {
        None if wrong == 0 => Ok(()),
        Some(4) if wrong == 0 => Err(CommandError::ReportedAway),
        Some(5) if wrong == 0 => Err(CommandError::ReportedDamaged),
        _ => Err(CommandError::Reported),
    }
}

async fn ids_of(agent: &Agent, location: &str) -> Result<Vec<String>, CommandError> {
    let view = agent.list(location, false).await?;
    if let Some(error) = view.error {
        return Err(error.into());
    }
    let entries = &view.listing.entries;
    Ok(entries
        .iter()
        .map(|entry| entry.metadata.backup_id.clone())
        .collect())
}

const fn words(result: KeyCheck) -> &'static str {
    match result {
        KeyCheck::Opens => "the key opens it",
        KeyCheck::Wrong => "the key does not open it",
        KeyCheck::NotEncrypted => "not encrypted, needs no key",
    }
}

fn check_file(path: &str, password: Secret) -> Result<KeyCheck, CommandError> {
    let unreadable = |error: &io::Error| -> CommandError {
        io::Error::new(
            error.kind(),
            format!("\"{path}\" could not be read: {error}"),
        )
        .into()
    };
    let damaged = |error: archive::Error| -> CommandError {
        match error {
            archive::Error::Io(error) => unreadable(&error),
            error => cannot_open(path, &error.to_string(), error.root()).into(),
        }
    };
    let open = || File::open(path).map_err(|error| unreadable(&error));
    let is_enough = |found: &[Archive]| found.iter().any(Archive::may_be_locked);
    let found = archive::read_archives(open()?, is_enough).map_err(damaged)?;
    let Some(first) = found.locked().map_err(damaged)? else {
        return Ok(KeyCheck::NotEncrypted);
    };
    let mut file = open()?;
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(first.start))
        .and_then(|_| {
            file.take(first.size.min(HEAD_BYTES as u64))
                .read_to_end(&mut head)
        })
        .map_err(|error| unreadable(&error))?;
    check_head(&head, password)
        .map_err(|error| damaged(archive::Error::from(error).within(&first.name)))
}
