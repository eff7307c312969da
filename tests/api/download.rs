//! Complete and ranged downloads.

use http::Method;

use crate::lab::agent::Agent;
use crate::lab::call::{Answer, content_path};
use crate::lab::{MIB, Sample, agent_and_bucket};

async fn range(agent: &Agent, headers: &[(&str, &str)]) -> Answer {
    let request = agent.request(Method::GET, &content_path("garage", "a1"));
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    agent.send(request).await.unwrap()
}

#[tokio::test]
async fn ranges_follow_http() {
    let (agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Ranges", 12 * MIB);
    agent.upload("garage", &sample).await;
    let (size, part) = (sample.tar.len(), 5 * 1024 * 1024);
    let whole = range(&agent, &[]).await;
    assert_eq!(
        (whole.status, whole.header("accept-ranges")),
        (200, "bytes")
    );
    assert_eq!(whole.header("s3-backup-agent-crc32"), sample.crc32());
    let e_tag = whole.header("etag").to_owned();
    assert!(e_tag.starts_with('"') && e_tag.len() > 2, "{e_tag}");

    for (asked, wanted) in [
        ("bytes=0-".to_owned(), 0..size),
        ("bytes=0-0".into(), 0..1),
        ("bytes=100-199".into(), 100..200),
        (
            format!("bytes={}-{}", part - 10, part + 9),
            part - 10..part + 10,
        ),
        (
            format!("bytes={}-{}", part - 1, 2 * part),
            part - 1..2 * part + 1,
        ),
        (format!("bytes={}-", size - 5), size - 5..size),
        ("bytes=-5".into(), size - 5..size),
        (format!("bytes=7-{}", 2 * size), 7..size),
    ] {
        let answer = range(&agent, &[("range", &asked)]).await;
        assert_eq!(answer.status, 206, "{asked}");
        assert!(
            answer.body == sample.tar[wanted.clone()],
            "{asked}: other bytes"
        );
        let content_range = format!("bytes {}-{}/{size}", wanted.start, wanted.end - 1);
        assert_eq!(answer.header("content-range"), content_range, "{asked}");
        assert_eq!(
            answer.header("content-length"),
            wanted.len().to_string(),
            "{asked}"
        );
        assert_eq!(answer.header("etag"), e_tag, "{asked}");
        assert_eq!(
            answer.header("s3-backup-agent-crc32"),
            "",
            "the digest is not of a range"
        );
    }
    for asked in [
        format!("bytes={size}-"),
        "bytes=20-10".into(),
        "bytes=-0".into(),
    ] {
        let answer = range(&agent, &[("range", &asked)]).await;
        assert_eq!(
            (answer.status, answer.header("content-range")),
            (416, format!("bytes */{size}").as_str())
        );
    }
    for asked in ["bytes=1-2,4-5", "lines=1-2"] {
        range(&agent, &[("range", asked)])
            .await
            .is_problem(400, "invalid_request", &[asked]);
    }
    let same = range(&agent, &[("range", "bytes=0-9"), ("if-range", &e_tag)]).await;
    assert_eq!((same.status, same.body.len()), (206, 10));
    let changed = range(
        &agent,
        &[("range", "bytes=0-9"), ("if-range", "\"another\"")],
    )
    .await;
    assert_eq!((changed.status, changed.body.len()), (200, size));
}

#[tokio::test]
async fn client_disconnect_does_not_affect_other_downloads() {
    let (agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Long", 20 * MIB);
    agent.upload("garage", &sample).await;
    for _ in 0..5 {
        let mut answer = agent
            .request(Method::GET, &content_path("garage", "a1"))
            .send()
            .await
            .unwrap();
        assert!(answer.chunk().await.unwrap().is_some());
    }
    assert!(agent.download("garage", "a1").await.unwrap().body == sample.tar);
}

#[tokio::test]
async fn concurrent_downloads_are_complete() {
    let (agent, _bucket) = agent_and_bucket().await;
    let sample = Sample::new("a1", "Popular", 12 * MIB);
    agent.upload("garage", &sample).await;
    let downloads = (0..4).map(|_| agent.download("garage", "a1"));
    for answer in futures_util::future::join_all(downloads).await {
        assert!(answer.unwrap().body == sample.tar);
    }
}
