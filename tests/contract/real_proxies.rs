//! nginx and `HAProxy` in front of Garage, configured as users have them.

use serde_json::Value;

use crate::lab::call::content_path;
use crate::lab::front::Front;
use crate::lab::{Agent, Bucket, Garage, Location, MIB, Sample, Setup, eventually, garage};

/// What every guide to a proxy in front of S3 says.
const PASS: &str = "proxy_pass http://storage; proxy_set_header Host $http_host;";

/// Lets requests of any size pass.
const UNLIMITED: &str = "client_max_body_size 0;";

/// An agent behind a proxy.
struct Behind {
    front: Front,
    location: Location,
    agent: Agent,
    bucket: Bucket,
}

impl Behind {
    async fn nginx(server: &str) -> Self {
        let bucket = garage::shared().bucket().await;
        let front = Front::nginx(&bucket.endpoint, server).await;
        Self::of(front, bucket).await
    }

    async fn of(front: Front, bucket: Bucket) -> Self {
        let location = Location {
            endpoint: front.endpoint(),
            ..Location::of(&bucket)
        };
        Self {
            front,
            agent: Setup::of(location.clone()).verbose().serve().await,
            location,
            bucket,
        }
    }

    async fn check(&self) -> Value {
        let settings = self.location.json();
        self.agent
            .post("/v1/locations/check", &settings)
            .await
            .json()
    }

    /// The error of the check's last step.
    async fn check_fails(&self) -> Value {
        let mut check = self.check().await;
        assert_eq!(check["ok"], false, "{check:#}");
        check["steps"].as_array_mut().unwrap().pop().unwrap()["error"].take()
    }

    /// Checks, uploads, lists, restores and deletes.
    async fn main_job_succeeds_for(&self, sample: &Sample) {
        let check = self.check().await;
        assert_eq!(check["ok"], true, "{check:#}");
        self.agent.upload("garage", sample).await;
        let stem = format!("backups/{}", sample.stem());
        self.bucket.wait_until_only(&stem, sample).await;
        assert_eq!(self.agent.listed("garage").await, [sample.id()]);
        let restored = self.agent.download("garage", sample.id()).await.unwrap();
        assert!(restored.body == sample.tar, "the download differs");
        let deleted = self.agent.delete_backup("garage", sample.id()).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        self.bucket.wait_until_empty().await;
    }
}

/// Several ranges of a download.
fn sample() -> Sample {
    Sample::new("a1", "Before the update", 22 * MIB)
}

/// The cache turns HEAD into GET, drops ranges and conditions, and compares `ETag`s itself.
async fn behind_cache(others: &str) -> Behind {
    let cache = "proxy_cache tars; proxy_cache_valid 200 1h;";
    Behind::nginx(&format!(
        "{UNLIMITED} location / {{ {PASS} }} location ~ \\.tar$ {{ {PASS} {cache} {others} }}"
    ))
    .await
}

#[tokio::test]
async fn nginx_that_caches_tars() {
    let keeps_404 = "proxy_cache_valid 404 1m;";
    let weak = "proxy_hide_header ETag; add_header ETag W/$upstream_http_etag;";
    for others in ["", keeps_404, weak] {
        println!("cache with {others:?}");
        let behind = behind_cache(others).await;
        behind.main_job_succeeds_for(&sample()).await;
        // The cache still has the probe of the first check.
        let second = Sample::new("b2", "After the update", 23 * MIB);
        behind.main_job_succeeds_for(&second).await;
    }
}

/// The cache still has the tar of a deleted backup, whose name another one gets.
#[tokio::test]
async fn cached_tar_of_a_deleted_backup_is_never_restored_as_another() {
    for (others, size) in [
        ("", 22 * MIB),
        ("proxy_cache_valid 404 1m;", 22 * MIB),
        ("proxy_cache_valid 404 1m;", 23 * MIB),
    ] {
        println!("cache with {others:?}, {size} bytes");
        let behind = behind_cache(others).await;
        behind.main_job_succeeds_for(&sample()).await;
        let second = Sample::new("b2", "Before the update", size);
        assert_eq!(second.filename(), sample().filename());
        behind.agent.upload("garage", &second).await;
        // A broken body is an error.
        if let Ok(restored) = behind.agent.download("garage", "b2").await {
            assert!(restored.status != 200 || restored.body == second.tar);
        }
    }
}

#[tokio::test]
async fn nginx_with_its_default_limit_of_body_size() {
    let behind = Behind::nginx(&format!("location / {{ {PASS} }}")).await;
    let error = behind.check_fails().await;
    assert_eq!(error["reason"], "body_too_large", "{error:#}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("client_max_body_size"), "{hint}");
    assert!(hint.contains("part_size"), "{hint}");

    for sample in [Sample::new("a1", "One part", 3 * MIB), sample()] {
        let upload_id = behind.agent.begin("garage", &sample).await;
        let mut ended = behind.agent.content(&upload_id, sample.tar.clone()).await;
        if ended.status == 200 {
            ended = behind.agent.complete(&upload_id, &sample).await;
        }
        ended.is_problem(502, "storage_error", &["413"]);
        assert_eq!(ended.json()["reason"], "body_too_large", "{ended:?}");
        behind.bucket.wait_until_empty().await;
    }
    assert!(behind.agent.listed("garage").await.is_empty());
}

#[tokio::test]
async fn nginx_that_denies_dotfiles() {
    let behind = Behind::nginx(&format!(
        "{UNLIMITED} location / {{ {PASS} }} location ~ /\\. {{ deny all; }}"
    ))
    .await;
    behind.main_job_succeeds_for(&sample()).await;
    assert_eq!(
        behind.front.requests_with("/."),
        0,
        "a name starts with a dot"
    );
}

/// nginx sends the upstream's name, unless it is told to pass the client's.
#[tokio::test]
async fn nginx_that_changes_the_host_header() {
    let behind = Behind::nginx("location / { proxy_pass http://storage; }").await;
    let error = behind.check_fails().await;
    assert_eq!(error["code"], "storage_auth", "{error:#}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("proxy_set_header Host $http_host"), "{hint}");
}

#[tokio::test]
async fn haproxy_in_tcp_mode() {
    let bucket = garage::shared().bucket().await;
    let front = Front::haproxy(&bucket.endpoint).await;
    let behind = Behind::of(front, bucket).await;
    behind.main_job_succeeds_for(&sample()).await;
}

/// Without its server, `HAProxy` accepts connections and closes them; without itself, they are refused.
#[tokio::test]
async fn upload_and_download_survive_restarts_behind_haproxy() {
    let garage = Garage::new().await;
    let bucket = garage.bucket().await;
    let front = Front::haproxy(&bucket.endpoint).await;
    let behind = Behind::of(front, bucket).await;
    let Behind {
        front,
        agent,
        bucket,
        ..
    } = &behind;
    let retried = async |times: usize| {
        eventually("a request is retried", async || {
            agent.printed().matches("retrying").count() > times
        })
        .await;
        agent.printed().matches("retrying").count()
    };

    let sample = Sample::new("a1", "Patient", 60 * MIB);
    let restarts = async {
        garage.kill();
        let times = retried(0).await;
        front.kill();
        retried(times).await;
        garage.start().await;
        front.start().await;
    };
    agent.upload_through("garage", &sample, restarts).await;
    let stem = format!("backups/{}", sample.stem());
    bucket.wait_until_only(&stem, &sample).await;

    let mut answer = agent
        .request(http::Method::GET, &content_path("garage", "a1"))
        .send()
        .await
        .unwrap();
    let mut body = answer.chunk().await.unwrap().unwrap().to_vec();
    let times = agent.printed().matches("retrying").count();
    front.kill();
    let rest = async {
        while let Some(chunk) = answer.chunk().await.unwrap() {
            body.extend_from_slice(&chunk);
        }
    };
    let restart = async {
        retried(times).await;
        front.start().await;
    };
    tokio::join!(rest, restart);
    assert!(body == sample.tar, "the download differs after the restart");
}
