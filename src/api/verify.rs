//! `POST /v1/locations/{loc}/backups/{backup_id}/verify`: progress a line, then the result, or the error.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::uploads::read_json;
use super::{Problem, ndjson};
use crate::agent::model::{VerifyMode, VerifyStep};
use crate::agent::shutting_down;
use crate::agent::verify::Verification;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    mode: VerifyMode,
}

/// `POST /v1/locations/{loc}/backups/{backup_id}/verify`
pub(super) async fn verify(
    State(state): State<super::State>,
    Path((loc, backup_id)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let Verify { mode } = read_json(body).await?;
    let verification = state.agent.verify(&loc, &backup_id, mode).await?;
    // A client that goes away drops the stream, and with it the work.
    let lines = stream::unfold(Some((verification, state.draining)), |under_way| async {
        let (mut verification, draining) = under_way?;
        let (text, is_last) = next(&mut verification, &draining).await?;
        Some((text, (!is_last).then_some((verification, draining))))
    });
    Ok(ndjson::response(lines))
}

/// The next line, and whether it is the last one.
async fn next(
    verification: &mut Verification,
    draining: &CancellationToken,
) -> Option<(serde_json::Result<Bytes>, bool)> {
    let step = tokio::select! {
        () = draining.cancelled() => Err(shutting_down()),
        step = verification.next() => step?,
    };
    Some(match step {
        Ok(step) => (ndjson::line(&step), matches!(step, VerifyStep::Result(_))),
        Err(error) => (ndjson::line(&Problem::from(error).into_line()), true),
    })
}
