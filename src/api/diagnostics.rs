//! `diagnostics`: the facts for a bug report, without secrets.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::Utc;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Problem;
use super::home_assistant::HomeAssistantReport;
use super::info::Info;
use crate::agent::diagnostics::Diagnostics;
use crate::config::Written;
use crate::error::{Error, Kind};
use crate::logging::Level;
use crate::logging::record::Record;
use crate::logging::scrub::{scrub_json, scrub_with};
use crate::system::System;
use crate::units::rfc3339;

/// The state of the agent.
#[derive(Serialize, ToSchema)]
#[schema(as = Diagnostics)]
pub(crate) struct Report<'s> {
    /// RFC 3339 in UTC.
    #[schema(format = DateTime, pattern = "Z$")]
    generated_at: String,
    info: Info,
    #[schema(minimum = 0)]
    uptime_seconds: i64,
    system: System,
    /// The configuration as written; values that may be secret are `***`.
    configuration: &'s [Written],
    home_assistant: HomeAssistantReport,
    #[serde(flatten)]
    agent: Diagnostics,
    log: DiagnosticsLog,
}

#[derive(Serialize, ToSchema)]
struct DiagnosticsLog {
    level: Level,
    /// The level that open streams raise it to.
    effective_level: Level,
    /// The last records of level info and above.
    #[schema(max_items = 200)]
    records: Vec<Record>,
}

/// Facts for a bug report
///
/// Holds no secret, but names of buckets, endpoints and objects.
#[utoipa::path(
    get, path = "/v1/diagnostics", operation_id = "getDiagnostics", tag = "agent",
    responses((status = 200, description = "The state of the agent.", body = Report<'_>)),
)]
pub(crate) async fn diagnostics(State(state): State<super::State>) -> Result<Json<Value>, Problem> {
    let now = Utc::now();
    let (level, effective_level) = state.log.level.get();
    let records = state.log.relay.last().into_iter();
    let report = Report {
        generated_at: rfc3339(now),
        info: Info::of(&state),
        uptime_seconds: (now - state.started_at).num_seconds(),
        system: System::now(),
        configuration: &state.configuration,
        home_assistant: state.home_assistant.report(),
        agent: state.agent.diagnostics().await,
        log: DiagnosticsLog {
            level,
            effective_level,
            records: records.map(Arc::unwrap_or_clone).collect(),
        },
    };
    let mut report = serde_json::to_value(report)
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    // Defence in depth: a name or an address may hold a secret that was pasted into the wrong field.
    for (part, value) in report.as_object_mut().into_iter().flatten() {
        match part.as_str() {
            // The agent's own name and versions; its problems are scrubbed already.
            "info" => {}
            "configuration" => scrub_configuration(value),
            _ => scrub_json(value),
        }
    }
    Ok(Json(report))
}

/// Scrubs what the user wrote; the names of the settings stay.
fn scrub_configuration(configuration: &mut Value) {
    for setting in configuration.as_array_mut().into_iter().flatten() {
        if let Some(Value::String(value)) = setting.get_mut("value") {
            scrub_with(value, "");
        }
    }
}
