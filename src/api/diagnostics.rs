//! `GET /v1/diagnostics`: everything that a bug report needs, without secrets.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::Utc;
use serde::Serialize;
use serde_json::Value;

use super::Problem;
use super::admin::{Info, info_of};
use crate::agent::diagnostics::Diagnostics;
use crate::config::Written;
use crate::error::{Error, Kind};
use crate::logging::Level;
use crate::logging::record::Record;
use crate::logging::scrub::scrub_json;
use crate::system::System;
use crate::units::rfc3339;

#[derive(Serialize)]
struct Report<'s> {
    generated_at: String,
    info: Info,
    uptime_seconds: i64,
    system: System,
    configuration: &'s [Written],
    #[serde(flatten)]
    agent: Diagnostics,
    log: Log,
}

#[derive(Serialize)]
struct Log {
    level: Level,
    /// What open streams have made of it.
    effective_level: Level,
    records: Vec<Record>,
}

/// `GET /v1/diagnostics`
pub(crate) async fn diagnostics(State(state): State<super::State>) -> Result<Json<Value>, Problem> {
    let now = Utc::now();
    let (level, effective_level) = state.log.level.get();
    let records = state
        .log
        .relay
        .last()
        .into_iter()
        .map(Arc::unwrap_or_clone)
        .collect();
    let report = Report {
        generated_at: rfc3339(now),
        info: info_of(&state),
        uptime_seconds: (now - state.started_at).num_seconds(),
        system: System::now(),
        configuration: &state.configuration,
        agent: state.agent.diagnostics().await,
        log: Log {
            level,
            effective_level,
            records,
        },
    };
    let mut report = serde_json::to_value(report)
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    // Nothing secret should be in it by now; a name or an address can hold what somebody pasted into the wrong field.
    scrub_json(&mut report);
    Ok(Json(report))
}
