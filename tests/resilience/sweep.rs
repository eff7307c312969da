//! Abandoned uploads: their leftovers are swept after a day without activity, and nothing else is.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::lab::{
    Agent, Bucket, HalfSent, Imitation, Location, MIB, Proxy, Quirk, Sample, Server, Setup,
    eventually, garage, swept,
};

async fn behind_proxy(server: Server) -> (Proxy, Bucket, Setup) {
    let bucket = server.bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        prefix: "home".into(),
        ..server.location(&bucket)
    };
    (proxy, bucket, Setup::of(location))
}

async fn only_own_uploads_are_swept(server: Server) {
    let (proxy, bucket, setup) = behind_proxy(server).await;
    let ours = [
        "home/backups/Nightly #1 + ä.tar",
        "home/backups/.s3-backup-agent-check-1",
    ];
    let others = [
        "backups/elsewhere.tar",
        "home/backups/in/backups/below.tar",
        "home/backups/video.mkv",
        "home2/backups/other.tar",
    ];
    for key in ours.iter().chain(&others) {
        bucket.leave_unfinished(key).await;
    }
    proxy.make_older(25, 25);
    let agent = setup.serve().await;
    let sweep = swept(&agent).await;
    assert_eq!(
        (&sweep["unfinished"], &sweep["removed"]),
        (&json!(4), &json!(2)),
        "{sweep}"
    );
    assert_eq!(bucket.unfinished().await, others);
    assert!(
        agent.printed().contains("Nightly #1 + ä.tar"),
        "it reports the failure"
    );
    assert_eq!(
        agent.location("home").await["status"],
        "unknown",
        "a sweep does not change the location's status"
    );
}

#[tokio::test]
async fn only_own_uploads_are_swept_on_garage() {
    only_own_uploads_are_swept(Server::Garage).await;
}

#[tokio::test]
async fn only_own_uploads_are_swept_on_swift() {
    only_own_uploads_are_swept(Server::Swift).await;
}

#[tokio::test]
async fn recent_and_active_uploads_are_not_swept() {
    let (proxy, bucket, setup) = behind_proxy(Server::Garage).await;
    bucket
        .leave_unfinished("home/backups/of another instance.tar")
        .await;
    for (begun_hours, written_hours) in [(23, 23), (240, 0), (240, 23)] {
        proxy.make_older(begun_hours, written_hours);
        let agent = Setup::of(setup.locations[0].clone()).serve().await;
        let sweep = swept(&agent).await;
        assert_eq!(
            (&sweep["unfinished"], &sweep["removed"]),
            (&json!(1), &json!(0)),
            "{begun_hours} {written_hours}"
        );
    }
    assert_eq!(bucket.unfinished().await.len(), 1);
}

#[tokio::test]
async fn upload_in_flight_is_never_swept() {
    let (proxy, bucket, setup) = behind_proxy(Server::Garage).await;
    // The sweep at the start waits for the upload.
    let gate = proxy.hold(|request| request.method == "GET" && request.path.contains("uploads"));
    let agent = setup.serve().await;
    eventually("the sweep lists", async || proxy.faults_left() == 0).await;
    let sample = Sample::new("a1", "Slow", 20 * MIB);
    let HalfSent {
        upload_id,
        mut sending,
        rest,
        ..
    } = agent.half_sent("home", &sample, 10 * MIB).await;
    bucket.leave_unfinished("home/backups/dead.tar").await;
    proxy.make_older(25, 25);
    gate.add_permits(1);
    eventually("the dead upload is gone", async || {
        bucket.unfinished().await.len() == 1
    })
    .await;
    sending.send(&rest).await;
    assert_eq!(sending.ended().await.unwrap().status, 200);
    assert_eq!(agent.complete(&upload_id, &sample).await.status, 200);
    assert!(agent.download("home", "a1").await.unwrap().body == sample.tar);
}

/// Starts an agent to which everything on the server looks more than a day old; returns its sweep.
async fn swept_a_day_later(server: &Imitation) -> (Agent, Proxy, Value) {
    let proxy = Proxy::before(&server.endpoint()).await;
    proxy.make_older(25, 25);
    let location = Location {
        endpoint: proxy.endpoint(),
        ..server.location()
    };
    let agent = Setup::of(location).serve().await;
    let sweep = swept(&agent).await;
    (agent, proxy, sweep)
}

#[tokio::test]
async fn sweep_handles_more_than_one_page() {
    let server = Imitation::with([Quirk::PageSize(2)]).await;
    let bucket = server.bucket();
    for number in 0..5 {
        bucket
            .leave_unfinished(&format!("backups/{number} +#.tar"))
            .await;
    }
    let (_agent, _proxy, sweep) = swept_a_day_later(&server).await;
    assert_eq!(
        (&sweep["unfinished"], &sweep["removed"]),
        (&json!(5), &json!(5)),
        "{sweep}"
    );
    assert_eq!(server.unfinished(), Vec::<String>::new());
}

#[tokio::test]
async fn sweep_without_list_permission_relies_on_the_journal() {
    for (denied, expected) in [
        ("s3:ListBucketMultipartUploads", Value::Null),
        // Activity of the upload is unknown.
        ("s3:ListMultipartUploadParts", json!(1)),
        ("s3:AbortMultipartUpload", json!(1)),
    ] {
        let server = Imitation::with([Quirk::Denies(denied)]).await;
        server.bucket().leave_unfinished("backups/dead.tar").await;
        let (agent, _proxy, sweep) = swept_a_day_later(&server).await;
        assert_eq!(
            (&sweep["unfinished"], &sweep["removed"]),
            (&expected, &json!(0)),
            "{denied}: {sweep}"
        );
        let printed = agent.printed();
        let told = printed
            .matches("only leftovers that a journal names")
            .count();
        assert_eq!(told, usize::from(expected.is_null()), "{denied}: {printed}");
        assert_eq!(server.unfinished().len(), 1);
        agent
            .upload("other", &Sample::new("a1", "All the same", 12 * MIB))
            .await;
    }
}

#[tokio::test]
async fn abandoned_upload_is_swept_after_the_outage() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        outage_seconds: 2,
        ..Location::of(&bucket)
    };
    let mut agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "Away", 20 * MIB);
    let HalfSent {
        mut sending,
        mut events,
        rest,
        ..
    } = agent.half_sent("garage", &sample, 10 * MIB).await;
    proxy.set_away(true);
    sending.send(&rest).await;
    events.upload("failed").await;
    // The journal's mark follows the log line that the parts are left behind.
    eventually("the journal marks the parts as discarded", async || {
        let text = agent.journals().pop().map(fs::read_to_string);
        text.is_some_and(|text| text.unwrap().contains("unwanted"))
    })
    .await;
    agent.kill();
    proxy.set_away(false);
    assert_eq!(
        bucket.unfinished().await.len(),
        1,
        "test precondition not met"
    );
    let agent = Agent::restarted(agent).await;
    // Immediately, although it is not a day old.
    bucket.wait_until_empty().await;
    agent.wait_until_no_journal().await;
}

#[tokio::test]
async fn stale_temporary_files_are_removed_from_directories() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::directory(folder.path());
    let mut agent = Setup::of(location).serve().await;
    let sample = Sample::new("a1", "Killed", 20 * MIB);
    let HalfSent {
        sending: _sending, ..
    } = agent.half_sent("disk", &sample, 5 * MIB).await;
    agent.kill();
    let left = || {
        let names = fs::read_dir(folder.path().join("backups"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let killed = format!("{}.tar#1", sample.stem());
    assert_eq!(left(), [killed.as_str()], "test precondition not met");
    fs::write(folder.path().join("backups/notes#1"), "mine").unwrap();
    let mut agent = Agent::restarted(agent).await;
    assert_eq!(
        swept(&agent).await["removed"],
        0,
        "it may belong to another running agent"
    );
    agent.kill();
    let yesterday = SystemTime::now() - Duration::from_hours(25);
    for name in left() {
        let file = File::options()
            .write(true)
            .open(folder.path().join("backups").join(name))
            .unwrap();
        file.set_modified(yesterday).unwrap();
    }
    let agent = Agent::restarted(agent).await;
    assert_eq!(swept(&agent).await["removed"], 1);
    assert_eq!(left(), ["notes#1"]);
    agent.upload("disk", &sample).await;
    assert!(agent.download("disk", "a1").await.unwrap().body == sample.tar);
}
