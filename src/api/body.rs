//! JSON bodies of requests.

use std::time::Duration;

use axum::body::{Body, to_bytes};
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
    let refused = |why: String| {
        Error::new(
            Kind::InvalidRequest,
            format!("The body cannot be read: {why}."),
        )
    };
    let bytes = timeout(TIMEOUT, to_bytes(body, MAX_BYTES))
        .await
        .map_err(|_| refused(format!("it did not arrive within {} s", TIMEOUT.as_secs())))?
        .map_err(|error| refused(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))
}
