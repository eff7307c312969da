//! The HTTP API: JSON on top of the agent. `docs/development/protocol.md` describes the calls, [`openapi`] derives their document.

mod access;
mod backups;
mod body;
mod diagnostics;
mod events;
mod health;
mod home_assistant;
mod info;
mod key;
mod listing;
mod locations;
mod log;
mod metrics;
pub(crate) mod ndjson;
mod openapi;
mod problem;
mod providers;
pub(crate) mod range;
mod recover;
mod request_log;
mod settings;
mod uploads;
mod verify;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use backups::content;
pub(crate) use diagnostics::diagnostics;
pub(crate) use events::watch as events;
pub use home_assistant::HomeAssistant;
pub(crate) use home_assistant::Schedule;
pub(crate) use info::PROTOCOL;
use problem::Problem;

use crate::agent::Agent;
use crate::config::{self, Written};
use crate::error::{Error, Kind};
use crate::logging::LogHandle;
use crate::server::auth::Gate;

/// State that the calls share.
#[derive(Debug, Clone)]
pub struct State {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Id of the agent, which lasts over restarts.
    pub agent_id: String,
    /// Log level and log records.
    pub log: LogHandle,
    /// The configuration as written, without secrets.
    pub configuration: Arc<[Written]>,
    /// Invalid parts of the configuration, which are ignored.
    pub problems: Arc<[config::Problem]>,
    /// Decides which requests are served.
    pub gate: Arc<Gate>,
    /// What is known about Home Assistant.
    pub home_assistant: Arc<HomeAssistant>,
    /// Start of the agent.
    pub started_at: DateTime<Utc>,
    /// Cancelled when the agent shuts down; ends endless streams.
    pub draining: CancellationToken,
}

#[derive(Deserialize, IntoParams)]
struct LocationPath {
    /// Id of a location.
    loc: String,
}

#[derive(Deserialize, IntoParams)]
pub(crate) struct BackupPath {
    /// Id of a location.
    pub(crate) loc: String,
    /// Home Assistant's id of a backup.
    pub(crate) backup_id: String,
}

#[derive(Deserialize, IntoParams)]
struct UploadPath {
    /// Id of an upload, as answered when it was created.
    upload_id: String,
}

/// Routes that need no token.
fn open() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(health::health))
}

/// All other routes.
fn guarded() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(info::info))
        .routes(routes!(openapi::openapi))
        .routes(routes!(log::put))
        .routes(routes!(events::stream))
        .routes(routes!(home_assistant::put))
        .routes(routes!(diagnostics::diagnostics))
        .routes(routes!(metrics::metrics))
        .routes(routes!(providers::list))
        .routes(routes!(settings::list))
        .routes(routes!(locations::list))
        .routes(routes!(locations::check_settings))
        .routes(routes!(locations::one, locations::put, locations::remove))
        .routes(routes!(locations::check))
        .routes(routes!(listing::list))
        .routes(routes!(backups::one, backups::delete))
        .routes(routes!(backups::content))
        .routes(routes!(verify::verify))
        .routes(routes!(key::check))
        .routes(routes!(recover::recover))
        .routes(routes!(uploads::create))
        .routes(routes!(uploads::list))
        .routes(routes!(uploads::content))
        .routes(routes!(uploads::complete))
        .routes(routes!(uploads::cancel))
}

/// Describes all routes.
fn described() -> OpenApi {
    open().merge(guarded()).into_openapi()
}

/// Returns the router of all calls.
pub fn router(state: State) -> Router {
    let (open, _) = open().split_for_parts();
    let (guarded, _) = guarded().split_for_parts();
    let open = open.method_not_allowed_fallback(unknown);
    let guarded = guarded
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(from_fn_with_state(state.clone(), access::guard));
    open.merge(guarded)
        .layer(map_response(problem::from_refusal))
        .layer(from_fn(request_log::log))
        .with_state(state)
}

async fn unknown(method: Method, uri: Uri) -> Problem {
    Error::new(
        Kind::NotFound,
        format!("The protocol has no {method} {}.", uri.path()),
    )
    .into()
}
