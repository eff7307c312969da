//! The agent in this process, its bucket, and the expected map.

mod time;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::TryStreamExt;
use s3_backup_agent::agent::Agent;
use s3_backup_agent::agent::download::Download;
use s3_backup_agent::agent::upload::Uploader;
use s3_backup_agent::backup::StoredBackup;
use s3_backup_agent::config;
use s3_backup_agent::error::{Error, Kind};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::map::Map;
use super::steps::{FOREIGN, OWN, Step, Trouble, foreign_keys, id};
use crate::lab::sample::hex;
use crate::lab::{Failure, Imitation, MIB, Sample, TIMEOUT};

const HOME: &str = "home";

/// Plus an hour.
const DAY: Duration = Duration::from_hours(25);

/// The complete system under test.
pub(super) struct World {
    /// Of the server and the other agent; outlives the agent.
    outside: Runtime,
    server: Arc<Imitation>,
    state: tempfile::TempDir,
    others_state: tempfile::TempDir,
    running: Option<(Runtime, Arc<Agent>)>,
    map: Map,
    /// All uploaded content by SHA-256.
    samples: BTreeMap<String, Sample>,
}

/// Outcome of a call.
enum Ended<T> {
    Well(T),
    Badly(Error),
    Killed,
}

impl World {
    pub(super) fn new() -> Self {
        let outside = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = Arc::new(outside.block_on(Imitation::with([])));
        let [state, others_state] =
            [(); 2].map(|()| tempfile::Builder::new().prefix("model-").tempdir().unwrap());
        let (map, samples) = (Map::default(), BTreeMap::new());
        let mut world = Self {
            outside,
            server,
            state,
            others_state,
            running: None,
            map,
            samples,
        };
        world.start();
        world
    }

    /// Performs all steps, and compares everything at the end.
    pub(super) fn run_steps(mut self, steps: &[Step]) {
        for step in steps {
            self.does(*step);
            self.server.heal();
            if step.trouble().may_end_a_call() {
                // An unreachable bucket is not asked again for half a minute.
                self.wait(31);
            }
        }
        self.does(Step::Day);
        self.does(Step::List {
            refresh: true,
            trouble: Trouble::None,
        });
        for any in 0..OWN.len() + FOREIGN.len() {
            self.does(Step::Download {
                any,
                trouble: Trouble::None,
            });
        }
        self.assert_bucket_content();
    }

    fn start(&mut self) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let agent = runtime.block_on(async { agent(&self.server, self.state.path()) });
        runtime.block_on(async { agent.start_maintenance() });
        self.running = Some((runtime, agent));
    }

    /// Stops its tasks at any point, and breaks its connections.
    fn kill(&mut self) {
        let (runtime, agent) = self.running.take().unwrap();
        drop(agent);
        runtime.shutdown_timeout(Duration::from_secs(5));
        self.server.heal();
        // Its last request may still be in progress.
        let deadline = Instant::now() + TIMEOUT;
        while !self.server.is_at_rest() {
            assert!(Instant::now() < deadline, "the server is never idle");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn crash(&mut self) {
        self.kill();
        self.start();
        self.map.mark_all_fresh();
    }

    /// Calls the agent; a kill ends the call.
    fn call<T, F>(&mut self, trouble: Trouble, work: impl FnOnce(Arc<Agent>) -> F) -> Ended<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match trouble {
            Trouble::None => {}
            Trouble::Fails { number, failure } => self.server.fail(number, 1, failure),
            Trouble::Skewed { number, hours } => {
                self.server.fail(number, usize::MAX, Failure::Skewed(hours));
            }
            Trouble::Killed { number, is_done } => {
                let failure = if is_done {
                    Failure::HangsAfter
                } else {
                    Failure::HangsBefore
                };
                self.server.fail(number, usize::MAX, failure);
            }
        }
        let (runtime, agent) = self.running.as_ref().unwrap();
        let (server, agent) = (Arc::clone(&self.server), Arc::clone(agent));
        let killed = async {
            let Trouble::Killed { number, .. } = trouble else {
                return std::future::pending().await;
            };
            while server.requests_since() < number {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = timeout(TIMEOUT, work(agent)) => Some(ended.expect("it comes to an end")),
                () = killed => None,
            }
        });
        match ended {
            Some(Ok(value)) => Ended::Well(value),
            Some(Err(error)) => Ended::Badly(error),
            None => {
                self.crash();
                Ended::Killed
            }
        }
    }

    /// Calls an agent on another machine, which never fails, and waits for its background work.
    fn other<T, F>(&self, work: impl FnOnce(Arc<Agent>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.outside.block_on(async {
            let agent = agent(&self.server, self.others_state.path());
            let result = work(Arc::clone(&agent)).await;
            agent.stop(TIMEOUT).await;
            result
        })
    }

    fn does(&mut self, step: Step) {
        match step {
            Step::Upload {
                own,
                version,
                is_large,
                trouble,
            } => self.upload(own, version, is_large, trouble),
            Step::SendHalf { own, version } => self.send_half(own, version),
            Step::Delete { any, trouble } => self.delete(id(any), trouble),
            Step::List { refresh, trouble } => self.list(refresh, trouble),
            Step::Download { any, trouble } => self.download(id(any), trouble),
            Step::ForeignWrite { foreign, version } => {
                let sample = self.sample(FOREIGN[foreign], version, false);
                // Timestamps may have a precision of one second, so sizes distinguish versions.
                let [tar, metadata] = foreign_keys(sample.id());
                self.server.put(&tar, &sample.tar);
                self.server.put(&metadata, sample.metadata.to_string());
                self.map.became(sample.id(), Some(sample.sha256()));
            }
            Step::ForeignDelete { foreign } => {
                let [tar, metadata] = foreign_keys(FOREIGN[foreign]);
                self.server.remove(&metadata);
                self.server.remove(&tar);
                self.map.became(FOREIGN[foreign], None);
            }
            Step::ForeignGarbage { with_tar } => {
                self.server
                    .put("backups/garbage.metadata.json", "{\"backup_id\": 7");
                if with_tar {
                    self.server.put("backups/garbage.tar", "no tar");
                    let alone = self.sample("z9", 0, false);
                    self.server.put("backups/alone.tar", alone.tar);
                }
            }
            Step::OtherUpload {
                own,
                version,
                is_large,
            } => {
                let sample = self.sample(OWN[own], version, is_large);
                self.other(|agent| uploads(agent, sample.clone())).unwrap();
                self.map.became(sample.id(), Some(sample.sha256()));
            }
            Step::OtherDelete { any } => {
                match self.other(|agent| async move { agent.delete(HOME, id(any)).await }) {
                    Ok(()) => self.map.became(id(any), None),
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::BackupNotFound, "{error:?}");
                        self.map.is_seen(id(any), false);
                    }
                }
            }
            Step::Crash => self.crash(),
            Step::Wait { seconds } => self.wait(seconds),
            Step::Day => self.day(),
            Step::SetBack => self.set_clock_back(),
        }
    }

    fn sample(&mut self, id: &str, version: u8, is_large: bool) -> Sample {
        let size = if is_large { 6 * MIB } else { 20_480 } + 512 * u64::from(version);
        let sample = Sample::new(id, "Model", size);
        self.samples.insert(sample.sha256(), sample.clone());
        sample
    }

    fn upload(&mut self, own: usize, version: u8, is_large: bool, trouble: Trouble) {
        let sample = self.sample(OWN[own], version, is_large);
        let ended = self.call(trouble, |agent| uploads(agent, sample.clone()));
        match ended {
            Ended::Well(stored) => {
                assert_eq!(stored.agent.unwrap().sha256, Some(sample.sha256()));
                self.map.is(sample.id(), Some(sample.sha256()));
            }
            Ended::Killed => self.map.may_be(sample.id(), Some(sample.sha256())),
            Ended::Badly(error) => {
                assert!(trouble.may_end_a_call(), "{error:?}");
                self.map.may_be(sample.id(), Some(sample.sha256()));
            }
        }
    }

    fn send_half(&mut self, own: usize, version: u8) {
        let sample = self.sample(OWN[own], version, true);
        let (backup, filename) = (
            serde_json::from_value(sample.metadata.clone()).unwrap(),
            sample.filename(),
        );
        let half = sample.tar.slice(..(5 << 20) + 100_000);
        let ended = self.call(Trouble::None, |agent| async move {
            let upload = agent
                .create_upload(HOME, backup, &filename, Uploader::HomeAssistant)
                .await?;
            let gone = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            let pieces = futures_util::StreamExt::chain(
                pieces(&half),
                futures_util::stream::iter([Err(gone)]),
            );
            agent.receive(&upload.id, pieces).await
        });
        let Ended::Badly(error) = ended else {
            panic!("half of a backup was taken for all of it")
        };
        assert_eq!(error.kind(), Kind::InvalidRequest, "{error:?}");
    }

    fn delete(&mut self, id: &str, trouble: Trouble) {
        let ended = self.call(trouble, |agent| async move { agent.delete(HOME, id).await });
        match ended {
            Ended::Well(()) => self.map.is(id, None),
            Ended::Badly(error) if error.kind() == Kind::BackupNotFound => {
                self.map.is_seen(id, false);
            }
            Ended::Badly(error) => {
                assert!(trouble.may_end_a_call(), "{error:?}");
                self.map.may_be(id, None);
            }
            Ended::Killed => self.map.may_be(id, None),
        }
    }

    fn list(&mut self, refresh: bool, trouble: Trouble) {
        let ended = self.call(
            trouble,
            |agent| async move { agent.list(HOME, refresh).await },
        );
        let view = match ended {
            Ended::Well(view) => view,
            Ended::Badly(error) => {
                assert!(trouble != Trouble::None, "{error:?}");
                return;
            }
            Ended::Killed => return,
        };
        if view.error.is_some() || trouble.may_end_a_call() {
            assert!(trouble != Trouble::None, "{:?}", view.error);
            return;
        }
        if refresh {
            self.map.mark_all_fresh();
        }
        for id in OWN.iter().chain(&FOREIGN) {
            self.map.is_seen(id, view.listing.find(id).is_some());
        }
    }

    fn download(&mut self, id: &str, trouble: Trouble) {
        let ended = self.call(trouble, |agent| async move {
            let entry = agent.find(HOME, id).await?;
            let download = match Download::open(agent.location(HOME)?, &entry, None).await {
                // Retried with a new list, as the API does.
                Err(error) if error.kind() == Kind::BackupNotFound => {
                    let entry = agent.find(HOME, id).await?;
                    Download::open(agent.location(HOME)?, &entry, None).await?
                }
                opened => opened?,
            };
            let mut hash = Context::new(&SHA256);
            let mut stream = std::pin::pin!(download.into_stream());
            while let Some(piece) = stream.try_next().await? {
                hash.update(&piece);
            }
            Ok(hex(hash.finish().as_ref()))
        });
        match ended {
            Ended::Well(sha256) => self.map.is_read(id, &sha256),
            Ended::Badly(error) if error.kind() == Kind::BackupNotFound => {
                self.map.is_seen(id, false);
            }
            // Another tool replaced or deleted it after the list.
            Ended::Badly(_) if self.map.may_be_shown_older(id) => {}
            Ended::Badly(error) => {
                assert!(trouble.may_end_a_call(), "{error:?}");
            }
            Ended::Killed => {}
        }
    }
}

/// An agent with the server's bucket.
fn agent(server: &Imitation, state: &Path) -> Arc<Agent> {
    let mut settings = server
        .location()
        .with("outage_seconds", "2")
        .with("idle_seconds", "1")
        .json();
    settings["id"] = HOME.into();
    let (location, problems) = config::Location::from_json(&settings).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    Agent::new(vec![location], state)
}

async fn uploads(agent: Arc<Agent>, sample: Sample) -> Result<StoredBackup, Error> {
    let backup = serde_json::from_value(sample.metadata.clone()).unwrap();
    let upload = agent
        .create_upload(HOME, backup, &sample.filename(), Uploader::HomeAssistant)
        .await?;
    agent.receive(&upload.id, pieces(&sample.tar)).await?;
    agent
        .complete_upload(&upload.id, sample.size(), sample.crc32())
        .await
}

/// Sent as by Home Assistant.
fn pieces(tar: &Bytes) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + use<> {
    let starts = (0..tar.len()).step_by(1 << 20);
    let pieces: Vec<_> = starts
        .map(|start| Ok(tar.slice(start..tar.len().min(start + (1 << 20)))))
        .collect();
    futures_util::stream::iter(pieces)
}
