//! The list of backups of all locations, and its actions.

use http::Method;
use serde_json::json;

use super::{Visitor, agent_and_page, text, with_page};
use crate::api::inventory::{backup, kinds};
use crate::lab::{
    Agent, Bucket, Fault, Location, MIB, Request, Sample, Setup, bucket_behind_proxy, eventually,
    garage,
};

/// An agent with two folders of one bucket.
async fn two_locations() -> (Agent, Bucket) {
    let bucket = garage::shared().bucket().await;
    let attic = Location {
        id: "attic".into(),
        prefix: "attic".into(),
        ..Location::of(&bucket)
    };
    let attic = attic.with("name", "The attic");
    let setup = with_page(Setup::with([Location::of(&bucket), attic]));
    (setup.serve().await, bucket)
}

/// The row of a backup.
fn row<'p>(page: &'p str, backup_id: &str) -> &'p str {
    let start = page
        .find(&format!("<li id=\"backup-{backup_id}\""))
        .unwrap();
    let end = page[start..].find("</li>").unwrap();
    &page[start..start + end]
}

#[tokio::test]
async fn backup_in_two_locations_is_one_row() {
    let (agent, _bucket) = two_locations().await;
    for location in ["garage", "attic"] {
        agent
            .upload(location, &Sample::new("a1", "Nightly", 40_960))
            .await;
    }
    agent
        .upload("attic", &Sample::new("b1", "Only there", 81_920))
        .await;
    let page = Visitor::of(&agent.setup).open().await;
    assert_eq!(page.matches("<li id=\"backup-").count(), 2, "{page}");
    let both = row(&page, "a1");
    assert_eq!(both.matches("class=\"chip\"").count(), 2, "{both}");
    for part in [
        "Nightly",
        "40.0 KiB",
        "Home Assistant 2026.11.0",
        "Not encrypted",
        "Manual",
        "Not verified yet",
        "locations/attic/backups/a1/delete",
        "locations/garage/backups/a1/content",
    ] {
        assert!(both.contains(part), "{part} is missing: {both}");
    }
    assert!(!both.contains("It is the only copy"), "{both}");
    let only = row(&page, "b1");
    assert!(
        only.contains("It is the only copy") && only.contains(">The attic</span>"),
        "{only}"
    );
    for part in ["160.0 KiB", "Backups: 2", "All is well"] {
        assert!(page.contains(part), "{part} is missing: {page}");
    }
}

#[tokio::test]
async fn incomplete_backups_are_counted_at_the_top() {
    let (agent, _bucket) = agent_and_page().await;
    for (index, kind) in kinds().iter().take(5).enumerate() {
        let sample = backup(&format!("k{index}"), kind);
        agent.upload("garage", &sample).await;
    }
    let page = Visitor::of(&agent.setup).open().await;
    assert!(page.contains("Incomplete backups: 2"), "{page}");
    assert!(!page.contains("All is well"), "{page}");
    for (id, is_incomplete) in [("k0", false), ("k4", true)] {
        let row = row(&page, id);
        assert_eq!(row.contains(">Incomplete</span>"), is_incomplete, "{row}");
    }
}

#[tokio::test]
async fn older_backups_appear_on_request() {
    let (agent, bucket) = agent_and_page().await;
    bucket.put_backups(23).await;
    agent.refreshed("garage").await;
    let visitor = Visitor::of(&agent.setup);
    let rows = |page: &str| page.matches("<li id=\"backup-").count();
    let page = visitor.open().await;
    assert_eq!(rows(&page), 10);
    assert!(page.contains("href=\"./?all=true#backups\""), "{page}");
    let page = text(&visitor.with(Method::GET, "/?all=true", &[]).await);
    assert_eq!(rows(&page), 23);
    assert!(!page.contains("Show all"), "{page}");
}

#[tokio::test]
async fn verification_marks_sound_and_damaged_backups() {
    let (agent, bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    let (sound, damaged) = (
        Sample::new("a1", "Sound", 40_960),
        Sample::new("b1", "Damaged later", 40_960),
    );
    agent.upload("garage", &sound).await;
    agent.upload("garage", &damaged).await;
    let key = format!("backups/{}.tar", damaged.stem());
    let mut bytes = bucket.get(&key).await.to_vec();
    bytes[20_000] ^= 1;
    bucket.put(&key, bytes).await;
    for id in ["a1", "b1"] {
        let path = format!("/locations/garage/backups/{id}/verify?mode=full");
        let started = visitor.press(&path).await;
        assert_eq!(
            (started.status, started.header("location")),
            (303, "../../../../#backups")
        );
    }
    eventually("both are verified", async || {
        let page = visitor.open().await;
        row(&page, "a1").contains("Verified") && row(&page, "b1").contains("tag bad")
    })
    .await;
    let page = visitor.open().await;
    let found = row(&page, "b1");
    assert!(
        found.contains("outcome bad") && found.contains("SHA-256"),
        "what is wrong: {found}"
    );
    assert!(!found.contains("tag good"), "{found}");
    for part in [
        "Something is wrong",
        "href=\"#backup-b1\"",
        "Damaged backups: 1",
    ] {
        assert!(page.contains(part), "{part} is missing: {page}");
    }
    assert!(!row(&page, "a1").contains("tag bad"), "{page}");
    // An unknown backup is an error, not a row.
    let unknown = visitor
        .press("/locations/garage/backups/c1/verify?mode=quick")
        .await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn result_belongs_to_the_archive_that_was_verified() {
    let (agent, bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    let sample = Sample::new("a1", "Damaged for a while", 40_960);
    agent.upload("garage", &sample).await;
    let key = format!("backups/{}.tar", sample.stem());
    let sound = bucket.get(&key).await.to_vec();
    let mut bytes = sound.clone();
    bytes[20_000] ^= 1;
    bucket.put(&key, bytes).await;
    let path = "/locations/garage/backups/a1/verify?mode=full";
    assert_eq!(visitor.press(path).await.status, 303);
    eventually("it is found damaged", async || {
        row(&visitor.open().await, "a1").contains("SHA-256")
    })
    .await;
    bucket.put(&key, sound).await;
    agent.refreshed("garage").await;
    let page = visitor.open().await;
    let repaired = row(&page, "a1");
    assert!(
        !repaired.contains("SHA-256") && !repaired.contains("tag bad"),
        "{repaired}"
    );
}

#[tokio::test]
async fn later_verification_replaces_what_the_page_found() {
    let (proxy, _bucket, location) = bucket_behind_proxy().await;
    let agent = with_page(Setup::of(location)).serve().await;
    let visitor = Visitor::of(&agent.setup);
    let sample = Sample::new("a1", "Out of reach", 40_960);
    agent.upload("garage", &sample).await;
    let denied = "<Error><Code>AccessDenied</Code><Message>Denied.</Message></Error>";
    proxy.fault(
        |request| request.reads(".tar"),
        Fault::Answer("403 Forbidden", denied),
    );
    let path = "/locations/garage/backups/a1/verify?mode=full";
    assert_eq!(visitor.press(path).await.status, 303);
    let failed = "AccessDenied";
    eventually("it fails", async || {
        row(&visitor.open().await, "a1").contains(failed)
    })
    .await;
    // The record of verifications has whole seconds.
    let by_home_assistant = "/v1/locations/garage/backups/a1/verify";
    eventually("a later one counts", async || {
        let ended = agent
            .post(by_home_assistant, &json!({"mode": "full"}))
            .await;
        assert_eq!(ended.status, 200);
        let page = visitor.open().await;
        !row(&page, "a1").contains(failed) && row(&page, "a1").contains("outcome good")
    })
    .await;
}

#[tokio::test]
async fn verification_can_be_stopped() {
    let bucket = garage::shared().bucket().await;
    let location = Location::of(&bucket).with("download_limit", "1 MiB");
    let agent = with_page(Setup::of(location)).serve().await;
    let visitor = Visitor::of(&agent.setup);
    agent
        .upload("garage", &Sample::new("a1", "Large", 12 * MIB))
        .await;
    let path = "/locations/garage/backups/a1";
    visitor.press(&format!("{path}/verify?mode=full")).await;
    eventually("it is running", async || {
        visitor.open().await.contains("Verifying")
    })
    .await;
    assert_eq!(visitor.press(&format!("{path}/stop")).await.status, 303);
    let page = visitor.open().await;
    assert!(
        !page.contains("Verifying") && page.contains("Not verified yet"),
        "{page}"
    );
}

#[tokio::test]
async fn deletion_is_confined_to_one_location() {
    let (agent, _bucket) = two_locations().await;
    let sample = Sample::new("a1", "Nightly", 40_960);
    for location in ["garage", "attic"] {
        agent.upload(location, &sample).await;
    }
    let visitor = Visitor::of(&agent.setup);
    let path = "/locations/garage/backups/a1/delete";
    let deleted = visitor.press(path).await;
    assert_eq!(
        (deleted.status, deleted.header("location")),
        (303, "../../../../#backups")
    );
    let page = visitor.open().await;
    let left = row(&page, "a1");
    assert!(
        left.contains("The attic") && !left.contains("locations/garage/"),
        "{left}"
    );
    assert_eq!(agent.listed("attic").await, ["a1"]);
    assert_eq!(agent.listed("garage").await, Vec::<String>::new());
    // A second press, as after a reload, does no harm.
    assert_eq!(visitor.press(path).await.status, 303);
    let nowhere = visitor.press("/locations/nowhere/backups/a1/delete").await;
    assert_eq!(nowhere.status, 404);
}

#[tokio::test]
async fn download_is_a_file_with_the_name_of_the_archive() {
    let (agent, _bucket) = agent_and_page().await;
    let sample = Sample::new("a1", "Über \"alles\"", 40_960);
    agent.upload("garage", &sample).await;
    let visitor = Visitor::of(&agent.setup);
    let path = "/locations/garage/backups/a1/content";
    let file = visitor
        .with(Method::GET, path, &[("sec-fetch-site", "same-origin")])
        .await;
    assert_eq!(file.status, 200);
    assert_eq!(file.body, sample.tar);
    let name = file.header("content-disposition");
    assert!(
        name.starts_with("attachment; filename*=UTF-8''%C3%9Cber") && name.ends_with("%2Etar"),
        "{name}"
    );
    let foreign = [("sec-fetch-site", "cross-site")];
    let refused = visitor.with(Method::GET, path, &foreign).await;
    assert_eq!(refused.status, 403);
    let unknown = "/locations/garage/backups/b1/content";
    assert_eq!(visitor.with(Method::GET, unknown, &[]).await.status, 404);
}

#[tokio::test]
async fn summary_shows_the_next_backup_that_home_assistant_told() {
    let (agent, _bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    assert!(!visitor.open().await.contains("Next backup"));
    let tell = async |next: serde_json::Value| {
        let body = json!({"next_backup": next}).to_string();
        agent.client.put("/v1/schedule", body).await
    };
    assert_eq!(tell(json!("2999-12-01T04:45:00+01:00")).await.status, 204);
    let page = visitor.open().await;
    assert!(
        page.contains("Next backup") && page.contains("2999-12-01 04:45"),
        "{page}"
    );
    assert_eq!(tell(json!(null)).await.status, 204);
    let page = visitor.open().await;
    assert!(page.contains("Next backup</dt><dd>None"), "{page}");
    tell(json!("tomorrow"))
        .await
        .is_problem(400, "invalid_request", &["next_backup"]);
    let empty = agent.client.put("/v1/schedule", "{}").await;
    empty.is_problem(400, "invalid_request", &["next_backup"]);
}

/// The ticks of the guide; none while it is hidden.
fn ticks_of(page: &str) -> Option<usize> {
    let start = page.find("<section id=\"guide\"").unwrap();
    let guide = &page[start..start + page[start..].find("</section>").unwrap()];
    let is_hidden = guide.lines().next().unwrap().contains("hidden");
    (!is_hidden).then(|| guide.matches("<li class=\"good\">").count())
}

#[tokio::test]
async fn guide_ticks_what_is_done_until_there_is_a_bucket() {
    let bucket = garage::shared().bucket().await;
    let agent = with_page(Setup::with([])).serve().await;
    let visitor = Visitor::of(&agent.setup);
    let ticks = async || ticks_of(&visitor.open().await);
    assert_eq!(ticks().await, Some(0));
    // The page itself is not Home Assistant.
    let page_events = visitor.0.page_events().await;
    assert_eq!(ticks().await, Some(0));
    drop(page_events);
    let events = agent.client.events().await;
    assert_eq!(ticks().await, Some(2), "installed and connected");
    let settings = json!({"provider": "garage", "endpoint": bucket.endpoint, "region": bucket.region,
        "bucket": bucket.name, "access_key_id": bucket.key_id, "secret_access_key": bucket.secret});
    agent.client.register("home", &settings).await;
    eventually("the bucket works", async || ticks().await.is_none()).await;
    // A backup is there, so the summary takes over when Home Assistant is away.
    agent
        .upload("home", &Sample::new("a1", "Nightly", 40_960))
        .await;
    drop(events);
    eventually("the disconnection is noticed", async || {
        visitor
            .open()
            .await
            .contains("Home Assistant is not connected")
    })
    .await;
    assert_eq!(ticks().await, None);
}

#[tokio::test]
async fn guide_asks_for_no_bucket_beside_one_that_is_slow_or_fails() {
    let (proxy, _bucket, location) = bucket_behind_proxy().await;
    let agent = with_page(Setup::of(location)).serve().await;
    let gate = proxy.hold(Request::is_list);
    let visitor = Visitor::of(&agent.setup);
    let page = visitor.open().await;
    assert!(page.contains("Loading the list"), "{page}");
    assert_eq!(ticks_of(&page), None, "nothing is known: {page}");
    proxy.set_away(true);
    gate.add_permits(1);
    let listed = agent.get("/v1/locations/garage/backups?refresh=true").await;
    assert_eq!(listed.status, 503);
    let page = visitor.open().await;
    assert!(page.contains("badge error"), "{page}");
    assert_eq!(ticks_of(&page), Some(1), "{page}");
    assert!(
        !page.contains("S3 Backup Agent &#62; Add a bucket"),
        "{page}"
    );
}
