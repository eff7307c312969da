//! The ingress page, on a listener of its own: server-rendered HTML and one small script that keeps it current.
//!
//! All links are relative, because Supervisor's ingress serves the page below a path that only Supervisor knows. Actions
//! are forms, so they work without the script.

mod access;
mod actions;
mod assets;
mod backups;
mod check;
mod escape;
mod guide;
mod headers;
mod human;
mod location;
mod origin;
mod overview;
mod sentence;
mod summary;
mod upload;
mod verifying;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{get, post};

use crate::api::{self, diagnostics, events};
use verifying::Verifying;
use words::Languages;

/// State that the requests share.
#[derive(Debug, Clone)]
struct State {
    api: api::State,
    languages: Arc<Languages>,
    verifying: Verifying,
}

impl FromRef<State> for api::State {
    fn from_ref(state: &State) -> Self {
        state.api.clone()
    }
}

/// Returns the page's router, the only table of its routes.
///
/// # Errors
/// When the words of a language cannot be parsed, which a test rules out.
pub fn router(state: api::State) -> serde_json::Result<Router> {
    let state = State {
        api: state,
        languages: Languages::read()?.into(),
        verifying: Verifying::default(),
    };
    let backup = Router::new()
        .route("/content", get(actions::download))
        .route("/delete", post(actions::delete))
        .layer(from_fn_with_state(state.clone(), access::administrator))
        .route("/verify", post(actions::verify))
        .route("/stop", post(actions::stop));
    let parts = Router::new()
        .route("/page.css", get(assets::style))
        .route("/page.js", get(assets::script))
        .route("/icon.svg", get(assets::icon))
        .route("/hints.json", get(actions::hints))
        .route("/events", get(events).layer(map_response(headers::stream)))
        .route("/diagnostics", get(diagnostics))
        .route(
            "/locations/{loc}/check",
            post(actions::check).layer(map_response(headers::stream)),
        )
        .route("/uploads/{upload_id}/cancel", post(actions::cancel))
        .nest("/locations/{loc}/backups/{backup_id}", backup)
        .layer(from_fn(origin::guard));
    let page = Router::new().route("/", get(overview::page)).merge(parts);
    let guarded = page.layer(from_fn_with_state(state.clone(), access::guard));
    Ok(guarded
        .layer(map_response(headers::secure))
        .with_state(state))
}
