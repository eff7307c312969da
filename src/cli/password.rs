//! The encryption key of a backup: from a file, the environment or the user, and never from an argument, which others on
//! this machine can see.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::CommandError;
use super::terminal::ask_secretly;

/// Variable of the environment with the key.
const VARIABLE: &str = "S3_BACKUP_AGENT_PASSWORD";

/// Limit for a file with a key in bytes; Home Assistant's own keys have 34.
const MAX_BYTES: u64 = 4096;

#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    /// File with the backup's encryption key [default: the variable `S3_BACKUP_AGENT_PASSWORD`, or ask for it]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// An encryption key.
#[derive(Debug)]
pub(super) struct Password {
    pub(super) secret: SecretString,
    /// Whether the user typed it, and may type another one.
    pub(super) is_typed: bool,
}

impl PasswordArgs {
    /// Reads the key, or asks for it.
    pub(super) async fn read(&self) -> Result<Password, CommandError> {
        let given = match &self.password_file {
            Some(file) => Some(read_file(file).await?),
            None => env::var(VARIABLE).ok().filter(|key| !key.is_empty()),
        };
        if let Some(key) = given {
            return Ok(Password {
                secret: key.into(),
                is_typed: false,
            });
        }
        Password::ask("Encryption key of this backup:").await
    }
}

impl Password {
    /// Asks for a key.
    pub(super) async fn ask(question: &str) -> Result<Self, CommandError> {
        let secret = ask_secretly(question).await.map_err(|error| {
            let why = format!(
                "The backup is encrypted, and there is no terminal to ask for its key ({error}): name a file with \
                 --password-file, or set {VARIABLE}."
            );
            io::Error::new(error.kind(), why)
        })?;
        let is_typed = true;
        Ok(Self { secret, is_typed })
    }
}

async fn read_file(file: &Path) -> io::Result<String> {
    let unusable = |why: String| {
        let why = format!(
            "The key in \"{}\" could not be read: {why}.",
            file.display()
        );
        io::Error::new(io::ErrorKind::InvalidInput, why)
    };
    let opened = File::open(file).await;
    let opened = opened.map_err(|error| unusable(error.to_string()))?;
    let mut key = String::new();
    let read = opened.take(MAX_BYTES).read_to_string(&mut key).await;
    read.map_err(|error| unusable(error.to_string()))?;
    let key = key.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        return Err(unusable("the file is empty".to_owned()));
    }
    Ok(key.to_owned())
}
