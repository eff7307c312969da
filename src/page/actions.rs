//! Actions of the page's buttons. A form redirects back to the page; the script may ask for the lines of a check instead.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, HeaderMap, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::info;

use super::check::CheckView;
use super::words::Words;
use crate::agent::model::{CheckStep, VerifyMode};
use crate::api::ndjson::is_accepted;
use crate::api::{self, BackupPath};
use crate::error::{Error, Kind, Result};

/// The list, from an action on a backup.
const TO_BACKUPS: &str = "../../../../#backups";

/// `POST /locations/{loc}/check`
pub(super) async fn check(
    State(state): State<super::State>,
    Path(loc): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !is_accepted(&headers) {
        let checked = state.api.agent.check(&loc, None).await.map(drop);
        let words = state.languages.of(&headers);
        return back(words, &format!("../../#location-{loc}"), checked);
    }
    match state.api.agent.location(&loc) {
        Ok(_) => lines(&state, loc, headers).into_response(),
        Err(error) => refused(state.languages.of(&headers), &error),
    }
}

/// Streams the check after each step and at its end: a JSON string of HTML per line.
fn lines(state: &super::State, loc: String, headers: HeaderMap) -> Body {
    let (watcher, mut told) = mpsc::unbounded_channel::<CheckStep>();
    let agent = state.api.agent.clone();
    let checking = tokio::spawn(async move { agent.check(&loc, Some(watcher)).await });
    let steps = stream::poll_fn(move |context| told.poll_recv(context));
    let running = steps.scan(Vec::new(), |done: &mut Vec<CheckStep>, step| {
        done.push(step);
        std::future::ready(Some(done.clone()))
    });
    let running = stream::once(std::future::ready(Vec::new())).chain(running);
    let languages = state.languages.clone();
    let (asked, at_the_end) = (headers.clone(), languages.clone());
    let running = running.map(move |steps| CheckView::running(languages.of(&asked), &steps).line());
    let ended = stream::once(checking).filter_map(move |ended| {
        let checked = ended.ok().and_then(Result::ok);
        let line =
            checked.map(|checked| CheckView::just_ended(at_the_end.of(&headers), &checked).line());
        std::future::ready(line)
    });
    Body::from_stream(running.chain(ended).map(Ok::<_, Infallible>))
}

/// `POST /uploads/{upload_id}/cancel`
pub(super) async fn cancel(
    State(state): State<super::State>,
    Path(upload_id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let cancelled = match state.api.agent.cancel_upload(&upload_id).await {
        Ok(()) => {
            info!(upload_id, "upload cancelled on the page");
            Ok(())
        }
        // The upload has already ended, which the page shows.
        Err(error) if error.kind() == Kind::UploadNotFound => Ok(()),
        Err(error) => Err(error),
    };
    back(state.languages.of(&headers), "../../#uploads", cancelled)
}

#[derive(Deserialize)]
pub(super) struct VerifyQuery {
    mode: VerifyMode,
}

/// `POST /locations/{loc}/backups/{backup_id}/verify`: starts it; the page shows its progress.
pub(super) async fn verify(
    State(state): State<super::State>,
    Path(BackupPath { loc, backup_id }): Path<BackupPath>,
    Query(VerifyQuery { mode }): Query<VerifyQuery>,
    headers: HeaderMap,
) -> Response {
    let found = state.api.agent.find(&loc, &backup_id).await;
    if let Ok(entry) = &found {
        let agent = Arc::clone(&state.api.agent);
        state.verifying.start(agent, loc, entry, mode);
    }
    back(state.languages.of(&headers), TO_BACKUPS, found.map(drop))
}

/// `POST /locations/{loc}/backups/{backup_id}/stop`: cancels its verification.
pub(super) async fn stop(
    State(state): State<super::State>,
    Path(BackupPath { loc, backup_id }): Path<BackupPath>,
    headers: HeaderMap,
) -> Response {
    state.verifying.stop(&loc, &backup_id);
    back(state.languages.of(&headers), TO_BACKUPS, Ok(()))
}

/// `POST /locations/{loc}/backups/{backup_id}/delete`
pub(super) async fn delete(
    State(state): State<super::State>,
    Path(BackupPath { loc, backup_id }): Path<BackupPath>,
    headers: HeaderMap,
) -> Response {
    let deleted = match state.api.agent.delete(&loc, &backup_id).await {
        Ok(()) => {
            state.verifying.stop(&loc, &backup_id);
            info!(location = loc, backup_id, "backup deleted on the page");
            Ok(())
        }
        // It is gone already, which the page shows.
        Err(error) if error.kind() == Kind::BackupNotFound => Ok(()),
        Err(error) => Err(error),
    };
    back(state.languages.of(&headers), TO_BACKUPS, deleted)
}

/// `GET /locations/{loc}/backups/{backup_id}/content`: the tar as a file with its name in the bucket.
pub(super) async fn download(
    State(state): State<super::State>,
    Path(path): Path<BackupPath>,
    headers: HeaderMap,
) -> Response {
    let entry = match state.api.agent.find(&path.loc, &path.backup_id).await {
        Ok(entry) => entry,
        Err(error) => return refused(state.languages.of(&headers), &error),
    };
    let key = entry.tar.key.as_str();
    let name = key.rsplit('/').next().unwrap_or(key);
    let disposition = format!(
        "attachment; filename*=UTF-8''{}",
        utf8_percent_encode(name, NON_ALPHANUMERIC)
    );
    let content = api::content(State(state.api), Path(path), headers).await;
    let mut response = content.into_response();
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        response
            .headers_mut()
            .insert(CONTENT_DISPOSITION, disposition);
    }
    response
}

/// `GET /hints.json`: what helps, by the codes of errors that the script gets as events.
pub(super) async fn hints(State(state): State<super::State>, headers: HeaderMap) -> Response {
    Json(state.languages.of(&headers).hints()).into_response()
}

/// Redirects to a part of the page. Relative, like all links on the page.
fn back(words: &Words, place: &str, done: Result<()>) -> Response {
    let place = HeaderValue::from_str(place);
    match (done, place) {
        (Ok(()), Ok(place)) => (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response(),
        (Ok(()), Err(_)) => StatusCode::NO_CONTENT.into_response(),
        (Err(error), _) => refused(words, &error),
    }
}

fn refused(words: &Words, error: &Error) -> Response {
    let status = StatusCode::from_u16(error.kind().facts().status)
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, format!("{}\n", words.line(error))).into_response()
}
