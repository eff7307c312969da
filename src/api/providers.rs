//! `providers`

use axum::Json;
use serde::Serialize;

use crate::provider::{self, Provider};

#[derive(Serialize)]
pub(super) struct Providers {
    providers: &'static [Provider],
}

/// `GET /v1/providers`
pub(super) async fn list() -> Json<Providers> {
    Json(Providers {
        providers: provider::all(),
    })
}
