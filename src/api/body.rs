//! JSON bodies of requests.

use std::fmt::Display;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::error::{Error, Kind};

/// Size limit; a backup with hundreds of add-ons has some hundred KiB.
const MAX_BYTES: usize = 1024 * 1024;

/// Timeout for the whole body.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a JSON body.
///
/// # Errors
/// [`Kind::InvalidRequest`] when it is too large, too slow, or not the expected JSON.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, Error> {
    let bytes = read(body).await?;
    serde_json::from_slice(&bytes).map_err(refused)
}

/// Reads a JSON body whose content no message repeats: it must be what `expected` says.
///
/// # Errors
/// As [`read_json`].
pub(super) async fn read_secret_json<T: DeserializeOwned>(
    body: Body,
    expected: &str,
) -> Result<T, Error> {
    let bytes = read(body).await?;
    serde_json::from_slice(&bytes).map_err(|_| refused(format!("it must be {expected}")))
}

async fn read(body: Body) -> Result<Bytes, Error> {
    let bytes = timeout(TIMEOUT, to_bytes(body, MAX_BYTES))
        .await
        .map_err(|_| refused(format!("it did not arrive within {} s", TIMEOUT.as_secs())))?
        .map_err(refused)?;
    Ok(bytes)
}

fn refused(why: impl Display) -> Error {
    Error::new(
        Kind::InvalidRequest,
        format!("The body cannot be read: {why}."),
    )
}
