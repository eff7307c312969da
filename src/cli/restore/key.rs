//! The encryption key of the backup, checked before the long upload.

use secrecy::{ExposeSecret, SecretString};

use super::RestoreArgs;
use crate::agent::Agent;
use crate::agent::catalog::Entry;
use crate::agent::model::KeyCheck;
use crate::agent::opened::key::check_key;
use crate::cli::CommandError;
use crate::cli::password::Password;
use crate::config::Secret;
use crate::error::Kind;
use crate::home_assistant::Failure;

/// How often a wrong key may be typed.
const MAX_ATTEMPTS: usize = 3;

/// Reads the key, or asks for it until one opens the backup.
///
/// # Errors
/// [`Failure::WrongKey`], and errors of the storage.
pub(super) async fn key_for(
    agent: &Agent,
    args: &RestoreArgs,
    entry: &Entry,
) -> Result<SecretString, CommandError> {
    let mut password = args.password.read().await?;
    let mut attempts = 1;
    while !opens(agent, args, entry, &password.secret).await? {
        if !password.is_typed || attempts == MAX_ATTEMPTS {
            return Err(Failure::WrongKey.into());
        }
        attempts += 1;
        password = Password::ask(&format!("{} Another key:", Failure::WrongKey)).await?;
    }
    Ok(password.secret)
}

/// Whether a key opens the backup, as far as the agent can tell: Home Assistant checks it again.
async fn opens(
    agent: &Agent,
    args: &RestoreArgs,
    entry: &Entry,
    key: &SecretString,
) -> Result<bool, CommandError> {
    let location = agent.location(&args.location)?;
    match check_key(location, entry.clone(), Secret::new(key.expose_secret())).await {
        Ok(result) => Ok(result != KeyCheck::Wrong),
        // Its archives have a form that only a later version opens.
        Err(error) if error.kind() == Kind::InvalidMetadata => Ok(true),
        Err(error) => Err(error.into()),
    }
}
