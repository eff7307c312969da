//! Moving house: from one bucket to another, on one server or between two.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use s3_backup_agent::agent::copy::{
    CopyOutcome as Outcome, CopyRequest as Request, Done, InsideLimits, Layout,
};
use s3_backup_agent::config::Config;
use serde_json::{Value, json};

use crate::lab::setup::Ran;
use crate::lab::{
    Bucket, Fault, Garage, Location, MIB, Proxy, Sample, Server, Setup, eventually, garage, sample,
};

fn old(bucket: &Bucket) -> Location {
    Location {
        id: "old".into(),
        prefix: "then".into(),
        ..Location::of(bucket)
    }
}

fn new(bucket: &Bucket) -> Location {
    Location {
        id: "new".into(),
        prefix: "now".into(),
        ..Location::of(bucket)
    }
}

/// Two buckets, the second one behind a proxy. For a client, that makes them two servers.
async fn two_servers() -> (Setup, Proxy, Bucket, Bucket) {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let proxy = Proxy::before(&to.endpoint).await;
    let setup = Setup::with([
        old(&from),
        Location {
            endpoint: proxy.endpoint(),
            ..new(&to)
        },
    ]);
    (setup, proxy, from, to)
}

async fn upload(setup: &Setup, location: &str, sample: &Sample) {
    let file = setup.path(&format!("{}.tar", sample.id()));
    fs::write(&file, &sample.tar).unwrap();
    setup
        .run(&["upload", location, file.to_str().unwrap()])
        .await
        .ended_with(0);
}

/// The lines of `--json`, the summary last.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn summary(ran: &Ran) -> [u64; 5] {
    let last = lines(ran).pop().unwrap();
    ["copied", "skipped", "failed", "left_out", "bytes"].map(|name| last[name].as_u64().unwrap())
}

/// Whether both buckets hold the same backups, byte for byte, each in its own folder.
async fn hold_the_same(from: &Bucket, to: &Bucket) {
    let (from, to) = (from.contents().await, to.contents().await);
    let stems = |contents: &[(String, bytes::Bytes)], folder: &str| -> Vec<String> {
        contents
            .iter()
            .map(|(key, _)| key.strip_prefix(folder).unwrap().to_owned())
            .collect()
    };
    assert_eq!(stems(&from, "then/"), stems(&to, "now/"));
    for ((key, one), (_, other)) in from.iter().zip(&to) {
        if key.ends_with(".metadata.json") {
            let plain = |json: &[u8]| {
                let mut value: Value = serde_json::from_slice(json).unwrap();
                value
                    .as_object_mut()
                    .unwrap()
                    .shift_remove("s3_backup_agent");
                value
            };
            assert_eq!(plain(one), plain(other), "{key}");
        } else {
            assert!(one == other, "{key} differs");
        }
    }
}

#[tokio::test]
async fn backups_move_to_another_server() {
    let (setup, proxy, from, to) = two_servers().await;
    let large = Sample::new("c3", "Large", 23 * MIB);
    upload(&setup, "old", &Sample::small("a1")).await;
    upload(&setup, "old", &large).await;
    from.put_backup(
        "then/",
        "renamed by hand/2026 #1 + 50%",
        &Sample::new("b2", "Foreign", 20_480),
    )
    .await;
    let before = from.contents().await;

    let ran = setup
        .run(&["copy", "old", "new", "--dry-run", "--json"])
        .await
        .ended_with(0);
    assert_eq!(summary(&ran), [3, 0, 0, 0, 40_960 + 20_480 + 23 * MIB]);
    assert!(to.keys().await.is_empty(), "a dry run wrote something");
    assert_eq!(
        proxy.count(|request| request.method != "GET"),
        0,
        "a dry run only reads"
    );

    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    assert_eq!(summary(&ran), [3, 0, 0, 0, 40_960 + 20_480 + 23 * MIB]);
    assert!(
        lines(&ran)[..3]
            .iter()
            .all(|line| line["result"] == "copied"),
        "{}",
        ran.text()
    );
    hold_the_same(&from, &to).await;
    assert_eq!(proxy.part_bytes(), 23 * MIB);
    let metadata = to
        .json(&format!("now/backups/{}.metadata.json", large.stem()))
        .await;
    assert_eq!(metadata["s3_backup_agent"]["sha256"], large.sha256());
    assert!(from.contents().await == before, "the source is only read");
    assert!(to.unfinished().await.is_empty());

    let ran = setup.run(&["copy", "old", "new"]).await.ended_with(0);
    assert!(
        ran.text().contains("a1: there already")
            && ran.text().contains("0 copied (0 B), 3 there already")
    );
    setup
        .run(&["download", "new", "c3", "-o", "back.tar"])
        .await
        .ended_with(0);
}

#[tokio::test]
async fn only_the_backups_that_are_named_are_copied() {
    let (setup, _proxy, _from, to) = two_servers().await;
    for id in ["a1", "b2", "c3"] {
        upload(&setup, "old", &Sample::new(id, id, 20_480)).await;
    }
    let ran = setup
        .run(&["copy", "old", "new", "c3", "zz", "a1", "--json"])
        .await
        .ended_with(1);
    assert_eq!(summary(&ran), [2, 0, 1, 0, 40_960]);
    let failed = lines(&ran)
        .into_iter()
        .find(|line| line["result"] == "failed")
        .unwrap();
    assert_eq!(
        (&failed["backup_id"], &failed["error"]["code"]),
        (&json!("zz"), &json!("backup_not_found"))
    );
    assert_eq!(to.keys().await.len(), 4);
    setup.run(&["copy", "old", "nowhere"]).await.ended_with(3);
    let ran = setup.run(&["copy", "old", "old"]).await.ended_with(1);
    assert!(ran.stderr.contains("same folder"), "{}", ran.stderr);
}

#[tokio::test]
async fn other_content_under_the_same_id_is_never_replaced() {
    let (setup, _proxy, _from, to) = two_servers().await;
    upload(&setup, "old", &Sample::new("a1", "Theirs", 20_480)).await;
    upload(&setup, "old", &Sample::new("b2", "Fine", 20_480)).await;
    let held = Sample::new("a1", "Ours", 20_480);
    upload(&setup, "new", &held).await;
    let ran = setup.run(&["copy", "old", "new"]).await.ended_with(1);
    assert!(
        ran.text().contains("a1: error") && ran.text().contains("b2: copied"),
        "{}",
        ran.text()
    );
    assert!(
        ran.text().contains("1 copied") && ran.text().contains("1 failed"),
        "{}",
        ran.text()
    );
    assert!(to.get(&format!("now/backups/{}.tar", held.stem())).await == held.tar);
    assert_eq!(to.keys().await.len(), 4);
}

#[tokio::test]
async fn what_cannot_be_read_may_be_a_backup_and_is_not_left_out() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let [source, target] = [
        Proxy::before(&from.endpoint).await,
        Proxy::before(&to.endpoint).await,
    ];
    let setup = Setup::with([
        Location {
            endpoint: source.endpoint(),
            ..old(&from)
        },
        Location {
            endpoint: target.endpoint(),
            ..new(&to)
        },
    ]);
    let refused = Fault::Answer(
        "403 Forbidden",
        "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>",
    );
    from.put_backup("then/", "one", &Sample::small("a1")).await;
    from.put_backup("then/", "other", &Sample::small("b2"))
        .await;
    to.put_backup("now/", "one", &Sample::small("a1")).await;
    to.put_backup("now/", "foreign", &Sample::small("c3")).await;
    for (proxy, unread) in [
        (&source, "other.metadata.json"),
        (&target, "foreign.metadata.json"),
    ] {
        for ids in [&[][..], &["b2"]] {
            proxy.fault(move |request| request.reads(unread), refused.clone());
            let ran = setup
                .run(&[&["copy", "old", "new"], ids].concat())
                .await
                .ended_with(1);
            assert!(
                ran.stderr.contains(unread) && ran.stderr.contains("No."),
                "{}",
                ran.stderr
            );
        }
        assert_eq!((proxy.faults_left(), to.keys().await.len()), (0, 4));
    }
    source.fault(|request| request.reads("other.metadata.json"), refused);
    let ran = setup
        .run(&["copy", "old", "new", "a1", "--json"])
        .await
        .ended_with(0);
    assert_eq!(
        summary(&ran)[..3],
        [0, 1, 0],
        "the one that was asked for can be read"
    );
}

#[tokio::test]
async fn damaged_backups_are_not_copied_and_hinder_nothing() {
    let (setup, _proxy, from, to) = two_servers().await;
    let damaged = Sample::new("a1", "Damaged", 23 * MIB);
    for sample in [&damaged, &Sample::small("b2")] {
        upload(&setup, "old", sample).await;
    }
    let mut tar = damaged.tar.to_vec();
    tar[20_000_000] ^= 1;
    from.put(&format!("then/backups/{}.tar", damaged.stem()), tar)
        .await;
    let cut_off = Sample::new("c3", "Cut off", 40_960);
    from.put_backup(
        "then/",
        "cut off",
        &cut_off.clone().with_tar(cut_off.tar.slice(..30_000)),
    )
    .await;
    from.put("then/backups/nonsense.metadata.json", "nonsense")
        .await;
    from.put("then/backups/nonsense.tar", "nonsense").await;
    let ran = setup.run(&["copy", "old", "new"]).await.ended_with(1);
    let text = ran.text();
    assert!(
        text.contains("a1: error") && text.contains("is damaged"),
        "{text}"
    );
    assert!(
        text.contains("c3: error") && text.contains("30000 bytes"),
        "{text}"
    );
    assert!(
        text.contains("left out: \"then/backups/nonsense.metadata.json\""),
        "{text}"
    );
    assert!(
        text.contains("1 copied (40.00 KiB), 0 there already, 2 failed, 1 left out"),
        "{text}"
    );
    let stem = format!("now/backups/{}", Sample::small("b2").stem());
    to.comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
}

#[tokio::test]
async fn on_one_server_the_storage_copies_by_itself() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let proxy = Proxy::before(&to.endpoint).await;
    let behind = |location: Location| Location {
        endpoint: proxy.endpoint(),
        ..location
    };
    let setup = Setup::with([behind(old(&from)), behind(new(&to))]);
    let (ours, name) = (
        Sample::new("a1", "Ours", 23 * MIB),
        "Fremd ä+b%20c #1 \"x\"",
    );
    upload(&setup, "old", &ours).await;
    from.put_backup("then/", name, &Sample::new("b2", "Foreign", 20_480))
        .await;
    let (reads, parts) = (
        || proxy.count(|request| request.reads(".tar")),
        proxy.part_bytes(),
    );
    let read = reads();
    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    assert!(
        lines(&ran)[..2]
            .iter()
            .all(|line| line["result"] == "copied_inside"),
        "{}",
        ran.text()
    );
    assert_eq!(
        (reads() - read, proxy.part_bytes() - parts),
        (0, 0),
        "a tar passed through the agent"
    );
    hold_the_same(&from, &to).await;
    let metadata = to
        .json(&format!("now/backups/{}.metadata.json", ours.stem()))
        .await;
    assert_eq!(
        metadata["s3_backup_agent"]["sha256"],
        ours.sha256(),
        "what is known is kept"
    );
    let metadata = to.json(&format!("now/backups/{name}.metadata.json")).await;
    assert_eq!(
        metadata.get("s3_backup_agent"),
        None,
        "what nobody has seen is not claimed"
    );
    for sample in [&ours, &Sample::new("b2", "Foreign", 20_480)] {
        setup
            .run(&["download", "new", sample.id(), "-o", "back.tar", "--force"])
            .await
            .ended_with(0);
        assert!(fs::read(setup.path("back.tar")).unwrap() == sample.tar);
    }
}

#[tokio::test]
async fn a_key_that_may_not_read_the_other_bucket_gets_its_backups_all_the_same() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let (key_id, secret) = garage::shared()
        .key_for(&to, json!({"read": true, "write": true}))
        .await;
    let setup = Setup::with([
        old(&from),
        Location {
            key_id,
            secret,
            ..new(&to)
        },
    ]);
    for id in ["a1", "b2"] {
        upload(&setup, "old", &Sample::new(id, id, 7 * MIB)).await;
    }
    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    assert!(
        lines(&ran)[..2]
            .iter()
            .all(|line| line["result"] == "copied"),
        "{}",
        ran.text()
    );
    assert_eq!(
        ran.stderr.matches("does not copy by itself").count(),
        1,
        "{}",
        ran.stderr
    );
    hold_the_same(&from, &to).await;
    to.comes_to_hold(
        &to.keys()
            .await
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    )
    .await;
}

/// Copies in this process, where the limits can be lowered.
async fn copied_in_parts(setup: &Setup) -> Vec<Outcome> {
    let config = Config::load(Some(&setup.path("agent.toml"))).unwrap();
    let agent = s3_backup_agent::agent::Agent::new(config.locations, &config.state_dir).unwrap();
    let inside = InsideLimits {
        single: 5 << 20,
        part_size: 5 << 20,
    };
    let (from, to) = ("old".into(), "new".into());
    let request = Request {
        from,
        layout: Layout::Agent,
        to,
        backup_ids: Vec::new(),
        inside,
    };
    let plan = agent.plan_copy(&request).await.unwrap();
    let copied = Arc::clone(&agent).copy(plan).collect().await;
    agent.stop(Duration::from_secs(10)).await;
    copied
}

#[tokio::test]
async fn what_is_too_large_for_one_request_is_copied_inside_in_parts_and_resumed() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let proxy = Proxy::before(&to.endpoint).await;
    let behind = |location: Location| Location {
        endpoint: proxy.endpoint(),
        outage_seconds: 1,
        ..location
    };
    let setup = Setup::with([
        behind(old(&from)),
        Location {
            concurrency: 1,
            ..behind(new(&to))
        },
    ]);
    let sample = Sample::new("a1", "Very large", 23 * MIB);
    upload(&setup, "old", &sample).await;
    let copied = |number| {
        proxy.count(|request| request.stores_part(number) && request.path.contains(&to.name))
    };
    // The storage goes away in the middle, for longer than the agent waits.
    let gate = proxy.hold(|request| request.stores_part(3) && request.length == 0);
    let away = async {
        eventually("two parts are copied", async || proxy.faults_left() == 0).await;
        proxy.set_away(true);
        gate.add_permits(1);
    };
    let (outcomes, ()) = tokio::join!(copied_in_parts(&setup), away);
    assert!(outcomes[0].result.is_err(), "the test would prove nothing");
    assert_eq!((to.keys().await.len(), to.unfinished().await.len()), (0, 1));
    proxy.set_away(false);
    let outcomes = copied_in_parts(&setup).await;
    assert_eq!(outcomes[0].result.as_ref().unwrap(), &Done::CopiedInside);
    assert_eq!(
        [1, 2, 4, 5].map(copied),
        [1, 1, 1, 1],
        "what was copied is not copied again"
    );
    hold_the_same(&from, &to).await;
    assert!(to.unfinished().await.is_empty());
    let metadata = to
        .json(&format!("now/backups/{}.metadata.json", sample.stem()))
        .await;
    assert_eq!(metadata["s3_backup_agent"]["sha256"], sample.sha256());
}

/// A copy that is ended by a signal when `is_enough`.
async fn ended_in_the_middle(setup: &Setup, signal: &str, is_enough: impl AsyncFn() -> bool) {
    let mut command = setup.command();
    command
        .args(["copy", "old", "new"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process: Child = command.spawn().unwrap();
    while !is_enough().await {
        assert!(
            process.try_wait().unwrap().is_none(),
            "the test would prove nothing: it has ended"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let kill = format!("kill -{signal} {}", process.id());
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    tokio::task::spawn_blocking(move || process.wait().unwrap())
        .await
        .unwrap();
}

/// 200 MiB; `scripts/move-large` asks for 6 GiB, which takes too long for every run of the tests.
fn large_size() -> u64 {
    std::env::var("S3_BACKUP_AGENT_TEST_MOVE_MIB").map_or(200, |mib| mib.parse().unwrap()) * MIB
}

#[tokio::test]
async fn a_large_copy_that_was_interrupted_goes_on_where_it_stopped() {
    let (server, size) = (Garage::new().await, large_size());
    let (from, to) = (garage::shared().bucket().await, server.bucket().await);
    let proxy = Proxy::before(&to.endpoint).await;
    let setup = Setup::with([
        old(&from),
        Location {
            endpoint: proxy.endpoint(),
            ..new(&to)
        },
    ]);
    let file = setup.path("large.tar");
    let sha256 = sample::write_large(&file, "a1", size);
    setup
        .run(&["upload", "old", file.to_str().unwrap()])
        .await
        .ended_with(0);
    fs::remove_file(&file).unwrap();
    let start = Instant::now();
    for (signal, enough) in [("KILL", size * 3 / 10), ("INT", size * 6 / 10)] {
        ended_in_the_middle(&setup, signal, async || proxy.part_bytes() >= enough).await;
        assert_eq!(
            (to.keys().await.len(), to.unfinished().await.len()),
            (0, 1),
            "after {signal}"
        );
    }
    setup.run(&["copy", "old", "new"]).await.ended_with(0);
    let twice = proxy.part_bytes() - size;
    println!(
        "{size} bytes, interrupted twice, in {:?}; {twice} bytes travelled twice",
        start.elapsed()
    );
    let keys = to.keys().await;
    assert_eq!((keys.len(), to.unfinished().await.len()), (2, 0));
    assert_eq!(to.sha256(&keys[1]).await, (size, sha256));
    // Each time, the four parts on their way and one that was being sent.
    assert!(twice <= 2 * 5 * 5 * MIB, "{twice} bytes travelled twice");
}

#[tokio::test]
async fn a_thousand_small_backups_arrive_although_the_copy_is_killed_in_between() {
    let server = Garage::new().await;
    let (from, to) = (garage::shared().bucket().await, server.bucket().await);
    let setup = Setup::with([old(&from), new(&to)]);
    let samples = (0..1000).map(|index| {
        Sample::new(
            &format!("id{index:04}"),
            &format!("Nightly {index}"),
            10_240,
        )
    });
    let put = |sample: Sample| {
        let from = &from;
        async move { from.put_backup("then/", &sample.stem(), &sample).await }
    };
    futures_util::stream::iter(samples)
        .map(put)
        .buffer_unordered(8)
        .collect::<()>()
        .await;
    for enough in [300, 1100] {
        ended_in_the_middle(&setup, "KILL", async || to.keys().await.len() >= enough).await;
    }
    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    let [copied, skipped, failed, left_out, _] = summary(&ran);
    assert_eq!((copied + skipped, failed, left_out), (1000, 0, 0));
    assert!(skipped >= 540, "what was there was copied again: {skipped}");
    // Under the same names: what a kill left half-way is taken for what it is.
    hold_the_same(&from, &to).await;
}

#[tokio::test]
async fn backups_move_from_a_bucket_into_a_directory_and_back() {
    let (from, to) = (
        garage::shared().bucket().await,
        garage::shared().bucket().await,
    );
    let setup = Setup::with([old(&from), new(&to)]);
    let toml = fs::read_to_string(setup.path("agent.toml")).unwrap();
    let folder = setup.path("disk");
    let disk = format!(
        "[[locations]]\nid = \"disk\"\nendpoint = \"file://{}\"\n",
        folder.display()
    );
    fs::write(setup.path("agent.toml"), toml + &disk).unwrap();
    for sample in [Sample::small("a1"), Sample::new("b2", "Large", 12 * MIB)] {
        upload(&setup, "old", &sample).await;
    }
    setup.run(&["copy", "old", "disk"]).await.ended_with(0);
    assert_eq!(fs::read_dir(folder.join("backups")).unwrap().count(), 4);
    setup.run(&["copy", "disk", "new"]).await.ended_with(0);
    hold_the_same(&from, &to).await;
}

#[tokio::test]
async fn a_server_of_another_maker_copies_by_itself_too() {
    let (from, to) = (Server::Swift.bucket().await, Server::Swift.bucket().await);
    let location = |id: &str, bucket: &Bucket| Location {
        id: id.into(),
        ..Server::Swift.location(bucket)
    };
    let setup = Setup::with([location("old", &from), location("new", &to)]);
    // The second one has several parts, and an ETag that is no MD5.
    for sample in [Sample::small("a1"), Sample::new("b2", "Large", 23 * MIB)] {
        upload(&setup, "old", &sample).await;
    }
    let ran = setup
        .run(&["copy", "old", "new", "--json"])
        .await
        .ended_with(0);
    assert_eq!(summary(&ran)[..3], [2, 0, 0], "{}", ran.text());
    assert_eq!(from.contents().await.len(), 4);
    for ((key, one), (_, other)) in from.contents().await.iter().zip(&to.contents().await) {
        assert!(
            key.ends_with(".metadata.json") || one == other,
            "{key} differs"
        );
    }
    let file = setup.path("back.tar");
    setup
        .run(&["download", "new", "b2", "-o", file.to_str().unwrap()])
        .await
        .ended_with(0);
}
