//! Actions of the page's buttons. A form redirects back to the page; the script may ask for the lines of a check instead.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{HeaderMap, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tracing::info;

use super::check::CheckView;
use crate::agent::model::CheckStep;
use crate::api::ndjson::is_accepted;
use crate::error::{Error, Kind, Result};

/// `POST /locations/{loc}/check`
pub(super) async fn check(
    State(state): State<super::State>,
    Path(loc): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !is_accepted(&headers) {
        return back(
            &format!("location-{loc}"),
            state.api.agent.check(&loc, None).await.map(drop),
        );
    }
    match state.api.agent.location(&loc) {
        Ok(_) => lines(&state, loc, headers).into_response(),
        Err(error) => refused(&error),
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
    back("uploads", cancelled)
}

/// Redirects to a part of the page. Relative, like all links on the page.
fn back(part: &str, done: Result<()>) -> Response {
    let place = HeaderValue::from_str(&format!("../../#{part}"));
    match (done, place) {
        (Ok(()), Ok(place)) => (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response(),
        (Ok(()), Err(_)) => StatusCode::NO_CONTENT.into_response(),
        (Err(error), _) => refused(&error),
    }
}

fn refused(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.kind().facts().status)
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, format!("{error}\n")).into_response()
}
