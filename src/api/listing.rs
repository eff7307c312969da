//! `GET /v1/locations/{loc}/backups`: a JSON document, or NDJSON for clients that read a long list line by line.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::openapi::{Problems, StorageProblems};
use super::{LocationPath, Problem, ndjson};
use crate::agent::catalog::View;
use crate::agent::model::{Failure, Skipped};
use crate::backup::StoredBackup;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Ask the bucket instead of the five-minute cache.
    #[serde(default)]
    refresh: bool,
}

/// The backups of a location.
#[derive(Serialize, ToSchema)]
pub(super) struct Listing<'l> {
    #[schema(value_type = Vec<StoredBackup>)]
    backups: Vec<&'l RawValue>,
    #[schema(minimum = 0)]
    age_seconds: f64,
    /// The bucket is unavailable, and this is the last list.
    stale: bool,
    error: Option<Failure>,
    skipped: &'l [Skipped],
}

/// One line of a list: `listing`, then the `backup` and `skipped` lines, then `end`.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ListingLine<'l> {
    /// The first line.
    Listing {
        #[schema(minimum = 0)]
        age_seconds: f64,
        /// The bucket is unavailable, and this is the last list.
        stale: bool,
        error: Option<Failure>,
        /// Number of `backup` lines.
        backups: usize,
        /// Number of `skipped` lines.
        skipped: usize,
    },
    Backup {
        #[schema(value_type = StoredBackup)]
        backup: &'l RawValue,
    },
    Skipped(&'l Skipped),
    /// The last line. A body without it is incomplete.
    End {
        /// Number of `backup` lines.
        backups: usize,
    },
}

/// The backups of a location
///
/// Answers within 20 seconds. When the bucket is unavailable, the last list is served and marked stale. With `Accept:
/// application/x-ndjson`, the list is streamed line by line; a body whose last line is not `end` is incomplete.
#[utoipa::path(
    get, path = "/v1/locations/{loc}/backups", operation_id = "listBackups", tag = "backups",
    params(LocationPath, ListQuery),
    responses(
        (status = 200, description = "The list.", content(
            (Listing = "application/json"),
            (ListingLine = "application/x-ndjson"),
        )),
        Problems<400>, Problems<404>, StorageProblems,
    ),
)]
pub(super) async fn list(
    State(state): State<super::State>,
    Path(LocationPath { loc }): Path<LocationPath>,
    Query(query): Query<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = state.agent.list(&loc, query.refresh).await?;
    if ndjson::is_accepted(&headers) {
        return Ok(ndjson::response(lines(view)));
    }
    let listing = Listing {
        backups: view
            .listing
            .entries
            .iter()
            .map(|entry| &*entry.metadata.json)
            .collect(),
        age_seconds: view.listing.taken.elapsed().as_secs_f64(),
        stale: view.error.is_some(),
        error: view.error.as_ref().map(Failure::from),
        skipped: &view.listing.skipped,
    };
    Ok(Json(listing).into_response())
}

/// Serialises line by line, so that a list of thousands of backups needs no second copy in memory.
fn lines(view: View) -> impl Stream<Item = serde_json::Result<Bytes>> {
    let listing = view.listing;
    let backups = listing.entries.len();
    let skipped = listing.skipped.len();
    let head = ndjson::line(&ListingLine::Listing {
        age_seconds: listing.taken.elapsed().as_secs_f64(),
        stale: view.error.is_some(),
        error: view.error.as_ref().map(Failure::from),
        backups,
        skipped,
    });
    let rest = (0..=backups + skipped).map(move |index| {
        ndjson::line(&if let Some(entry) = listing.entries.get(index) {
            ListingLine::Backup {
                backup: &entry.metadata.json,
            }
        } else if let Some(skipped) = listing.skipped.get(index - backups) {
            ListingLine::Skipped(skipped)
        } else {
            ListingLine::End { backups }
        })
    });
    stream::iter(std::iter::once(head).chain(rest))
}
