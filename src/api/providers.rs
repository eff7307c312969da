//! `providers`

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::provider::{self, Provider};

#[derive(Serialize, ToSchema)]
pub(super) struct Providers {
    providers: &'static [Provider],
}

/// All providers
///
/// The facts about each provider, the most useful first. They do not change while the agent runs.
#[utoipa::path(
    get, path = "/v1/providers", operation_id = "listProviders", tag = "locations",
    responses((status = 200, description = "The providers.", body = Providers)),
)]
pub(super) async fn list() -> Json<Providers> {
    Json(Providers {
        providers: provider::all(),
    })
}
