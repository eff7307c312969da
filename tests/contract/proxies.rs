//! Proxies on the way to the server: SOCKS5, and those of the agent's environment.

use serde_json::Value;

use crate::lab::quirks::Certificate;
use crate::lab::socks::Socks;
use crate::lab::{Agent, Imitation, Location, MIB, Sample, Setup, garage};

/// A name that only the proxy knows.
const HIDDEN: &str = "storage.invalid";

async fn checked(agent: &Agent, location: &Location) -> Value {
    let answer = agent.post("/v1/locations/check", &location.json()).await;
    answer.json()
}

fn error(check: &Value) -> &Value {
    &check["steps"].as_array().unwrap().last().unwrap()["error"]
}

/// A location of Garage, with this host in its endpoint.
async fn garage_at(host: &str) -> Location {
    let location = Location::of(&garage::shared().bucket().await);
    Location {
        endpoint: location.endpoint.replace("127.0.0.1", host),
        ..location
    }
}

async fn main_job_succeeds(location: Location) {
    let id = location.id.clone();
    let agent = Setup::of(location.clone()).serve().await;
    let check = checked(&agent, &location).await;
    assert_eq!(check["ok"], true, "{check:#}");
    let sample = Sample::new("a1", "Through a proxy", 12 * MIB);
    agent.upload(&id, &sample).await;
    let download = agent.download(&id, "a1").await.unwrap();
    assert!(download.body == sample.tar, "the download differs");
    assert_eq!(agent.delete_backup(&id, "a1").await.status, 204);
}

#[tokio::test]
async fn socks5h_leaves_names_to_the_proxy() {
    let proxy = Socks::start(Some(("ada", "pass@word"))).await;
    let url = format!("socks5h://ada:pass%40word@{}", proxy.address());
    main_job_succeeds(garage_at(HIDDEN).await.with("proxy", &url)).await;
    assert_eq!(proxy.asked(), [HIDDEN]);
}

#[tokio::test]
async fn socks5_gets_addresses() {
    let proxy = Socks::start(None).await;
    let url = format!("socks5://{}", proxy.address());
    main_job_succeeds(garage_at("127.0.0.1").await.with("proxy", &url)).await;
    assert_eq!(proxy.asked(), ["127.0.0.1"]);
    let agent = Setup::with([]).serve().await;
    let check = checked(&agent, &garage_at(HIDDEN).await.with("proxy", &url)).await;
    assert_eq!(error(&check)["reason"], "host_unknown", "{check:#}");
}

#[tokio::test]
async fn tls_passes_through_socks() {
    let proxy = Socks::start(None).await;
    let server = Imitation::with_tls(Certificate::Good).await;
    let url = format!("socks5h://{}", proxy.address());
    main_job_succeeds(server.location().with("proxy", &url)).await;
    assert_eq!(proxy.asked(), ["127.0.0.1"]);
}

#[tokio::test]
async fn failure_of_a_socks_proxy_is_not_the_endpoints() {
    let open = Socks::start(None).await;
    let guarded = Socks::start(Some(("ada", "password"))).await;
    let agent = Setup::with([]).serve().await;
    let location = garage_at("127.0.0.1").await;
    let at = |user: &str, proxy: &Socks| {
        let url = format!("socks5h://{user}{}", proxy.address());
        location.clone().with("proxy", &url)
    };
    for (location, reason) in [
        (at("", &guarded), "proxy_failed"),
        (at("ada:wrong@", &guarded), "proxy_failed"),
        (
            location.clone().with("proxy", "socks5h://127.0.0.1:9"),
            "proxy_failed",
        ),
        // The server of an HTTP API speaks no SOCKS.
        (
            location
                .clone()
                .with("proxy", &location.endpoint.replace("http", "socks5h")),
            "proxy_failed",
        ),
        (
            Location {
                endpoint: "http://127.0.0.1:9".into(),
                ..at("", &open)
            },
            "connection_refused",
        ),
    ] {
        let check = checked(&agent, &location).await;
        assert_eq!(error(&check)["reason"], reason, "{check:#}");
        assert!(!check.to_string().contains("wrong@"), "{check:#}");
    }
}

#[tokio::test]
async fn environment_is_used_only_where_the_location_says_so() {
    let proxy = Socks::start(None).await;
    let url = format!("socks5h://{}", proxy.address());
    let agent = Setup::with([])
        .with_variable("ALL_PROXY", &url)
        .serve()
        .await;

    let location = garage_at("127.0.0.1").await;
    assert_eq!(checked(&agent, &location).await["ok"], true);
    assert!(proxy.asked().is_empty(), "a proxy that no setting names");

    let through_it = garage_at(HIDDEN).await.with("proxy", "environment");
    let check = checked(&agent, &through_it).await;
    assert_eq!(check["ok"], true, "{check:#}");
    assert_eq!(proxy.asked(), [HIDDEN]);

    let agent = Setup::with([])
        .with_variable("ALL_PROXY", &url)
        .with_variable("no_proxy", "localhost,127.0.0.0/8")
        .serve()
        .await;
    let check = checked(&agent, &location.with("proxy", "environment")).await;
    assert_eq!(check["ok"], true, "{check:#}");
    assert!(proxy.asked().is_empty(), "an excepted host");
}

#[tokio::test]
async fn unused_variable_is_named_where_a_proxy_may_be_needed() {
    let agent = Setup::with([])
        .with_variable("HTTP_PROXY", "http://127.0.0.1:9")
        .with_variable("NO_PROXY", "localhost")
        .serve()
        .await;
    for (host, is_named) in [("127.0.0.1", true), (HIDDEN, true), ("localhost", false)] {
        let location = Location {
            endpoint: format!("http://{host}:9"),
            ..garage_at(host).await
        };
        let check = checked(&agent, &location).await;
        let hint = error(&check)["hint"].as_str().unwrap();
        assert_eq!(hint.contains("HTTP_PROXY is set"), is_named, "{check:#}");
        assert_eq!(hint.contains("proxy to \"environment\""), is_named);
    }
}

#[tokio::test]
async fn unusable_variable_is_named() {
    let agent = Setup::with([])
        .with_variable("HTTP_PROXY", "socks4://127.0.0.1:9")
        .serve()
        .await;
    let location = garage_at("127.0.0.1").await.with("proxy", "environment");
    let check = checked(&agent, &location).await;
    assert_eq!(error(&check)["reason"], "proxy_failed", "{check:#}");
    let detail = error(&check)["detail"].as_str().unwrap();
    assert!(detail.contains("HTTP_PROXY is a SOCKS4 proxy"), "{detail}");
}

/// The variable is another program's, too: it stops one location, not the agent.
#[tokio::test]
async fn unusable_variable_fails_its_location_alone() {
    let through = Location {
        id: "through".into(),
        ..garage_at("127.0.0.1").await.with("proxy", "environment")
    };
    let direct = Location {
        id: "direct".into(),
        ..garage_at("127.0.0.1").await
    };
    let agent = Setup::with([through, direct])
        .with_variable("HTTP_PROXY", "socks4://127.0.0.1:9")
        .serve()
        .await;
    agent.upload("direct", &Sample::small("a1")).await;
    let listed = agent.get("/v1/locations/through/backups").await;
    listed.is_problem(502, "storage_error", &["HTTP_PROXY is a SOCKS4 proxy"]);
    let status = agent.location("through").await;
    assert_eq!(status["error"]["reason"], "proxy_failed", "{status:#}");
}
