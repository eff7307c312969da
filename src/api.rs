//! HTTP and JSON on top of the agent. `docs/protocol.md` says what each call does.
//!
//! | path | methods | file |
//! |---|---|---|
//! | `/v1/health` | GET | [`admin`] |
//! | `/v1/info` | GET | [`admin`] |
//! | `/v1/openapi.json` | GET | [`admin`] |
//! | `/v1/log` | PUT | [`admin`] |
//! | `/v1/events` | GET | [`events`] |
//! | `/v1/diagnostics` | GET | [`diagnostics`] |
//! | `/metrics` | GET | [`metrics`] |
//! | `/v1/providers` | GET | [`providers`] |
//! | `/v1/settings` | GET | [`settings`] |
//! | `/v1/locations` | GET | [`locations`] |
//! | `/v1/locations/check` | POST | [`locations`] |
//! | `/v1/locations/{loc}` | GET, PUT, DELETE | [`locations`] |
//! | `/v1/locations/{loc}/check` | POST | [`locations`] |
//! | `/v1/locations/{loc}/backups` | GET | [`listing`] |
//! | `/v1/locations/{loc}/backups/{backup_id}` | GET, DELETE | [`backups`] |
//! | `/v1/locations/{loc}/backups/{backup_id}/content` | GET | [`backups`] |
//! | `/v1/locations/{loc}/backups/{backup_id}/verify` | POST | [`verify`] |
//! | `/v1/locations/{loc}/recover` | POST | [`recover`] |
//! | `/v1/locations/{loc}/uploads` | POST | [`uploads`] |
//! | `/v1/uploads` | GET | [`uploads`] |
//! | `/v1/uploads/{upload_id}/content` | PUT | [`uploads`] |
//! | `/v1/uploads/{upload_id}/complete` | POST | [`uploads`] |
//! | `/v1/uploads/{upload_id}` | DELETE | [`uploads`] |

mod access;
mod admin;
mod backups;
mod diagnostics;
mod events;
mod listing;
mod locations;
mod metrics;
pub(crate) mod ndjson;
mod noted;
mod problem;
mod providers;
pub(crate) mod range;
mod recover;
mod settings;
mod uploads;
mod verify;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{get, post, put};
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

pub(crate) use admin::PROTOCOL;
pub(crate) use diagnostics::diagnostics;
pub(crate) use events::stream as events;
use problem::Problem;

use crate::agent::Agent;
use crate::config::{self, Written};
use crate::error::{Error, Kind};
use crate::logging::LogHandle;
use crate::server::auth::Gate;

/// What the calls share.
#[derive(Debug, Clone)]
pub struct State {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Made once, and the same after a restart.
    pub agent_id: String,
    /// The log at run time.
    pub log: LogHandle,
    /// What was configured, without secrets.
    pub configuration: Arc<[Written]>,
    /// What is wrong in the configuration, and was left out.
    pub problems: Arc<[config::Problem]>,
    /// Decides which requests are served.
    pub gate: Arc<Gate>,
    /// When the agent started.
    pub started_at: DateTime<Utc>,
    /// Set when the agent begins to stop: streams without end are over then.
    pub draining: CancellationToken,
}

/// All calls. This is the only table of routes.
pub fn router(state: State) -> Router {
    let open = Router::new()
        .route("/v1/health", get(admin::health))
        .method_not_allowed_fallback(unknown);
    let guarded = Router::new()
        .route("/v1/info", get(admin::info))
        .route("/v1/openapi.json", get(admin::openapi))
        .route("/v1/log", put(admin::set_log_level))
        .route("/v1/events", get(events::stream))
        .route("/v1/diagnostics", get(diagnostics::diagnostics))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/providers", get(providers::list))
        .route("/v1/settings", get(settings::list))
        .route("/v1/locations", get(locations::list))
        .route("/v1/locations/check", post(locations::check_settings))
        .route(
            "/v1/locations/{loc}",
            get(locations::one)
                .put(locations::put)
                .delete(locations::remove),
        )
        .route("/v1/locations/{loc}/check", post(locations::check))
        .route("/v1/locations/{loc}/backups", get(listing::list))
        .route(
            "/v1/locations/{loc}/backups/{backup_id}",
            get(backups::one).delete(backups::delete),
        )
        .route(
            "/v1/locations/{loc}/backups/{backup_id}/content",
            get(backups::content),
        )
        .route(
            "/v1/locations/{loc}/backups/{backup_id}/verify",
            post(verify::verify),
        )
        .route("/v1/locations/{loc}/recover", post(recover::recover))
        .route("/v1/locations/{loc}/uploads", post(uploads::create))
        .route("/v1/uploads", get(uploads::list))
        .route("/v1/uploads/{upload_id}/content", put(uploads::content))
        .route("/v1/uploads/{upload_id}/complete", post(uploads::complete))
        .route(
            "/v1/uploads/{upload_id}",
            axum::routing::delete(uploads::cancel),
        )
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(from_fn_with_state(state.clone(), access::guard));
    open.merge(guarded)
        .layer(map_response(problem::from_refusal))
        .layer(from_fn(noted::note))
        .with_state(state)
}

async fn unknown(method: Method, uri: Uri) -> Problem {
    Error::new(
        Kind::NotFound,
        format!("The protocol has no {method} {}.", uri.path()),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Paths with their methods, from the module's documentation.
    fn documented() -> BTreeSet<String> {
        let rows = include_str!("api.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `"));
        rows.flat_map(|row| {
            let (path, rest) = row.split_once('`').unwrap();
            let methods = rest.trim_start_matches(" | ").split('|').next().unwrap();
            methods
                .split(',')
                .map(move |method| format!("{} {path}", method.trim()))
                .collect::<Vec<_>>()
        })
        .collect()
    }

    #[test]
    fn the_openapi_document_has_every_path() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../docs/openapi.json")).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["get", "put", "post", "delete"]
                .iter()
                .filter(|method| item.get(**method).is_some())
            {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        assert_eq!(described, documented());
    }
}
