//! The page for people, on a listener of its own: HTML made here, and one small script that keeps it current.
//!
//! | path | methods | file |
//! |---|---|---|
//! | `/` | GET | [`overview`] |
//! | `/page.css` | GET | [`assets`] |
//! | `/page.js` | GET | [`assets`] |
//! | `/icon.svg` | GET | [`assets`] |
//! | `/events` | GET | the protocol's own |
//! | `/diagnostics` | GET | the protocol's own |
//! | `/locations/{loc}/check` | POST | [`actions`] |
//! | `/uploads/{upload_id}/cancel` | POST | [`actions`] |
//!
//! All addresses on the page are relative to it: Supervisor's ingress shows it below a path that only it knows. What
//! changes something is a form, which works without the script.

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

/// The page. This is the only table of its routes.
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_in_the_documentation_has_every_route() {
        let source = include_str!("page.rs");
        let mut documented: Vec<_> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `"))
            .map(|row| {
                row.split_once("` | ")
                    .map(|(path, rest)| (path, &rest[..rest.find(' ').unwrap()]))
                    .unwrap()
            })
            .collect();
        let mut routes: Vec<_> = source
            .split(".route(\"")
            .skip(1)
            .filter_map(|rest| rest.split_once("\", "))
            .map(|(path, rest)| {
                (
                    path,
                    if rest.starts_with("get(") {
                        "GET"
                    } else {
                        "POST"
                    },
                )
            })
            .filter(|(path, _)| path.starts_with('/'))
            .collect();
        documented.sort_unstable();
        routes.sort_unstable();
        assert_eq!(documented, routes);
    }
}
