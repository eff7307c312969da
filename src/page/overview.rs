//! `GET /`: the whole page. The script requests it again after changes and replaces the parts that differ.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LANGUAGE, HeaderMap, VARY};
use axum::response::{Html, IntoResponse, Response};
use futures_util::future::join_all;
use serde::Deserialize;

use super::human;
use super::location::LocationView;
use super::words::Words;
use crate::agent::model::{UploadState, UploadStatus};
use crate::api::PROTOCOL;
use crate::config::Problem;
use crate::logging::Level;
use crate::logging::record::Record;
use crate::units::rfc3339_millis;

#[derive(Deserialize)]
pub(super) struct PageQuery {
    /// Shows log records of this level and above.
    #[serde(default)]
    level: Level,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'p> {
    words: &'p Words,
    problems: &'p [Problem],
    uploads: Vec<UploadView>,
    locations: Vec<LocationView<'p>>,
    records: Vec<RecordView>,
    /// Template that the script fills for new records.
    record: RecordView,
    level: Level,
    is_app: bool,
}

#[derive(Debug)]
struct UploadView {
    upload: UploadStatus,
    location_name: String,
    percent: u64,
}

#[derive(Debug, Default)]
struct RecordView {
    time: String,
    shown_time: String,
    level: Level,
    message: String,
    fields: String,
}

/// `GET /`
pub(super) async fn page(
    State(state): State<super::State>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Response {
    let words = state.languages.of(&headers);
    let agent = &state.api.agent;
    let found: Vec<_> = agent
        .locations()
        .iter()
        .filter_map(|location| agent.location(&location.id).ok())
        .collect();
    let locations = join_all(
        found
            .iter()
            .map(|location| LocationView::of(agent, words, location)),
    )
    .await;
    let page = Page {
        words,
        problems: &state.api.problems,
        uploads: agent
            .uploads()
            .into_iter()
            .map(|upload| UploadView::of(upload, &locations))
            .collect(),
        locations,
        records: state
            .api
            .log
            .relay
            .last()
            .iter()
            .map(RecordView::of)
            .collect(),
        record: RecordView::default(),
        level: query.level,
        is_app: state.api.gate.is_behind_supervisor(),
    };
    match page.render() {
        Ok(html) => (
            [
                (CONTENT_LANGUAGE, words.language),
                (VARY, "Accept-Language"),
            ],
            Html(html),
        )
            .into_response(),
        Err(error) => {
            tracing::error!("cannot render the page: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Page<'_> {
    /// Splits the text around the list of problems.
    fn around_problems(&self) -> (&str, &str) {
        let (before, after) = self
            .words
            .problems
            .description
            .split_once("{problems}")
            .unwrap_or_default();
        (before.trim(), after.trim())
    }
}

impl UploadView {
    fn of(upload: UploadStatus, locations: &[LocationView<'_>]) -> Self {
        let location = locations
            .iter()
            .find(|location| location.status.id == upload.location);
        let location_name = location.map_or_else(
            || upload.location.clone(),
            |location| location.status.name.clone(),
        );
        let percent = (upload.stored_bytes * 100)
            .checked_div(upload.total_bytes)
            .unwrap_or_default()
            .min(100);
        Self {
            upload,
            location_name,
            percent,
        }
    }

    fn is_storing(&self) -> bool {
        self.upload.state == UploadState::Storing
    }
}

impl RecordView {
    fn of(record: &Arc<Record>) -> Self {
        let fields = record
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
        Self {
            time: rfc3339_millis(record.time),
            shown_time: record.time.format("%Y-%m-%d %H:%M:%SZ").to_string(),
            level: record.level,
            message: record.message.clone(),
            fields: fields.collect::<Vec<_>>().join(" "),
        }
    }
}
