//! The token that every call needs, and its file.

use std::fs;
use std::io;
use std::path::Path;

use aws_lc_rs::rand;
use tracing::{info, warn};

use crate::agent::kept::keep;
use crate::config::{Listen, Secret};
use crate::units::hex;

/// Returns the token of the configuration or of its file; creates a missing or empty file.
///
/// When Home Assistant gets the token at each start (`is_handed_over`), an invalid file is replaced, and a token that
/// cannot be saved is used until the agent ends. Otherwise both are errors: no client could learn the new token.
///
/// # Errors
/// When no client could know the token.
pub(super) fn of(listen: &Listen, is_handed_over: bool) -> io::Result<Option<Secret>> {
    if let Some(token) = &listen.token {
        return Ok(Some(token.clone()));
    }
    let Some(path) = &listen.token_file else {
        return Ok(None);
    };
    let file = path.display();
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("The token file \"{file}\" cannot be used: {error}"),
        )
    };
    match read(path) {
        Ok(Some(token)) => return Ok(Some(token)),
        Ok(None) => {}
        Err(error) if is_handed_over => {
            warn!("\"{file}\" holds no token: {error}; creating a new one");
        }
        Err(error) => return Err(named(error)),
    }
    let token = random()?;
    match keep(path, format!("{token}\n").as_bytes()) {
        Ok(()) => info!("created a token in \"{file}\""),
        Err(error) if is_handed_over => {
            warn!("\"{file}\" cannot be written: {error}; the token changes at the next start");
        }
        Err(error) => return Err(named(error)),
    }
    Ok(Some(Secret::new(token)))
}

/// Reads the token; `None` when the file is missing, or empty after a power cut.
fn read(path: &Path) -> io::Result<Option<Secret>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    match text.trim() {
        token if token.len() >= 16 && !token.contains('\0') => Ok(Some(Secret::new(token))),
        token if token.chars().all(|c| c == '\0') => Ok(None),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the token in it is shorter than 16 characters",
        )),
    }
}

/// Returns 256 random bits as hex digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex(bytes))
}
