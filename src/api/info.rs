//! `info`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config;
use crate::error::Placeholders;
use crate::logging::scrub::scrub;
use crate::units::rfc3339;

/// Version of the protocol, the 1 in `/v1/`.
pub(crate) const PROTOCOL: u32 = 1;

const CAPABILITIES: &[&str] = &[
    "upload",
    "download",
    "range",
    "delete",
    "events",
    "log",
    "locations",
    "check",
    "events_log",
    "uploads",
    "verify",
    "recover",
    "diagnostics",
    "metrics",
    "schedule",
    "key",
];

/// The running agent.
#[derive(Serialize, ToSchema)]
pub(super) struct Info {
    #[schema(example = "s3-backup-agent")]
    name: &'static str,
    version: &'static str,
    /// Always 1.
    protocol: u32,
    /// Created once; lasts over restarts and upgrades if the state directory is writable.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    agent_id: String,
    /// New at each start.
    #[schema(min_length = 1)]
    instance_id: String,
    /// RFC 3339 in UTC.
    #[schema(format = DateTime, pattern = "Z$")]
    started_at: String,
    capabilities: &'static [&'static str],
    /// Invalid parts of the agent's configuration, which it ignores. Only under Supervisor: elsewhere an agent with an
    /// invalid configuration does not start.
    problems: Vec<OptionProblem>,
}

/// An invalid option of the agent's configuration.
#[derive(Serialize, ToSchema)]
pub(super) struct OptionProblem {
    #[schema(example = "locations[0].bucket")]
    option: String,
    /// What is wrong, and what to write instead.
    message: String,
    /// A code for what is wrong.
    reason: &'static str,
    /// What it is about, by name, for a sentence in another language.
    #[serde(skip_serializing_if = "Placeholders::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, String>, required = false)]
    placeholders: Placeholders,
    /// What the agent does about it: `default`, `missing` for a location that it leaves out, or none.
    effect: Option<&'static str>,
}

impl OptionProblem {
    /// Scrubs the message: it may quote a secret that was pasted into the wrong field.
    fn of(problem: &config::Problem) -> Self {
        Self {
            option: problem.key.clone(),
            message: scrub(&problem.message).into_owned(),
            reason: problem.code(),
            placeholders: problem
                .placeholders
                .iter()
                .map(|(name, text)| (*name, scrub(text).into_owned()))
                .collect(),
            effect: problem.effect(),
        }
    }
}

impl Info {
    pub(super) fn of(state: &super::State) -> Self {
        Self {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            protocol: PROTOCOL,
            agent_id: state.agent_id.clone(),
            instance_id: state.agent.instance_id.clone(),
            started_at: rfc3339(state.started_at),
            capabilities: CAPABILITIES,
            problems: state.problems.iter().map(OptionProblem::of).collect(),
        }
    }
}

/// Versions and capabilities
#[utoipa::path(
    get, path = "/v1/info", operation_id = "getInfo", tag = "agent",
    responses((status = 200, description = "The running agent.", body = Info)),
)]
pub(super) async fn info(State(state): State<super::State>) -> Json<Info> {
    Json(Info::of(&state))
}
