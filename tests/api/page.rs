//! The page for people: what is on it, who may see it, and what its buttons do.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::api::access::free_address;
use crate::lab::call::{Answer, Client, http};
use crate::lab::{Agent, Bucket, Location, MIB, Proxy, Request, Sample, Setup, eventually, garage};

const TOKEN: &str = "correct-horse-battery-staple";
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Somebody who opens the page.
#[derive(Clone)]
struct Visitor(Client);

impl Visitor {
    /// The one on this machine.
    fn of(setup: &Setup) -> Self {
        Self::from(setup, Ipv4Addr::LOCALHOST.into())
    }

    /// One with another address.
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

    /// Presses a button, as the page's own forms do.
    async fn press(&self, path: &str) -> Answer {
        self.with(Method::POST, path, &[("sec-fetch-site", "same-origin")])
            .await
    }

    /// The lines of a check, as the script asks for them: each is the HTML at that moment.
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
    with_page(Setup::of(Location::of(&garage::shared().bucket().await)))
        .serve()
        .await
}

#[tokio::test]
async fn what_there_is_can_be_read_without_a_script() {
    let agent = agent().await;
    for number in 0..12 {
        agent
            .upload(
                "garage",
                &Sample::new(&format!("a{number}"), &format!("Night {number}"), 40_960),
            )
            .await;
    }
    let html = Visitor::of(&agent.setup).open().await;
    for part in [
        "Night 0",
        "40.0 KiB",
        "datetime=\"2026-11-20T04:47",
        "Show 2 older backups",
        "No uploads in progress",
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
        html.contains(env!("CARGO_PKG_VERSION")) && !html.contains("problems-title"),
        "{html}"
    );
}

#[tokio::test]
async fn nothing_that_others_wrote_becomes_html() {
    let bad = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;";
    let location = Location::of(&garage::shared().bucket().await).with("name", bad);
    let agent = with_page(Setup::of(location)).serve().await;
    agent
        .upload("garage", &Sample::new("a1", bad, 40_960))
        .await;
    // Comes into the log, with what was asked for.
    let path = format!(
        "/v1/locations/{}",
        utf8_percent_encode(bad, NON_ALPHANUMERIC)
    );
    assert_eq!(agent.get(&path).await.status, 404);
    let upload_id = agent.begin("garage", &Sample::new("a2", bad, 40_960)).await;
    let html = Visitor::of(&agent.setup).open().await;
    assert!(html.contains(&upload_id), "{html}");
    let escaped = "&#60;script&#62;alert(1)&#60;/script&#62;&#34;&#39;&#62;&#60;img src=x onerror=alert(2)&#62;&#38;amp;";
    // The location, the backup, the upload with its data-name, and a record.
    assert!(html.matches(escaped).count() >= 4, "{html}");
    assert_eq!(
        html.matches("<script").count(),
        1,
        "the page's own is the only one: {html}"
    );
    assert_eq!(html.matches("<img").count(), 1, "{html}");
    assert!(!html.contains("style="), "{html}");
}

#[tokio::test]
async fn who_is_neither_at_a_right_address_nor_has_the_token_sees_nothing() {
    let open = agent().await;
    let (guest, stranger) = (
        Visitor::of(&open.setup),
        Visitor::from(&open.setup, STRANGER),
    );
    for path in ["/", "/page.js", "/events", "/diagnostics", "/nothing"] {
        let refused = stranger.with(Method::GET, path, &[]).await;
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
        assert!(
            String::from_utf8_lossy(&refused.body).contains("not open to 127.0.0.2"),
            "{refused:?}"
        );
    }
    assert_eq!(stranger.press("/locations/garage/check").await.status, 403);
    assert_eq!(guest.with(Method::GET, "/nothing", &[]).await.status, 404);
    // A name that another site has pointed here.
    let rebound = guest
        .with(Method::GET, "/", &[("host", "evil.example.com")])
        .await;
    assert_eq!(rebound.status, 403, "{rebound:?}");

    let closed = with_page(Setup::of(Location::of(&garage::shared().bucket().await)));
    let closed = closed
        .listening(&format!("token = \"{TOKEN}\""))
        .keeping_secret(TOKEN)
        .serve()
        .await;
    let (guest, stranger) = (
        Visitor::of(&closed.setup),
        Visitor::from(&closed.setup, STRANGER),
    );
    assert_eq!(guest.with(Method::GET, "/", &[]).await.status, 200);
    let asked = stranger.with(Method::GET, "/", &[]).await;
    assert_eq!(
        (
            asked.status,
            asked.header("www-authenticate").starts_with("Basic realm=")
        ),
        (401, true),
        "{asked:?}"
    );
    let basic = |password: &str| format!("Basic {}", BASE64.encode(format!(":{password}")));
    let with = async |who: &Visitor, password: &str| {
        who.with(Method::GET, "/", &[("authorization", &basic(password))])
            .await
            .status
    };
    assert_eq!(with(&stranger, TOKEN).await, 200);
    let guesser = Visitor::from(&closed.setup, Ipv4Addr::new(127, 0, 0, 3).into());
    for _ in 0..20 {
        assert_eq!(with(&guesser, "guessed").await, 401);
    }
    assert_eq!(with(&guesser, TOKEN).await, 429, "who guesses has to wait");
    assert_eq!(
        (with(&stranger, TOKEN).await, with(&guest, "").await),
        (200, 200),
        "others do not"
    );
    let bearer = [("authorization", &*format!("Bearer {TOKEN}"))];
    assert_eq!(stranger.with(Method::GET, "/", &bearer).await.status, 401);
}

#[tokio::test]
async fn other_addresses_can_be_let_in() {
    let bucket = garage::shared().bucket().await;
    let setup =
        with_page(Setup::of(Location::of(&bucket))).listening("page_from = [\"127.0.0.2\"]");
    let agent = setup.serve().await;
    assert_eq!(
        Visitor::from(&agent.setup, STRANGER)
            .with(Method::GET, "/", &[])
            .await
            .status,
        200
    );
    assert_eq!(
        Visitor::of(&agent.setup)
            .with(Method::GET, "/", &[])
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn another_site_cannot_press_a_button() {
    let (agent, bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    let sample = Sample::new("a1", "On its way", 12 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    let cancel = format!("/uploads/{upload_id}/cancel");
    for headers in [
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil.example.com"),
        ][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example.com")],
        &[("origin", "null")],
        &[],
    ] {
        for path in [&*cancel, "/locations/garage/check"] {
            assert_eq!(
                visitor.with(Method::POST, path, headers).await.status,
                403,
                "{path} {headers:?}"
            );
        }
    }
    let foreign = [("sec-fetch-site", "cross-site")];
    for path in ["/events?log=trace", "/diagnostics", "/page.js"] {
        assert_eq!(
            visitor.with(Method::GET, path, &foreign).await.status,
            403,
            "{path}"
        );
    }
    assert_eq!(visitor.with(Method::GET, &cancel, &[]).await.status, 405);
    assert_eq!(
        agent.get("/v1/uploads").await.json()["uploads"][0]["upload_id"],
        upload_id.as_str()
    );
    assert!(
        !Visitor::of(&agent.setup)
            .open()
            .await
            .contains("Everything works"),
        "no check was made"
    );
    bucket.comes_to_be_empty().await;
}

async fn agent_and_page() -> (Agent, Bucket) {
    let bucket = garage::shared().bucket().await;
    (
        with_page(Setup::of(Location::of(&bucket))).serve().await,
        bucket,
    )
}

#[tokio::test]
async fn cancel_removes_an_upload_and_what_it_stored() {
    let (agent, bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    let sample = Sample::new("a1", "On its way", 20 * MIB);
    let mut events = agent.events().await;
    let upload_id = agent.begin("garage", &sample).await;
    let mut sending = agent.sending(&upload_id);
    sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
    events
        .until(|event| event["stored_bytes"].as_u64() >= Some(10 * MIB))
        .await;
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
    bucket.comes_to_be_empty().await;
    // One that has ended is gone already, as it should be.
    assert_eq!(
        visitor
            .press(&format!("/uploads/{upload_id}/cancel"))
            .await
            .status,
        303
    );
}

#[tokio::test]
async fn a_check_is_told_step_by_step_and_stays_on_the_page() {
    let (agent, bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    let lines = visitor.check("garage").await;
    let steps: Vec<_> = lines
        .iter()
        .map(|line| line.matches("<li").count())
        .collect();
    // Nothing, then one step more each time, then the whole once more.
    assert_eq!(steps, (0..=11).chain([11]).collect::<Vec<_>>());
    assert!(
        lines[3].contains("Checking") && lines[12].contains("Everything works"),
        "{lines:#?}"
    );
    assert!(visitor.open().await.contains("Everything works"));
    bucket.comes_to_be_empty().await;

    let checked = visitor.press("/locations/garage/check").await;
    assert_eq!(
        (checked.status, checked.header("location")),
        (303, "../../#location-garage")
    );
    assert_eq!(visitor.press("/locations/nowhere/check").await.status, 404);
}

#[tokio::test]
async fn a_check_that_fails_says_what_helps() {
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
}

#[tokio::test]
async fn a_bucket_that_is_away_does_not_hide_what_was_there() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
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
async fn a_list_that_is_late_does_not_keep_the_page() {
    let bucket = garage::shared().bucket().await;
    let proxy = Proxy::before(&bucket.endpoint).await;
    let location = Location {
        endpoint: proxy.endpoint(),
        ..Location::of(&bucket)
    };
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
async fn left_out_objects_are_named() {
    let (agent, bucket) = agent_and_page().await;
    bucket.put("backups/alone.metadata.json", "{}").await;
    let html = Visitor::of(&agent.setup).open().await;
    assert!(
        html.contains("Ignored files: 1") && html.contains("backups/alone.metadata.json"),
        "{html}"
    );
}

#[tokio::test]
async fn the_page_speaks_the_persons_language() {
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
        html.contains("<html lang=\"de\">") && html.contains("Keine laufenden Uploads."),
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
    let stranger = Visitor::from(&agent.setup, STRANGER);
    let refused = stranger
        .with(Method::GET, "/", &[("accept-language", "fr")])
        .await;
    assert!(
        String::from_utf8_lossy(&refused.body).contains("n'est pas ouverte"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn where_nothing_is_configured_the_page_says_where_to_add_a_bucket() {
    let agent = with_page(Setup::with([])).serve().await;
    let html = Visitor::of(&agent.setup).open().await;
    for part in [
        "in a directory on this machine",
        "S3 Backup Agent &#62; Add a bucket",
        "[[locations]]",
    ] {
        assert!(html.contains(part), "{part} is missing: {html}");
    }
}

#[tokio::test]
async fn events_and_diagnostics_are_the_protocols_own() {
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

#[tokio::test]
async fn every_answer_keeps_other_sites_out() {
    let agent = agent().await;
    let visitor = Visitor::of(&agent.setup);
    for path in [
        "/",
        "/page.css",
        "/page.js",
        "/icon.svg",
        "/diagnostics",
        "/nothing",
    ] {
        let answer = visitor.with(Method::GET, path, &[]).await;
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'self'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            "same-origin",
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
    let html = visitor.open().await;
    let addresses = html
        .split(['"', '\''])
        .filter(|text| text.starts_with('/') || text.contains("://"));
    let addresses: Vec<_> = addresses
        .filter(|text| !text.contains(' ') && !text.starts_with("http://127.0.0.1"))
        .collect();
    assert_eq!(
        addresses,
        Vec::<&str>::new(),
        "an address that is not relative"
    );
}

#[tokio::test]
async fn no_secret_is_on_the_page() {
    let bucket = garage::shared().bucket().await;
    let customer_key = BASE64.encode([9; 32]);
    let (session, password) = ("planted/session+token=", "planted\"p&ss<word");
    let encoded = utf8_percent_encode(password, NON_ALPHANUMERIC).to_string();
    let proxy = Proxy::before(&bucket.endpoint).await;
    let way = proxy
        .endpoint()
        .replace("http://", &format!("http://home:{encoded}@"));
    let location = Location {
        prefix: "folder".into(),
        ..Location::of(&bucket)
    };
    let location = location
        .with("name", &format!("Called {}", bucket.secret))
        .with("session_token", session)
        .with("encryption", "SSE-C")
        .with("encryption_key", &customer_key)
        .with("proxy", &way);
    let setup = with_page(Setup::of(location))
        .listening(&format!("token = \"{TOKEN}\""))
        .keeping_secret(TOKEN);
    let agent = setup.serve().await;
    let client = agent.client.clone().with_token(TOKEN);
    let registered = json!({"name": "planted-registered", "endpoint": "http://127.0.0.1:9", "bucket": "nowhere",
        "access_key_id": "PLANTEDKEYID", "secret_access_key": "planted-registered", "prefix": session});
    client
        .put("/v1/locations/away", registered.to_string())
        .await;
    for secret in [&*bucket.secret, &customer_key, session, password, TOKEN] {
        // Pasted into the wrong place; the answer repeats it, the record of it does not.
        let path = format!(
            "/v1/locations/{}",
            utf8_percent_encode(secret, NON_ALPHANUMERIC)
        );
        client.request(Method::GET, &path).send().await.unwrap();
    }
    for (id, secret) in [("b1", &*customer_key), ("b2", session), ("b3", password)] {
        client
            .begin("garage", &Sample::new(id, secret, 40_960))
            .await;
    }
    let visitor = Visitor::of(&agent.setup);
    let mut seen = visitor.open().await;
    seen += &visitor.check("garage").await.concat();
    seen += &visitor.check("away").await.concat();
    seen += &visitor.open().await;
    seen += &text(&visitor.with(Method::GET, "/diagnostics", &[]).await);
    assert!(
        seen.contains("Called ***") && seen.matches("***").count() > 8,
        "nothing was hidden, so this proves nothing: {seen}"
    );
    let escaped = |secret: &str| {
        secret
            .replace('&', "&#38;")
            .replace('<', "&#60;")
            .replace('"', "&#34;")
    };
    for secret in [
        &*bucket.secret,
        &customer_key,
        session,
        password,
        &encoded,
        TOKEN,
        "planted-registered",
        "PLANTEDKEYID",
    ] {
        for form in [
            secret.to_owned(),
            escaped(secret),
            Value::from(secret).to_string().trim_matches('"').to_owned(),
        ] {
            assert!(!seen.contains(&form), "{form} is on the page");
        }
    }
}

#[tokio::test]
async fn the_page_is_not_served_unencrypted_over_a_network() {
    let setup = Setup::with([]).listening("page = \"0.0.0.0:0\"");
    let ran = setup.run(&["serve"]).await.ended_with(2);
    assert!(
        ran.stderr.contains("listen.page") && ran.stderr.contains("unencrypted"),
        "{}",
        ran.stderr
    );
}
