//! `verify`: streams progress, then the result or an error.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::body::read_json;
use super::openapi::{Problems, StorageProblems};
use super::problem::ProblemBody;
use super::{BackupPath, Problem, ndjson};
use crate::agent::model::{VerifyMode, VerifyStep};
use crate::agent::shutting_down;
use crate::agent::verify::Verification;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
    mode: VerifyMode,
}

/// One line of a verification. The last one is a result or an error.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum VerifyLine {
    Step(VerifyStep),
    Error(ProblemBody),
}

/// Verify a backup
///
/// `quick` makes a few small requests; `full` reads the whole tar and reports progress about once a second. The last line is
/// the result or an error. Closing the connection cancels the verification.
#[utoipa::path(
    post, path = "/v1/locations/{loc}/backups/{backup_id}/verify", operation_id = "verifyBackup", tag = "backups",
    params(BackupPath),
    request_body = VerifyRequest,
    responses(
        (status = 200, description = "Lines, the last of them a result or an error.",
         body = VerifyLine, content_type = "application/x-ndjson"),
        Problems<400>, Problems<404>, StorageProblems,
    ),
)]
pub(super) async fn verify(
    State(state): State<super::State>,
    Path(BackupPath { loc, backup_id }): Path<BackupPath>,
    body: Body,
) -> Result<Response, Problem> {
    let VerifyRequest { mode } = read_json(body).await?;
    let verification = state.agent.verify(&loc, &backup_id, mode).await?;
    // A client that disconnects drops the stream, which cancels the verification.
    let lines = stream::unfold(Some((verification, state.draining)), |running| async {
        let (mut verification, draining) = running?;
        let (line, is_last) = next(&mut verification, &draining).await?;
        Some((line, (!is_last).then_some((verification, draining))))
    });
    Ok(ndjson::response(lines))
}

/// Returns the next line, and whether it is the last one.
async fn next(
    verification: &mut Verification,
    draining: &CancellationToken,
) -> Option<(serde_json::Result<Bytes>, bool)> {
    let step = tokio::select! {
        () = draining.cancelled() => Err(shutting_down()),
        step = verification.next() => step?,
    };
    let is_last = !matches!(step, Ok(VerifyStep::Progress { .. }));
    let line = step.map_or_else(
        |error| VerifyLine::Error(Problem::from(error).into_line()),
        VerifyLine::Step,
    );
    Some((ndjson::line(&line), is_last))
}
