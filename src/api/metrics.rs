//! `GET /metrics`: numbers for Prometheus, in its text format 0.0.4.

mod page;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;

use crate::agent::diagnostics::Figures;
use crate::agent::model::{Counts, LastUpload};
use crate::store::Traffic;
use crate::system::System;
use page::Page;

/// Sizes and counts below 2⁵³ keep all their digits.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
const fn number(value: u64) -> f64 {
    value as f64
}

/// `GET /metrics`
pub(super) async fn metrics(State(state): State<super::State>) -> Response {
    let mut page = Page::default();
    let info = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("agent_id", &state.agent_id),
    ];
    page.gauge("s3_backup_agent_info", "The agent that runs.")
        .add(&info, 1.0);
    process(
        &mut page,
        number(state.started_at.timestamp().unsigned_abs()),
    );
    let locations = state.agent.figures();
    status(&mut page, &locations);
    work(&mut page, &locations);
    requests(&mut page, &locations);
    let uploads = state.agent.uploads_under_way();
    let mut under_way = page.gauge(
        "s3_backup_agent_uploads_under_way",
        "Uploads that have not ended.",
    );
    for id in locations.iter().map(|figures| &figures.status.id) {
        let here = uploads
            .iter()
            .filter(|upload| upload.location == *id)
            .count();
        under_way.add(&[("location", id)], number(here as u64));
    }
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page.text(),
    )
        .into_response()
}

/// Under the names that Prometheus' own clients use.
fn process(page: &mut Page, started: f64) {
    let system = System::now();
    let start = "When the agent started, in seconds since 1970.";
    page.gauge("process_start_time_seconds", start)
        .add(&[], started);
    page.gauge("process_resident_memory_bytes", "Memory in use.")
        .add_some(&[], system.memory_bytes.map(number));
    let cpu = "CPU time that the agent used.";
    page.counter("process_cpu_seconds_total", cpu)
        .add_some(&[], system.cpu_seconds);
    let open = system.open_files.map(|files| number(files as u64));
    page.gauge("process_open_fds", "Open files and connections.")
        .add_some(&[], open);
}

/// How the locations stand.
fn status(page: &mut Page, locations: &[Figures]) {
    let up = "1 when the last call to the location went well, 0 when it did not; missing before the first.";
    each(
        page,
        "location_up",
        up,
        locations,
        |figures| match figures.status.status {
            "ok" => Some(1.0),
            "error" => Some(0.0),
            _ => None,
        },
    );
    each(
        page,
        "location_backups",
        "Backups in the last list.",
        locations,
        |figures| {
            figures
                .status
                .numbers
                .backups
                .map(|backups| number(backups as u64))
        },
    );
    each(
        page,
        "location_size_bytes",
        "Size of the backups in the last list.",
        locations,
        |figures| figures.status.numbers.size_bytes.map(number),
    );
    each(
        page,
        "location_list_age_seconds",
        "Age of the last list.",
        locations,
        |figures| figures.list_age_seconds,
    );
    last_uploads(page, locations);
    verification(page, locations);
    skipped_objects(page, locations);
}

fn last_uploads(page: &mut Page, locations: &[Figures]) {
    let last = |figures: &Figures, value: fn(&LastUpload) -> Option<f64>| {
        figures.status.numbers.last_upload.as_ref().and_then(value)
    };
    each(
        page,
        "last_upload_timestamp_seconds",
        "When the newest backup was uploaded.",
        locations,
        |figures| {
            last(figures, |upload| {
                let at = DateTime::parse_from_rfc3339(&upload.uploaded_at).ok()?;
                Some(number(at.timestamp().unsigned_abs()))
            })
        },
    );
    each(
        page,
        "last_upload_size_bytes",
        "Size of the backup that was uploaded last.",
        locations,
        |figures| last(figures, |upload| Some(number(upload.size_bytes))),
    );
    each(
        page,
        "last_upload_duration_seconds",
        "How long its upload took.",
        locations,
        |figures| {
            last(figures, |upload| {
                upload.duration_ms.map(|duration| number(duration) / 1000.0)
            })
        },
    );
}

fn verification(page: &mut Page, locations: &[Figures]) {
    each(
        page,
        "location_damaged_backups",
        "Backups that were found to be damaged.",
        locations,
        |figures| {
            figures
                .status
                .verification
                .as_ref()
                .map(|verification| number(verification.damaged.len() as u64))
        },
    );
    each(
        page,
        "location_unread_backups",
        "Backups that could not be verified.",
        locations,
        |figures| {
            figures
                .status
                .verification
                .as_ref()
                .map(|verification| number(verification.unread.len() as u64))
        },
    );
    let verified = "When the schedule last verified backups.";
    each(
        page,
        "location_verified_timestamp_seconds",
        verified,
        locations,
        |figures| {
            let at = figures
                .status
                .verification
                .as_ref()?
                .verified_at
                .as_deref()?;
            Some(number(
                DateTime::parse_from_rfc3339(at)
                    .ok()?
                    .timestamp()
                    .unsigned_abs(),
            ))
        },
    );
}

fn skipped_objects(page: &mut Page, locations: &[Figures]) {
    let mut skipped = page.gauge(
        "s3_backup_agent_location_skipped",
        "Objects that the last list left out, by their code.",
    );
    for figures in locations {
        // The same words as in a location's status, whatever they are.
        let counts = serde_json::to_value(figures.status.numbers.skipped).unwrap_or_default();
        for (code, count) in counts.as_object().into_iter().flatten() {
            skipped.add_some(
                &[("location", &figures.status.id), ("code", code)],
                count.as_f64(),
            );
        }
    }
}

/// A counter's name, its words, and where it is.
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

/// What came of the work since the agent started.
fn work(page: &mut Page, locations: &[Figures]) {
    let mut uploads = page.counter(
        "s3_backup_agent_uploads_total",
        "Uploads that ended, by how.",
    );
    for figures in locations {
        let Counts {
            uploads_complete,
            uploads_failed,
            uploads_cancelled,
            ..
        } = figures.counts;
        for (state, count) in [
            ("complete", uploads_complete),
            ("failed", uploads_failed),
            ("cancelled", uploads_cancelled),
        ] {
            uploads.add(
                &[("location", &figures.status.id), ("state", state)],
                number(count),
            );
        }
    }
    let counters: [Counter; 3] = [
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
    for (name, help, value) in counters {
        let mut family = page.counter(&format!("s3_backup_agent_{name}"), help);
        for figures in locations {
            family.add(
                &[("location", &figures.status.id)],
                number(value(&figures.counts)),
            );
        }
    }
}

/// The traffic with the storage.
fn requests(page: &mut Page, locations: &[Figures]) {
    let traffic: Vec<(&str, Traffic)> = locations
        .iter()
        .filter_map(|figures| Some((figures.status.id.as_str(), figures.requests?)))
        .collect();
    let help = "Requests to the storage: answered, refused by it, or failed without an answer.";
    let mut requests = page.counter("s3_backup_agent_storage_requests_total", help);
    for (id, traffic) in &traffic {
        let Traffic {
            answered,
            refused,
            failed,
            ..
        } = *traffic;
        for (result, count) in [
            ("answered", answered),
            ("refused", refused),
            ("failed", failed),
        ] {
            requests.add(&[("location", id), ("result", result)], number(count));
        }
    }
    let mut sent = page.counter(
        "s3_backup_agent_storage_sent_bytes_total",
        "Bytes sent to the storage, repeats included.",
    );
    for (id, traffic) in &traffic {
        sent.add(&[("location", id)], number(traffic.sent_bytes));
    }
    let mut received = page.counter(
        "s3_backup_agent_storage_received_bytes_total",
        "Bytes received from the storage.",
    );
    for (id, traffic) in &traffic {
        received.add(&[("location", id)], number(traffic.received_bytes));
    }
}

fn each(
    page: &mut Page,
    name: &str,
    help: &str,
    locations: &[Figures],
    value: impl Fn(&Figures) -> Option<f64>,
) {
    let mut family = page.gauge(&format!("s3_backup_agent_{name}"), help);
    for figures in locations {
        family.add_some(&[("location", &figures.status.id)], value(figures));
    }
}
