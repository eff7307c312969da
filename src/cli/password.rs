//! The encryption key of a backup: from a file, the environment or the user, and never from an argument, which others on
//! this machine can see.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
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
            None => match env::var(VARIABLE).ok().filter(|key| !key.is_empty()) {
                Some(key) => Some(usable(&key, VARIABLE)?),
                None => None,
            },
        };
        if let Some(secret) = given {
            let is_typed = false;
            return Ok(Password { secret, is_typed });
        }
        Password::ask("Encryption key of this backup:").await
    }
}

impl Password {
    /// Asks for a key.
    pub(super) async fn ask(question: &str) -> Result<Self, CommandError> {
        match ask_secretly(question).await {
            Ok(secret) if !secret.expose_secret().is_empty() => {
                let is_typed = true;
                Ok(Self { secret, is_typed })
            }
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                let why = format!(
                    "The backup is encrypted, and there is no terminal to ask for its key ({error}): name a file with \
                     --password-file, or set {VARIABLE}."
                );
                Err(io::Error::new(error.kind(), why).into())
            }
            // Enter alone, or Ctrl-D.
            Ok(_) | Err(_) => Err(CommandError::Locked("No key was typed.".to_owned())),
        }
    }
}

async fn read_file(file: &Path) -> Result<SecretString, CommandError> {
    let source = format!("\"{}\"", file.display());
    let unreadable = |error: io::Error| unusable(&source, &error.to_string());
    let opened = File::open(file).await.map_err(unreadable)?;
    let mut text = String::new();
    let mut limited = opened.take(MAX_BYTES + 1);
    limited
        .read_to_string(&mut text)
        .await
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        let why = format!("the file has more than {MAX_BYTES} bytes, and should hold only the key");
        return Err(unusable(&source, &why));
    }
    usable(&text, &source)
}

/// The key in a text, which may end with a newline. An emergency kit has more lines.
fn usable(text: &str, source: &str) -> Result<SecretString, CommandError> {
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        return Err(unusable(source, "it is empty"));
    }
    if key.contains(['\r', '\n']) {
        let why = "it has several lines, and should hold only the key";
        return Err(unusable(source, why));
    }
    Ok(key.into())
}

fn unusable(source: &str, why: &str) -> CommandError {
    CommandError::Usage(format!("The key in {source} could not be read: {why}."))
}
