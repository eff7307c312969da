//! The ingress page: content, access and buttons.

mod backups;
mod security;
mod weak_secret;

use std::net::{IpAddr, Ipv4Addr};

use http::Method;
use reqwest::redirect::Policy;

use crate::api::access::free_address;
use crate::lab::call::{Answer, Client, http};
use crate::lab::{
    Agent, Bucket, HalfSent, Location, MIB, Request, Sample, Setup, bucket_behind_proxy,
    eventually, garage,
};

const TOKEN: &str = "correct-horse-battery-staple";
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A browser.
#[derive(Clone)]
struct Visitor(Client);

impl Visitor {
    /// A browser on this machine.
    fn of(setup: &Setup) -> Self {
        Self::from(setup, Ipv4Addr::LOCALHOST.into())
    }

    /// A browser with another address.
    fn from(setup: &Setup, address: IpAddr) -> Self {
        let page = setup
            .listen
            .lines()
            .find_map(|line| line.strip_prefix("page = "))
            .unwrap();
        let http = http()
            .local_address(address)
            .redirect(Policy::none())
            .build()
            .unwrap();
        Self(Client::new(
            http,
            &format!("http://{}", page.trim_matches('"')),
        ))
    }

    async fn with(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.0.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.send(request).await.unwrap()
    }

    async fn open(&self) -> String {
        text(&self.with(Method::GET, "/", &[]).await)
    }

    /// Submits one of the page's forms.
    async fn press(&self, path: &str) -> Answer {
        self.with(Method::POST, path, &[("sec-fetch-site", "same-origin")])
            .await
    }

    /// The states of a check, as the script requests them: each is the HTML at that moment.
    async fn check(&self, location: &str) -> Vec<String> {
        let headers = [
            ("sec-fetch-site", "same-origin"),
            ("accept", "application/x-ndjson"),
        ];
        let answer = self
            .with(
                Method::POST,
                &format!("/locations/{location}/check"),
                &headers,
            )
            .await;
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        text(&answer)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// Adds the page.
fn with_page(setup: Setup) -> Setup {
    setup.listening(&format!("page = \"{}\"", free_address()))
}

async fn agent() -> Agent {
    agent_and_page().await.0
}

#[tokio::test]
async fn page_is_readable_without_scripts() {
    let agent = agent().await;
    for number in 0..22 {
        agent
            .upload(
                "garage",
                &Sample::new(&format!("a{number}"), &format!("Night {number}"), 40_960),
            )
            .await;
    }
    let html = Visitor::of(&agent.setup).open().await;
    for part in [
        "Night 21",
        "40.0 KiB",
        "2026.11.0",
        "datetime=\"2026-11-20T04:47",
        "Backups: 22",
        "Show all (22)",
        "All is well",
        "<section id=\"uploads\" aria-labelledby=\"uploads-title\" hidden>",
    ] {
        assert!(html.contains(part), "{part} is missing: {html}");
    }
    assert!(
        html.contains("<p class=\"badge ok\">OK</p>")
            && html.contains(&agent.setup.locations[0].bucket),
        "{html}"
    );
    assert!(
        html.contains("listening on unix://") && html.contains("uploaded"),
        "the log: {html}"
    );
    assert!(
        html.contains(env!("CARGO_PKG_VERSION"))
            && html.contains("aria-labelledby=\"problems-title\" hidden"),
        "{html}"
    );
}

async fn agent_and_page() -> (Agent, Bucket) {
    let bucket = garage::shared().bucket().await;
    (
        with_page(Setup::of(Location::of(&bucket))).serve().await,
        bucket,
    )
}

#[tokio::test]
async fn cancel_button_removes_the_upload_and_its_parts() {
    let (agent, bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    let sample = Sample::new("a1", "On its way", 20 * MIB);
    let HalfSent {
        upload_id,
        sending,
        mut events,
        ..
    } = agent.half_sent("garage", &sample, 10 * MIB).await;
    let html = visitor.open().await;
    for part in [
        "On its way",
        "value=\"50\"",
        "10.0 MiB",
        "20.0 MiB",
        &format!("uploads/{upload_id}/cancel"),
    ] {
        assert!(html.contains(part), "{part} is missing: {html}");
    }
    let cancelled = visitor.press(&format!("/uploads/{upload_id}/cancel")).await;
    assert_eq!(
        (cancelled.status, cancelled.header("location")),
        (303, "../../#uploads")
    );
    events.upload("cancelled").await;
    assert_eq!(sending.ended().await.unwrap().json()["code"], "cancelled");
    assert!(!visitor.open().await.contains("On its way</h3>"));
    bucket.wait_until_empty().await;
    // An ended upload is gone already.
    assert_eq!(
        visitor
            .press(&format!("/uploads/{upload_id}/cancel"))
            .await
            .status,
        303
    );
}

#[tokio::test]
async fn check_result_appears_step_by_step_on_the_page() {
    let (agent, bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    let lines = visitor.check("garage").await;
    let steps: Vec<_> = lines
        .iter()
        .map(|line| line.matches("<li").count())
        .collect();
    // Nothing, then one more step each time, then the full result.
    assert_eq!(steps, (0..=11).chain([11]).collect::<Vec<_>>());
    assert!(
        lines[3].contains("Checking") && lines[12].contains("Everything works"),
        "{lines:#?}"
    );
    assert!(visitor.open().await.contains("Everything works"));
    bucket.wait_until_empty().await;

    let checked = visitor.press("/locations/garage/check").await;
    assert_eq!(
        (checked.status, checked.header("location")),
        (303, "../../#location-garage")
    );
    assert_eq!(visitor.press("/locations/nowhere/check").await.status, 404);
}

#[tokio::test]
async fn failed_check_shows_the_hint() {
    let bucket = garage::shared().bucket().await;
    let location = Location {
        region: "mars-north-1".into(),
        ..Location::of(&bucket)
    };
    let agent = with_page(Setup::of(location)).serve().await;
    let visitor = Visitor::of(&agent.setup);
    let last = visitor.check("garage").await.pop().unwrap();
    for part in [
        "Wrong region",
        "The bucket is in another region: ",
        "Set the location&#39;s region",
        "region = garage",
    ] {
        assert!(last.contains(part), "{part} is missing: {last}");
    }
    let html = visitor.open().await;
    assert!(
        html.contains("<p class=\"badge error\">Wrong region</p>"),
        "{html}"
    );
    let german = [("accept-language", "de")];
    let html = text(&visitor.with(Method::GET, "/", &german).await);
    let (above_the_log, _) = html.split_once("<section id=\"log\"").unwrap();
    assert!(
        above_the_log.contains("Setze <em>Region</em> auf <code>garage</code>.")
            && !above_the_log.contains("lang=\"en\""),
        "{above_the_log}"
    );
}

#[tokio::test]
async fn backups_stay_listed_while_the_bucket_is_unreachable() {
    let (proxy, _bucket, location) = bucket_behind_proxy().await;
    let agent = with_page(Setup::of(location)).serve().await;
    agent
        .upload("garage", &Sample::new("a1", "Still here", 40_960))
        .await;
    agent.refreshed("garage").await;
    proxy.set_away(true);
    agent.refreshed("garage").await;
    let html = Visitor::of(&agent.setup).open().await;
    for part in [
        "Still here",
        "The storage is not reachable. List from",
        "badge error",
        "t reach the storage provider: ",
    ] {
        assert!(html.contains(part), "{part} is missing: {html}");
    }
}

#[tokio::test]
async fn slow_listing_does_not_block_the_page() {
    let (proxy, _bucket, location) = bucket_behind_proxy().await;
    let agent = with_page(Setup::of(location)).serve().await;
    let gate = proxy.hold(Request::is_list);
    let visitor = Visitor::of(&agent.setup);
    assert!(visitor.open().await.contains("Loading the list"));
    gate.add_permits(1);
    eventually("the list is there", async || {
        visitor.open().await.contains("No backups yet")
    })
    .await;
}

#[tokio::test]
async fn skipped_objects_are_named() {
    let (agent, bucket) = agent_and_page().await;
    bucket.put("backups/alone.metadata.json", "{}").await;
    let html = Visitor::of(&agent.setup).open().await;
    assert!(
        html.contains("Ignored files: 1") && html.contains("backups/alone.metadata.json"),
        "{html}"
    );
    let german = [("accept-language", "de")];
    let html = text(
        &Visitor::of(&agent.setup)
            .with(Method::GET, "/", &german)
            .await,
    );
    assert!(
        html.contains("Metadaten-Datei ohne Backup-Archiv"),
        "{html}"
    );
}

#[tokio::test]
async fn page_uses_the_browser_language() {
    let agent = agent().await;
    let visitor = Visitor::of(&agent.setup);
    let german = visitor
        .with(
            Method::GET,
            "/",
            &[("accept-language", "de-AT,de;q=0.9,en;q=0.5")],
        )
        .await;
    assert_eq!(
        (german.header("content-language"), german.header("vary")),
        ("de", "Accept-Language")
    );
    let html = text(&german);
    assert!(
        html.contains("<html lang=\"de\">") && html.contains("Alles in Ordnung"),
        "{html}"
    );
    let headers = [
        ("sec-fetch-site", "same-origin"),
        ("accept-language", "pl"),
        ("accept", "application/x-ndjson"),
    ];
    let checked = visitor
        .with(Method::POST, "/locations/garage/check", &headers)
        .await;
    assert!(text(&checked).contains("Wszystko działa"), "{checked:?}");
    let german = [("sec-fetch-site", "same-origin"), ("accept-language", "de")];
    let unknown = visitor
        .with(Method::POST, "/locations/nowhere/check", &german)
        .await;
    let answer = String::from_utf8_lossy(&unknown.body);
    assert!(answer.contains("wieder hinzu"), "{answer}");
    for (language, known) in [("de", true), ("en", false)] {
        let asked = [("accept-language", language)];
        let hints = visitor
            .with(Method::GET, "/hints.json", &asked)
            .await
            .json();
        assert_eq!(hints["storage_full"].is_string(), known, "{hints}");
    }
    let stranger = Visitor::from(&agent.setup, STRANGER);
    let refused = stranger
        .with(Method::GET, "/", &[("accept-language", "fr")])
        .await;
    assert!(
        String::from_utf8_lossy(&refused.body).contains("n'est pas accessible depuis"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn page_without_locations_explains_how_to_add_a_bucket() {
    let agent = with_page(Setup::with([])).serve().await;
    let visitor = Visitor::of(&agent.setup);
    let html = visitor.open().await;
    for part in [
        ">Local directory</h3>",
        "in a directory on this machine",
        "S3 Backup Agent &#62; Add a bucket",
        "[[locations]]",
    ] {
        assert!(html.contains(part), "{part} is missing: {html}");
    }
    let german = [("accept-language", "de")];
    let html = text(&visitor.with(Method::GET, "/", &german).await);
    assert!(html.contains(">Lokales Verzeichnis</h3>"), "{html}");
}

#[tokio::test]
async fn page_serves_events_and_diagnostics_of_the_api() {
    let agent = agent().await;
    let visitor = Visitor::of(&agent.setup);
    let mut events = visitor.0.page_events().await;
    agent
        .upload("garage", &Sample::new("a1", "Nightly", 40_960))
        .await;
    let complete = events.upload("complete").await;
    assert_eq!(
        (&complete["backup_id"], &complete["name"]),
        (&"a1".into(), &"Nightly".into())
    );
    let (mut here, mut there) = (
        visitor.0.get("/diagnostics").await.json(),
        agent.get("/v1/diagnostics").await.json(),
    );
    for report in [&mut here, &mut there] {
        for changing in ["generated_at", "uptime_seconds", "system", "log"] {
            report.as_object_mut().unwrap().remove(changing);
        }
    }
    assert_eq!(here, there);
}
