//! Access to the page, cross-site protection, and escaping.

use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{STRANGER, TOKEN, Visitor, agent, agent_and_page, text, with_page};
use crate::lab::{Location, MIB, Proxy, Sample, Setup, garage};

#[tokio::test]
async fn foreign_text_is_escaped() {
    let bad = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;";
    let location = Location::of(&garage::shared().bucket().await).with("name", bad);
    let agent = with_page(Setup::of(location)).serve().await;
    agent
        .upload("garage", &Sample::new("a1", bad, 40_960))
        .await;
    // Appears in the log, with the request.
    let path = format!(
        "/v1/locations/{}",
        utf8_percent_encode(bad, NON_ALPHANUMERIC)
    );
    assert_eq!(agent.get(&path).await.status, 404);
    let upload_id = agent.begin("garage", &Sample::new("a2", bad, 40_960)).await;
    let html = Visitor::of(&agent.setup).open().await;
    assert!(html.contains(&upload_id), "{html}");
    let escaped = "&#60;script&#62;alert(1)&#60;/script&#62;&#34;&#39;&#62;&#60;img src=x onerror=alert(2)&#62;&#38;amp;";
    // Location, backup, upload with its data-name, and a record.
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
async fn page_requires_an_allowed_address_or_the_token() {
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
    // A host name that another site pointed at this machine.
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
    assert_eq!(with(&guesser, TOKEN).await, 429, "guessing addresses wait");
    assert_eq!(
        (with(&stranger, TOKEN).await, with(&guest, "").await),
        (200, 200),
        "other addresses do not"
    );
    let bearer = [("authorization", &*format!("Bearer {TOKEN}"))];
    assert_eq!(stranger.with(Method::GET, "/", &bearer).await.status, 401);
}

#[tokio::test]
async fn additional_addresses_can_be_allowed() {
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
async fn cross_site_form_posts_are_refused() {
    let (agent, bucket) = agent_and_page().await;
    let visitor = Visitor::of(&agent.setup);
    let sample = Sample::new("a1", "On its way", 12 * MIB);
    let upload_id = agent.begin("garage", &sample).await;
    agent
        .upload("garage", &Sample::new("b1", "Stays", 40_960))
        .await;
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
        for path in [
            &*cancel,
            "/locations/garage/check",
            "/locations/garage/backups/b1/delete",
            "/locations/garage/backups/b1/verify?mode=quick",
            "/locations/garage/backups/b1/stop",
        ] {
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
    assert_eq!(agent.listed("garage").await, ["b1"]);
    agent.delete_backup("garage", "b1").await;
    bucket.wait_until_empty().await;
}

#[tokio::test]
async fn every_response_has_cross_site_protection_headers() {
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
async fn page_contains_no_secret() {
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
        // Pasted into the wrong field; the answer echoes it, its record does not.
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
        "precondition: a text was redacted: {seen}"
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
async fn page_is_not_served_over_plain_network_http() {
    let setup = Setup::with([]).listening("page = \"0.0.0.0:0\"");
    let ran = setup.run(&["serve"]).await.ended_with(2);
    assert!(
        ran.stderr.contains("listen.page") && ran.stderr.contains("unencrypted"),
        "{}",
        ran.stderr
    );
}
