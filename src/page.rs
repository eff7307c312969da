//! The ingress page, on a listener of its own: server-rendered HTML and one small script that keeps it current.
//!
//! All links are relative, because Supervisor's ingress serves the page below a path that only Supervisor knows. Actions
//! are forms, so they work without the script.

mod access;
mod actions;
mod assets;
mod check;
mod escape;
mod headers;
mod human;
mod location;
mod origin;
mod overview;
mod words;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{get, post};

use crate::api::{self, diagnostics, events};
use access::Door;
use words::Languages;

/// Who may use the page without the token.
#[derive(Debug)]
pub struct Guests {
    /// Their addresses.
    pub from: Vec<IpAddr>,
    /// They are all Supervisor, which no browser can be made to speak for, and which keeps the name that people reach
    /// Home Assistant by.
    pub are_supervisor: bool,
}

/// What the requests share.
#[derive(Debug, Clone)]
struct State {
    api: api::State,
    door: Arc<Door>,
    languages: Arc<Languages>,
}

impl FromRef<State> for api::State {
    fn from_ref(state: &State) -> Self {
        state.api.clone()
    }
}

/// Returns the page's router, the only table of its routes.
///
/// # Errors
/// When the words of a language cannot be read, which a test makes sure of.
pub fn router(state: api::State, guests: Guests) -> serde_json::Result<Router> {
    let door = Door::new(guests, state.token.clone());
    let state = State {
        api: state,
        door: door.into(),
        languages: Languages::read()?.into(),
    };
    let parts = Router::new()
        .route("/page.css", get(assets::style))
        .route("/page.js", get(assets::script))
        .route("/icon.svg", get(assets::icon))
        .route("/events", get(events).layer(map_response(headers::stream)))
        .route("/diagnostics", get(diagnostics))
        .route(
            "/locations/{loc}/check",
            post(actions::check).layer(map_response(headers::stream)),
        )
        .route("/uploads/{upload_id}/cancel", post(actions::cancel))
        .layer(from_fn(origin::guard));
    let page = Router::new().route("/", get(overview::page)).merge(parts);
    let guarded = page.layer(from_fn_with_state(state.clone(), access::guard));
    Ok(guarded
        .layer(map_response(headers::secure))
        .with_state(state))
}
