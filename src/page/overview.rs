//! `GET /`: the whole page. The script requests it again after changes and replaces the parts that differ.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LANGUAGE, HeaderMap, VARY};
use axum::response::{Html, IntoResponse, Response};
use chrono::Utc;
use futures_util::future::join_all;
use serde::Deserialize;

use super::backups::{BackupsView, Source};
use super::escape::Own;
use super::guide::{Guide, REPOSITORY};
use super::human;
use super::location::LocationView;
use super::summary::{NextBackup, Summary};
use super::upload::UploadView;
use super::words::Words;
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
    /// Shows all backups.
    #[serde(default)]
    all: bool,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'p> {
    words: &'p Words,
    problems: &'p [Problem],
    summary: Summary,
    guide: Guide,
    uploads: Vec<UploadView>,
    backups: BackupsView<'p>,
    locations: &'p [LocationView<'p>],
    records: Vec<RecordView>,
    /// Template that the script fills for new records.
    record: RecordView,
    level: Level,
    all: bool,
    is_app: bool,
}

#[derive(Debug, Default)]
struct RecordView {
    time: String,
    shown_time: String,
    level: Level,
    message: Own,
    fields: Own,
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
    let sources: Vec<_> = locations
        .iter()
        .zip(&found)
        .map(|(location, found)| Source {
            location,
            folder: &found.folder,
        })
        .collect();
    let backups = BackupsView::of(words, &sources, &locations, &state.verifying, query.all);
    let now = Utc::now();
    let page = Page {
        words,
        problems: &state.api.problems,
        summary: Summary::of(words, &state.api, &locations, &backups),
        guide: Guide::of(&state.api, &locations),
        uploads: agent
            .uploads()
            .into_iter()
            .map(|upload| UploadView::of(words, upload, &locations, now))
            .collect(),
        backups,
        locations: &locations,
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
        all: query.all,
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
    fn around_problems(&self) -> (Own, Own) {
        let (before, after) = self
            .words
            .problems
            .description
            .as_str()
            .split_once("{problems}")
            .unwrap_or_default();
        (Own::new(before.trim()), Own::new(after.trim()))
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
            // Scrubbed when they were logged; what became a secret since is not.
            message: Own::quoting(&record.message),
            fields: Own::quoting(&fields.collect::<Vec<_>>().join(" ")),
        }
    }
}
