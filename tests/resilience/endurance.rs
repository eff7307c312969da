//! Large amounts and long runs: memory and open files stay constant.
//!
//! Short here; `scripts/endurance` makes it long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::future::join_all;
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::lab::call::Client;
use crate::lab::discard::Discard;
use crate::lab::{Location, MIB, Sample, Setup, garage, noise};

/// Memory of an idle agent, rounded up.
const AT_REST: u64 = 48 * MIB;

const BLOCK: usize = 1 << 20;

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}

/// A backup's tar, generated while it is sent.
struct Large {
    head: Bytes,
    data: u64,
    tail: Bytes,
    sums: Arc<Mutex<(Digest, Digest)>>,
    sent: Arc<AtomicU64>,
}

impl Large {
    fn new(id: &str, data: u64) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_path("./media.tar.gz").unwrap();
        header.set_size(data);
        header.set_cksum();
        let tail = Sample::new(id, "Large", 10_240).tar;
        let sums = (
            Digest::new(CrcAlgorithm::Crc32IsoHdlc),
            Digest::new(CrcAlgorithm::Crc64Nvme),
        );
        let head = Bytes::copy_from_slice(header.as_bytes());
        Self {
            head,
            data,
            tail,
            sums: Arc::new(Mutex::new(sums)),
            sent: Arc::default(),
        }
    }

    fn size(&self) -> u64 {
        self.head.len() as u64 + self.data + self.tail.len() as u64
    }

    /// All blocks differ.
    fn stream(&self) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        let (sums, sent) = (Arc::clone(&self.sums), Arc::clone(&self.sent));
        let block = noise("endurance", BLOCK);
        let blocks = (0..self.data / BLOCK as u64).map(move |number| {
            let mut bytes = BytesMut::from(&block[..]);
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            bytes.freeze()
        });
        let pieces = std::iter::once(self.head.clone())
            .chain(blocks)
            .chain(std::iter::once(self.tail.clone()));
        stream::iter(pieces.map(move |piece| {
            let (crc32, crc64) = &mut *sums.lock().unwrap();
            crc32.update(&piece);
            crc64.update(&piece);
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Ok(piece)
        }))
    }
}

/// Periodic samples of a process's resources.
#[derive(Debug, Default, Clone)]
struct Samples {
    memory: Vec<u64>,
    files: Vec<u64>,
}

impl Samples {
    fn take(&mut self, pid: u32) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        self.memory
            .push(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024);
        self.files.push(
            std::fs::read_dir(format!("/proc/{pid}/fd"))
                .unwrap()
                .count() as u64,
        );
    }

    /// The largest of a share of the samples, in hundredths from the beginning.
    fn most(values: &[u64], share: std::ops::Range<usize>) -> u64 {
        let (start, end) = (
            values.len() * share.start / 100,
            (values.len() * share.end).div_ceil(100),
        );
        values[start..end].iter().copied().max().unwrap_or_default()
    }

    fn print(&self, what: &str) {
        let mib = |bytes: u64| bytes / MIB;
        let of = |values: &[u64]| {
            (
                values[0],
                values[values.len() - 1],
                Self::most(values, 0..100),
            )
        };
        let ((first, last, most), files) = (of(&self.memory), of(&self.files));
        println!(
            "{what}: memory {} MiB at first, {} MiB at last, {} MiB at most",
            mib(first),
            mib(last),
            mib(most)
        );
        println!(
            "{what}: {} open files at first, {} at last, {} at most",
            files.0, files.1, files.2
        );
    }

    /// Asserts that the second half uses no more than the first, apart from an allocator's reserve
    /// and `room`.
    fn are_flat(&self, room: u64) {
        let halves = |values: &[u64]| (Self::most(values, 10..50), Self::most(values, 50..100));
        let ((first, last), (files, last_files)) = (halves(&self.memory), halves(&self.files));
        assert!(
            last <= first + first / 8 + room,
            "memory grew from {first} to {last} bytes"
        );
        assert!(
            last_files <= files + 8,
            "open files grew from {files} to {last_files}"
        );
    }
}

/// Samples periodically until stopped.
fn watch(pid: u32, every: Duration) -> (Arc<AtomicBool>, tokio::task::JoinHandle<Samples>) {
    let stop = Arc::<AtomicBool>::default();
    let stopping = Arc::clone(&stop);
    let watching = tokio::spawn(async move {
        let mut samples = Samples::default();
        while !stopping.load(Ordering::Relaxed) {
            samples.take(pid);
            sleep(every).await;
        }
        samples
    });
    (stop, watching)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_constant_for_very_large_backups() {
    let mebibytes = variable("S3_BACKUP_AGENT_TEST_LARGE_MIB", 256);
    let (server, large) = (Discard::start().await, Large::new("a1", mebibytes * MIB));
    let agent = Setup::of(server.location()).serve().await;
    let sample = Sample::new("a1", "Large", 10_240).announced_as(large.size());
    let created = agent.create("discard", &sample).await.json();
    let (upload_id, part_size) = (
        created["upload_id"].as_str().unwrap(),
        created["part_size"].as_u64().unwrap(),
    );
    let ((stop, watching), start) = (
        watch(agent.pid(), Duration::from_millis(100)),
        Instant::now(),
    );
    let path = format!("/v1/uploads/{upload_id}/content");
    let request = agent
        .request(http::Method::PUT, &path)
        .timeout(Duration::from_hours(12));
    let arrived = agent
        .send(request.body(reqwest::Body::wrap_stream(large.stream())))
        .await
        .unwrap();
    assert_eq!(arrived.status, 200, "{arrived:?}");
    let (crc32, crc64) = {
        let sums = large.sums.lock().unwrap();
        (sums.0.finalize(), sums.1.finalize())
    };
    let body = json!({"size": large.size(), "crc32": format!("{crc32:08x}")});
    let completed = agent
        .post(&format!("/v1/uploads/{upload_id}/complete"), &body)
        .await;
    assert_eq!(completed.status, 200, "{completed:?}");
    let seconds = start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let samples = watching.await.unwrap();
    println!(
        "{mebibytes} MiB in {seconds:.0} s, {} parts of {} MiB",
        server.most_parts(),
        part_size / MIB
    );
    samples.print("upload");
    let stored = server.object(&format!("backups/{}.tar", sample.stem()));
    assert_eq!(
        (stored.size, stored.crc64),
        (large.size(), crc64),
        "received bytes differ from sent bytes"
    );
    assert!(server.most_parts() <= 10_000, "{}", server.most_parts());
    // Four parts in flight, and one being filled.
    let limit = AT_REST + 5 * part_size;
    assert!(
        samples.memory.iter().all(|&memory| memory <= limit),
        "more than {} MiB",
        limit / MIB
    );
    // Whether all parts are held at the same moment depends on timing.
    samples.are_flat(8 * MIB + part_size);
    assert_eq!(agent.listed("discard").await, ["a1"]);
}

const WORKERS: usize = 3;

/// One location per user: an interrupted upload occupies a slot for two more seconds.
fn home(worker: usize) -> String {
    format!("home{worker}")
}

/// Concurrent work of several users, repeated until the deadline.
async fn works(client: Client, worker: usize, until: Instant) -> u64 {
    let (home, mut done) = (home(worker), 0);
    for turn in 0.. {
        if Instant::now() > until {
            break;
        }
        let id = format!("w{worker}n{}", turn % 3);
        let size = if turn % 4 == worker as u64 % 4 {
            12 * MIB
        } else {
            40_960
        };
        let sample = Sample::new(&id, "Soak", size);
        client.upload(&home, &sample).await;
        assert!(client.download(&home, &id).await.unwrap().body == sample.tar);
        // One interrupted upload, and one cancelled.
        let broken = Sample::new(&format!("{id}x"), "Soak", 12 * MIB);
        let upload_id = client.begin(&home, &broken).await;
        let mut sending = client.sending(&upload_id);
        sending.send(&broken.tar.slice(..6 << 20)).await;
        if turn % 2 == 0 {
            sending.gone().await;
        } else {
            client.cancel(&upload_id).await;
            drop(timeout(Duration::from_secs(30), sending.ended()).await);
        }
        client.list(&home).await;
        if turn % 3 == 2 {
            for number in 0..3 {
                client
                    .delete_backup(&home, &format!("w{worker}n{number}"))
                    .await;
            }
        }
        done += 1;
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_open_files_are_constant_under_mixed_load() {
    let seconds = variable("S3_BACKUP_AGENT_TEST_SOAK_SECONDS", 12);
    let bucket = garage::shared().bucket().await;
    let location = |worker| Location {
        id: home(worker),
        prefix: home(worker),
        ..Location::of(&bucket)
    };
    let agent = Setup::with((0..WORKERS).map(location)).serve().await;
    let until = Instant::now() + Duration::from_secs(seconds);
    let (stop, watching) = watch(agent.pid(), Duration::from_millis(200));
    let mut events = agent.events().await;
    let listening = tokio::spawn(async move { while events.next().await.is_some() {} });
    let done: u64 = join_all((0..WORKERS).map(|worker| works(agent.client.clone(), worker, until)))
        .await
        .iter()
        .sum();
    listening.abort();
    stop.store(true, Ordering::Relaxed);
    let samples = watching.await.unwrap();
    println!("{done} rounds in {seconds} s");
    samples.print("soak");
    assert!(done >= 3, "{done} rounds are too few");
    if seconds >= 60 {
        samples.are_flat(8 * MIB);
    }
    assert!(
        Samples::most(&samples.memory, 0..100) <= 2 * AT_REST + WORKERS as u64 * 2 * 5 * 5 * MIB
    );
}
