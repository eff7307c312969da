//! A lying bucket: the agent names the problem, uses bounded memory and keeps working.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::lab::agent::Agent;
use crate::lab::liar::{Liar, Lie};
use crate::lab::{Fault, MIB, Sample, Setup, agent_behind_proxy, eventually};

/// Memory bound of an agent that was lied to, in bytes; the largest listing page takes a good part
/// of it.
const MEMORY: u64 = 220 * MIB;

async fn lied_to(lie: impl Fn(&str, usize) -> Lie + Send + Sync + 'static) -> (Agent, Liar) {
    let liar = Liar::start(lie).await;
    (Setup::of(liar.location()).serve().await, liar)
}

fn is_list(head: &str) -> bool {
    head.starts_with("GET ") && head.contains("list-type=2")
}

fn listing(body: &str) -> Lie {
    let body = format!("<?xml version=\"1.0\"?><ListBucketResult>{body}</ListBucketResult>");
    Lie::body("200 OK", "content-type: application/xml\r\n", body)
}

fn backup(stem: &str) -> String {
    let object = |ending: &str| {
        format!(
            "<Contents><Key>backups/{stem}{ending}</Key><Size>40960</Size><ETag>\"{stem}{ending}\"</ETag></Contents>"
        )
    };
    object(".tar") + &object(".metadata.json")
}

fn empty() -> Lie {
    listing("")
}

/// Asserts that the agent used little memory and still works.
async fn is_well(agent: &Agent) {
    let peak = agent.peak_memory();
    assert!(peak < MEMORY, "the agent used {} MiB", peak / MIB);
    assert_eq!(agent.get("/v1/info").await.status, 200);
}

async fn assert_refresh_fails(agent: &Agent, code: &str, words: &[&str]) {
    agent
        .get("/v1/locations/garage/backups?refresh=true")
        .await
        .is_problem(502, code, words);
    is_well(agent).await;
}

/// Unreadable objects are not reported as deleted, and a location that refuses everything has an
/// error.
#[tokio::test]
async fn forbidden_metadata_is_skipped_and_not_treated_as_deleted() {
    let (agent, proxy, bucket) = agent_behind_proxy(|_| {}).await;
    let denied = "<Error><Code>AccessDenied</Code><Message>Forbidden: not yours</Message></Error>";
    let skewed =
        "<Error><Code>RequestTimeTooSkewed</Code><Message>The clocks differ.</Message></Error>";
    for stem in ["a", "b"] {
        bucket.put_backup("", stem, &Sample::small(stem)).await;
    }
    proxy.fault(
        |request| request.reads("b.metadata.json"),
        Fault::Answer("403 Forbidden", denied),
    );
    assert_eq!(agent.listed("garage").await, ["a"]);
    agent
        .delete_backup("garage", "b")
        .await
        .is_problem(502, "storage_forbidden", &["not yours"]);
    assert_eq!(bucket.keys().await.len(), 4);
    agent.refreshed("garage").await;
    assert_eq!(agent.listed("garage").await, ["a", "b"]);

    for (answer, code) in [(denied, "storage_forbidden"), (skewed, "clock_skew")] {
        for stem in ["a", "b"] {
            // Another version, unknown so far.
            bucket
                .put_backup("", stem, &Sample::new(stem, code, 40_960))
                .await;
            let ending = format!("{stem}.metadata.json");
            proxy.fault(
                move |request| request.reads(&ending),
                Fault::Answer("403 Forbidden", answer),
            );
        }
        let list = agent.refreshed("garage").await;
        assert_eq!(
            (&list["stale"], &list["error"]["code"]),
            (&true.into(), &code.into()),
            "{list:#}"
        );
        assert_eq!(list["backups"].as_array().map(Vec::len), Some(2));
        proxy.forget_faults();
        assert_eq!(agent.refreshed("garage").await["stale"], false);
    }
}

#[tokio::test]
async fn endless_listing_is_aborted() {
    let page = |_: &str, number: usize| {
        let more = format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{number}</NextContinuationToken>"
        );
        let mut objects = more;
        for key in 0..1000 {
            let key = format!("{number}-{key}-{}", "x".repeat(900));
            write!(
                objects,
                "<Contents><Key>backups/{key}.tar</Key><Size>1</Size></Contents>"
            )
            .unwrap();
        }
        listing(&objects)
    };
    let (agent, liar) = lied_to(page).await;
    let ask = async || agent.get("/v1/locations/garage/backups").await;
    let mut answer = ask().await;
    // On a slow machine, an answer may be a timeout.
    for _ in 0..10 {
        if answer.status == 504 {
            answer = ask().await;
        }
    }
    answer.is_problem(502, "storage_error", &["the listing is too long"]);
    is_well(&agent).await;
    assert!(liar.asked() < 200, "{} pages were requested", liar.asked());
}

#[tokio::test]
async fn circular_listing_is_aborted() {
    let (agent, _liar) = lied_to(|_, number| {
        let next = number % 3;
        listing(&format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
        ))
    })
    .await;
    // Home Assistant gets an answer, regardless of the number of pages until detection.
    let answer = agent.get("/v1/locations/garage/backups?refresh=true").await;
    assert!(matches!(answer.status, 502 | 504), "{answer:?}");
    is_well(&agent).await;
}

#[tokio::test]
async fn endless_listing_page_is_aborted() {
    for filler in [b' ', b'<', b'x'] {
        let (agent, _liar) = lied_to(move |_, _| Lie::endless("200 OK", "", filler)).await;
        let answer = agent.get("/v1/locations/garage/backups?refresh=true").await;
        assert!(answer.status >= 500, "{answer:?}");
        is_well(&agent).await;
    }
}

#[tokio::test]
async fn xml_entities_are_not_expanded_and_depth_is_bounded() {
    let laughs = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let laughs = format!(
        "{laughs}<ListBucketResult><Contents><Key>&b;</Key><Size>1</Size></Contents></ListBucketResult>"
    );
    let deep = format!(
        "<ListBucketResult>{}{}</ListBucketResult>",
        "<a>".repeat(1_000_000),
        "</a>".repeat(1_000_000)
    );
    for (body, words) in [
        (laughs, &["not a listing"][..]),
        ("<ListBucketResult>".repeat(300_000), &["not a listing"]),
    ] {
        let (agent, _liar) = lied_to(move |_, _| Lie::body("200 OK", "", body.clone())).await;
        assert_refresh_fails(&agent, "storage_error", words).await;
    }
    let (agent, _liar) = lied_to(move |_, _| Lie::body("200 OK", "", deep.clone())).await;
    assert!(
        agent.listed("garage").await.is_empty(),
        "unknown elements are skipped at any depth"
    );
    is_well(&agent).await;
}

#[tokio::test]
async fn oversized_metadata_is_skipped() {
    let (agent, _liar) = lied_to(|head, _| {
        if is_list(head) {
            return listing(&backup("liar"));
        }
        Lie::endless(
            "200 OK",
            "content-length: 100\r\netag: \"x\"\r\nlast-modified: Fri, 20 Nov 2026 04:47:12 GMT\r\n",
            b' ',
        )
    })
    .await;
    let list = agent.refreshed("garage").await;
    assert_eq!(list["skipped"].as_array().unwrap().len(), 1, "{list:#}");
    is_well(&agent).await;
}

#[tokio::test]
async fn total_metadata_size_is_limited() {
    let mut sample = Sample::small("ID");
    sample.metadata["extra_metadata"]["filler"] = "x".repeat(1_000_000).into();
    let metadata = sample.metadata.to_string();
    let (agent, _liar) = lied_to(move |head, _| {
        if is_list(head) {
            return listing(
                &(0..200)
                    .map(|number| backup(&format!("b{number}")))
                    .collect::<String>(),
            );
        }
        let id = head
            .split("/backups/")
            .nth(1)
            .unwrap()
            .split('.')
            .next()
            .unwrap();
        let headers = format!("etag: \"{id}\"\r\nlast-modified: Fri, 20 Nov 2026 04:47:12 GMT\r\n");
        Lie::body(
            "200 OK",
            &headers,
            metadata.replace("\"ID\"", &format!("\"{id}\"")),
        )
    })
    .await;
    agent.get("/v1/locations/garage/backups?refresh=true").await;
    let list = async || agent.get("/v1/diagnostics").await.json()["locations"][0]["list"].take();
    // A slow machine reads it for longer than the limit of a list.
    eventually("it is listed", async || list().await.is_object()).await;
    let list = list().await;
    let backups = list["backups"].as_u64().unwrap();
    assert!((100..140).contains(&backups), "{backups} are listed");
    assert!(
        list["skipped"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("128 MiB already"),
        "{}",
        list["skipped"][0]
    );
    assert!(
        agent.peak_memory() < 2 * MEMORY,
        "the agent used {} MiB",
        agent.peak_memory() / MIB
    );
}

#[tokio::test]
async fn endless_part_list_is_aborted() {
    let upload = "<Upload><Key>backups/old.tar</Key><UploadId>u</UploadId><Initiated>2020-01-01T00:00:00Z</Initiated></Upload>";
    let uploads = format!("<ListMultipartUploadsResult>{upload}</ListMultipartUploadsResult>");
    let part = |number: usize, filler: usize| {
        let e_tag = "e".repeat(filler);
        format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{e_tag}</ETag><Size>1</Size>\
             <LastModified>2020-01-01T00:00:00Z</LastModified></Part>"
        )
    };
    // Once as many as fit on a page, more than an upload may have; once few large ones.
    for (count, filler, pages) in [(1000, 32, 11), (10, 200_000, 11)] {
        let asked = Arc::<AtomicUsize>::default();
        let (counting, uploads) = (Arc::clone(&asked), uploads.clone());
        let (agent, _liar) = lied_to(move |head, number| {
            if head.contains("?encoding-type=url&uploads") || head.contains("&uploads=") {
                return Lie::body("200 OK", "date: Fri, 20 Nov 2026 04:47:12 GMT\r\n", uploads.clone());
            }
            if !head.contains("uploadId=u") || !head.starts_with("GET ") {
                return empty();
            }
            counting.fetch_add(1, Ordering::SeqCst);
            let more = format!("<IsTruncated>true</IsTruncated><NextPartNumberMarker>{number}</NextPartNumberMarker>");
            let parts: String = (0..count).map(|part_number| part(part_number, filler)).collect();
            Lie::body("200 OK", "", format!("<ListPartsResult>{more}{parts}</ListPartsResult>"))
        })
        .await;
        let swept =
            async || agent.get("/v1/diagnostics").await.json()["locations"][0]["last_sweep"].take();
        eventually("the request is aborted", async || !swept().await.is_null()).await;
        let swept = swept().await;
        assert_eq!(
            (&swept["unfinished"], &swept["removed"]),
            (&json!(1), &json!(0)),
            "{swept}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), pages, "{count} parts a page");
        is_well(&agent).await;
    }
}

#[tokio::test]
async fn endless_upload_answers_are_aborted() {
    for endless in ["POST ", "PUT "] {
        let (agent, _liar) = lied_to(move |head, _| match head {
            head if is_list(head) => empty(),
            head if head.starts_with(endless) => Lie::endless("200 OK", "etag: \"x\"\r\n", b' '),
            head if head.starts_with("POST ") => Lie::body(
                "200 OK",
                "",
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
            ),
            head if head.starts_with("DELETE ") => Lie::body("204 No Content", "", ""),
            _ => Lie::body("404 Not Found", "", ""),
        })
        .await;
        let sample = Sample::new("a1", "Lied to", 11 * MIB);
        let upload_id = agent.begin("garage", &sample).await;
        let answer = agent.content(&upload_id, sample.tar.clone()).await;
        // The agent ignores the body of a part's answer, so it does not even read it.
        assert_eq!(answer.status >= 500, endless == "POST ", "{answer:?}");
        is_well(&agent).await;
    }
}

#[tokio::test]
async fn secrets_echoed_by_the_provider_are_redacted() {
    let secret = "planted/secret+of+bucket";
    let (agent, _liar) = lied_to(move |head, _| {
        let signature =
            head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:")).unwrap_or_default();
        let error = format!(
            "<Error><Code>{secret}</Code><Message>{secret} {signature}</Message><Region>{secret}</Region>\
             <RequestId>{secret}</RequestId></Error>"
        );
        Lie::body("403 Forbidden", &format!("x-amz-request-id: {secret}\r\nx-amz-bucket-region: {secret}\r\n"), error)
    })
    .await;
    agent.put("/v1/log", r#"{"level": "trace"}"#).await;
    let mut told = Vec::new();
    for path in [
        "/v1/locations/garage/backups?refresh=true",
        "/v1/locations",
        "/v1/diagnostics",
        "/metrics",
    ] {
        told.push(agent.get(path).await);
    }
    told.push(agent.post("/v1/locations/garage/check", &json!(null)).await);
    for answer in told {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            !text.contains(secret) && !text.contains("PLANTEDKEYID"),
            "{text}"
        );
    }
    for arguments in [
        &["list"][..],
        &["check"],
        &["--json", "list"],
        &["--json", "check"],
    ] {
        // The lab asserts that none of it is printed.
        assert_ne!(agent.setup.run(arguments).await.code, 0);
    }
    assert!(
        !agent.printed().contains("PLANTEDKEYID"),
        "{}",
        agent.printed()
    );
}
