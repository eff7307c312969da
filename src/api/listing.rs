//! `GET /v1/locations/{loc}/backups`: a JSON document, or NDJSON for clients that read a long list line by line.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Problem, ndjson};
use crate::agent::catalog::View;
use crate::agent::model::{Failure, Skipped};

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    refresh: bool,
}

/// The whole list in one document.
#[derive(Serialize)]
struct Listing<'l> {
    backups: Vec<&'l RawValue>,
    age_seconds: f64,
    stale: bool,
    error: Option<Failure>,
    skipped: &'l [Skipped],
}

/// One line of a list.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ListingLine<'l> {
    /// The first line; `backups` and `skipped` count the lines of these types.
    Listing {
        age_seconds: f64,
        stale: bool,
        error: Option<Failure>,
        backups: usize,
        skipped: usize,
    },
    Backup {
        backup: &'l RawValue,
    },
    Skipped(&'l Skipped),
    /// The last line. A body without it is incomplete.
    End {
        backups: usize,
    },
}

/// `GET /v1/locations/{loc}/backups`
pub(super) async fn list(
    State(state): State<super::State>,
    Path(loc): Path<String>,
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
