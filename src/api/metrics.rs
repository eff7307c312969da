//! `GET /metrics`: Prometheus' text format 0.0.4.

mod page;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;

use crate::agent::diagnostics::Figures;
use crate::agent::model::{Counts, LastUpload, VerificationStatus};
use crate::store::Traffic;
use crate::system::System;
use page::Page;

/// Name, help and value of one number of each location or storage.
type Metric<T, N> = (&'static str, &'static str, fn(&T) -> N);

const STATUS: [Metric<Figures, Option<f64>>; 10] = [
    (
        "location_up",
        "1 when the last call to the location succeeded, 0 when it failed; absent before the first.",
        |figures| match figures.status.status {
            "ok" => Some(1.0),
            "error" => Some(0.0),
            _ => None,
        },
    ),
    ("location_backups", "Backups in the last list.", |figures| {
        Some(number(figures.status.numbers.backups? as u64))
    }),
    (
        "location_size_bytes",
        "Size of the backups in the last list.",
        |figures| figures.status.numbers.size_bytes.map(number),
    ),
    (
        "location_list_age_seconds",
        "Age of the last list.",
        |figures| figures.list_age_seconds,
    ),
    (
        "last_upload_timestamp_seconds",
        "Time of the newest backup's upload.",
        |figures| timestamp(&last_upload(figures)?.uploaded_at),
    ),
    (
        "last_upload_size_bytes",
        "Size of the backup that was uploaded last.",
        |figures| Some(number(last_upload(figures)?.size_bytes)),
    ),
    (
        "last_upload_duration_seconds",
        "Duration of its upload.",
        |figures| Some(number(last_upload(figures)?.duration_ms?) / 1000.0),
    ),
    (
        "location_damaged_backups",
        "Backups that are damaged.",
        |figures| Some(number(verification(figures)?.damaged.len() as u64)),
    ),
    (
        "location_unread_backups",
        "Backups that could not be verified.",
        |figures| Some(number(verification(figures)?.unread.len() as u64)),
    ),
    (
        "location_verified_timestamp_seconds",
        "Time of the last scheduled verification.",
        |figures| timestamp(verification(figures)?.verified_at.as_deref()?),
    ),
];

const WORK: [Metric<Counts, u64>; 3] = [
    (
        "uploaded_bytes_total",
        "Size of the backups that were uploaded.",
        |counts| counts.uploaded_bytes,
    ),
    (
        "downloaded_bytes_total",
        "Bytes of backups that were downloaded.",
        |counts| counts.downloaded_bytes,
    ),
    (
        "deleted_backups_total",
        "Backups that were deleted.",
        |counts| counts.deleted,
    ),
];

const TRAFFIC: [Metric<Traffic, u64>; 2] = [
    (
        "storage_sent_bytes_total",
        "Bytes sent to the storage, including retries.",
        |traffic| traffic.sent_bytes,
    ),
    (
        "storage_received_bytes_total",
        "Bytes received from the storage.",
        |traffic| traffic.received_bytes,
    ),
];

/// Metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "agent",
    responses((status = 200, description = "Prometheus' text format 0.0.4.", content_type = "text/plain")),
)]
pub(super) async fn metrics(State(state): State<super::State>) -> Response {
    let mut page = Page::default();
    let info = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("agent_id", &state.agent_id),
    ];
    page.gauge("s3_backup_agent_info", "The running agent.")
        .add(&info, 1.0);
    process(
        &mut page,
        number(state.started_at.timestamp().unsigned_abs()),
    );
    let locations = state.agent.figures();
    status(&mut page, &locations);
    work(&mut page, &locations);
    traffic(&mut page, &locations);
    let uploads = state.agent.uploads();
    let mut unfinished = page.gauge("s3_backup_agent_uploads_under_way", "Uploads in progress.");
    for id in locations.iter().map(|figures| &figures.status.id) {
        let here = uploads.iter().filter(|upload| upload.location == *id);
        unfinished.add(&[("location", id)], number(here.count() as u64));
    }
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], page.text()).into_response()
}

/// Sizes and counts below 2⁵³ keep all their digits.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
const fn number(value: u64) -> f64 {
    value as f64
}

fn timestamp(rfc3339: &str) -> Option<f64> {
    let time = DateTime::parse_from_rfc3339(rfc3339).ok()?;
    Some(number(time.timestamp().unsigned_abs()))
}

fn last_upload(figures: &Figures) -> Option<&LastUpload> {
    figures.status.numbers.last_upload.as_ref()
}

fn verification(figures: &Figures) -> Option<&VerificationStatus> {
    figures.status.verification.as_ref()
}

/// Uses the names of Prometheus' own client libraries.
fn process(page: &mut Page, started: f64) {
    let system = System::now();
    let start = "Start time of the agent, in seconds since 1970.";
    page.gauge("process_start_time_seconds", start)
        .add(&[], started);
    page.gauge("process_resident_memory_bytes", "Memory in use.")
        .add_some(&[], system.memory_bytes.map(number));
    page.counter("process_cpu_seconds_total", "CPU time used.")
        .add_some(&[], system.cpu_seconds);
    let open = system.open_files.map(|files| number(files as u64));
    page.gauge("process_open_fds", "Open files and connections.")
        .add_some(&[], open);
}

fn status(page: &mut Page, locations: &[Figures]) {
    for (name, help, value) in STATUS {
        let mut family = page.gauge(&format!("s3_backup_agent_{name}"), help);
        for figures in locations {
            family.add_some(&[("location", &figures.status.id)], value(figures));
        }
    }
    let mut skipped = page.gauge(
        "s3_backup_agent_location_skipped",
        "Objects that the last list skipped, by code.",
    );
    for figures in locations {
        // Serialised for the codes, which are the keys of a location's status.
        let counts = serde_json::to_value(figures.status.numbers.skipped).unwrap_or_default();
        for (code, count) in counts.as_object().into_iter().flatten() {
            let labels = [("location", figures.status.id.as_str()), ("code", code)];
            skipped.add_some(&labels, count.as_f64());
        }
    }
}

/// Counters since the agent started.
fn work(page: &mut Page, locations: &[Figures]) {
    let mut uploads = page.counter(
        "s3_backup_agent_uploads_total",
        "Finished uploads by state.",
    );
    for figures in locations {
        let counts = figures.counts;
        for (state, count) in [
            ("complete", counts.uploads_complete),
            ("failed", counts.uploads_failed),
            ("cancelled", counts.uploads_cancelled),
        ] {
            let labels = [("location", figures.status.id.as_str()), ("state", state)];
            uploads.add(&labels, number(count));
        }
    }
    for (name, help, value) in WORK {
        let mut family = page.counter(&format!("s3_backup_agent_{name}"), help);
        for figures in locations {
            let labels = [("location", figures.status.id.as_str())];
            family.add(&labels, number(value(&figures.counts)));
        }
    }
}

fn traffic(page: &mut Page, locations: &[Figures]) {
    let all: Vec<(&str, Traffic)> = locations
        .iter()
        .filter_map(|figures| Some((figures.status.id.as_str(), figures.requests?)))
        .collect();
    let help = "Requests to the storage: answered, refused by it, or failed without an answer.";
    let mut requests = page.counter("s3_backup_agent_storage_requests_total", help);
    for (id, traffic) in &all {
        for (result, count) in [
            ("answered", traffic.answered),
            ("refused", traffic.refused),
            ("failed", traffic.failed),
        ] {
            requests.add(&[("location", id), ("result", result)], number(count));
        }
    }
    for (name, help, value) in TRAFFIC {
        let mut family = page.counter(&format!("s3_backup_agent_{name}"), help);
        for (id, traffic) in &all {
            family.add(&[("location", id)], number(value(traffic)));
        }
    }
}
