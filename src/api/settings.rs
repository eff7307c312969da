//! `settings`

use axum::Json;
use axum::extract::Query;
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::config::settings::form::{FormField, fields};
use crate::error::{Error, Kind};
use crate::provider;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default = "other")]
    provider: String,
}

fn other() -> String {
    "other".to_owned()
}

#[derive(Serialize)]
pub(super) struct Settings {
    settings: Vec<FormField>,
}

/// `GET /v1/settings`
pub(super) async fn list(Query(wanted): Query<Wanted>) -> Result<Json<Settings>, Problem> {
    let provider = provider::find(&wanted.provider).ok_or_else(|| {
        let detail = format!("No provider has the id \"{}\".", wanted.provider);
        Error::new(Kind::InvalidRequest, detail)
    })?;
    let settings = fields(provider);
    Ok(Json(Settings { settings }))
}
