//! Uploads in the middle of their content, and what they leave behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::json;

use super::call::{Client, Sending};
use super::events::Events;
use super::{Agent, MIB, Sample, eventually};

/// Two parts of 5 MiB, and some of the third.
const HALF: usize = 13 << 20;

/// An upload whose sender pauses in the middle of the content.
pub(crate) struct HalfSent {
    pub(crate) upload_id: String,
    pub(crate) sending: Sending,
    /// Events after those of the stored bytes.
    pub(crate) events: Events,
    /// Content that is still to be sent.
    pub(crate) rest: Bytes,
    /// Bytes stored so far.
    pub(crate) stored: u64,
}

impl Client {
    /// Announces a backup, sends the first 13 MiB, and waits until at least `stored` bytes are
    /// stored.
    pub(crate) async fn half_sent(&self, location: &str, sample: &Sample, stored: u64) -> HalfSent {
        let mut events = self.events().await;
        let upload_id = self.begin(location, sample).await;
        let mut sending = self.sending(&upload_id);
        sending.send(&sample.tar.slice(..HALF)).await;
        let seen = events
            .until(|event| {
                event["upload_id"] == upload_id && event["stored_bytes"].as_u64() >= Some(stored)
            })
            .await;
        HalfSent {
            upload_id,
            sending,
            events,
            rest: sample.tar.slice(HALF..),
            stored: seen[seen.len() - 1]["stored_bytes"].as_u64().unwrap(),
        }
    }

    /// Uploads a backup, with an `outage` from the middle of its content on.
    pub(crate) async fn upload_through(
        &self,
        location: &str,
        sample: &Sample,
        outage: impl Future<Output = ()>,
    ) {
        let HalfSent {
            upload_id,
            mut sending,
            rest,
            ..
        } = self.half_sent(location, sample, 1).await;
        tokio::join!(outage, sending.send(&rest));
        let arrived = sending.ended().await.unwrap();
        assert_eq!(arrived.status, 200, "{arrived:?}");
        assert_eq!(arrived.json()["sha256"], sample.sha256());
        let completed = self.complete(&upload_id, sample).await;
        assert_eq!(completed.status, 200, "{completed:?}");
    }

    /// Disconnects in the middle of the content, once two parts are stored, and waits until the
    /// upload is suspended.
    pub(crate) async fn disconnected_half_way(&self, location: &str, sample: &Sample) {
        let upload = self.half_sent(location, sample, 10 * MIB).await;
        upload.sending.gone().await;
        self.suspended().await;
    }

    /// Waits until no upload is active.
    pub(crate) async fn suspended(&self) {
        eventually("the upload is suspended", async || {
            self.get("/v1/uploads").await.json()["uploads"] == json!([])
        })
        .await;
    }
}

impl Agent {
    /// Kills the agent in the middle of an upload to `garage`, once two parts are stored; returns
    /// the stored bytes.
    pub(crate) async fn killed_half_way(&mut self, sample: &Sample) -> u64 {
        let upload = self.half_sent("garage", sample, 10 * MIB).await;
        self.kill();
        assert!(upload.sending.ended().await.is_err());
        upload.stored
    }

    /// Paths of all journals.
    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let folder = self.setup.path("state/uploads");
        fs::read_dir(folder).map_or_else(
            |_| Vec::new(),
            |files| files.map(|file| file.unwrap().path()).collect(),
        )
    }

    /// Waits until no journal is left.
    pub(crate) async fn wait_until_no_journal(&self) {
        eventually("the journal is gone", async || self.journals().is_empty()).await;
    }

    /// Makes all journals of an ended agent more than a day old.
    pub(crate) fn expire_journals(&self) {
        make_day_old(&self.setup.path("state/uploads"));
    }
}

/// Makes all files in a folder 25 hours old.
pub(crate) fn make_day_old(folder: &Path) {
    let yesterday = SystemTime::now() - Duration::from_hours(25);
    for file in fs::read_dir(folder).into_iter().flatten() {
        File::options()
            .write(true)
            .open(file.unwrap().path())
            .unwrap()
            .set_modified(yesterday)
            .unwrap();
    }
}
