//! The token that every call needs, and the file that it is kept in.

use std::fs;
use std::io;
use std::path::Path;

use aws_lc_rs::rand;
use tracing::{info, warn};

use crate::agent::kept::keep;
use crate::config::{Listen, Secret};
use crate::units::hex;

/// The token from the configuration or its file; a file that is missing or empty is made.
///
/// When it `is_handed_over` at each start, nobody has to know the last one: a file that holds no token is replaced, and a
/// token that cannot be kept does until the agent ends. Otherwise nobody could ever learn it.
///
/// # Errors
/// When there is no token that somebody could know.
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
            warn!("\"{file}\" holds no token: {error}; making another one");
        }
        Err(error) => return Err(named(error)),
    }
    let token = random()?;
    match keep(path, format!("{token}\n").as_bytes()) {
        Ok(()) => info!("made a token in \"{file}\""),
        Err(error) if is_handed_over => {
            warn!(
                "\"{file}\" cannot be written: {error}; the agent has another token after the next start"
            );
        }
        Err(error) => return Err(named(error)),
    }
    Ok(Some(Secret::new(token)))
}

/// The token in a file; none where there is no file, or where a power cut left one without its content.
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

/// 256 bits in hex digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex(bytes))
}
