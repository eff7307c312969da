//! Every request of an upload, a deletion and a listing fails once, or fails from there on, in
//! every way: a backup exists as a whole or not at all.
//!
//! Each case has its own server, which fails the request with the case's number. Cases share
//! agents, so that their waits overlap.

mod case;
mod state;

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::lab::Failure;
use case::Cases;

/// Cases per agent; it accepts no more concurrent uploads.
const SHARING: usize = 16;

/// Delay between the cases of one agent.
const STEP: Duration = Duration::from_millis(500);

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Uploads a backup in one request.
    UploadSmall,
    /// Uploads a multipart backup.
    UploadLarge,
    /// Uploads an existing backup again.
    UploadAgain,
    Delete,
    List,
}

/// Duration of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Once,
    /// Until the server is healed.
    Lasting,
}

async fn every_request_fails(deed: Deed) {
    let requests = requests_of(deed).await;
    let numbers = 1..=requests;
    let cases = numbers.flat_map(|number| {
        let of_failure =
            move |failure| [Span::Once, Span::Lasting].map(|span| (number, failure, span));
        Failure::ALL.into_iter().flat_map(of_failure)
    });
    let cases: Vec<_> = cases.collect();
    println!("{deed:?}: {requests} requests, {} cases", cases.len());
    let left: Vec<_> = join_all(cases.chunks(SHARING).map(|cases| violations(deed, cases)))
        .await
        .concat();
    for line in left {
        println!("{line}");
    }
}

/// Number of requests without failures.
async fn requests_of(deed: Deed) -> usize {
    let cases = Cases::prepare(deed, &[(usize::MAX, Failure::Denied, Span::Once)]).await;
    let case = &cases.cases[0];
    assert!(case.acts(&cases.agent).await.is_ok());
    case.assert_consistent(true).await;
    // Background work ends when the state is final; reading the state sends no request.
    case.requests()
}

/// Runs the cases; returns leftovers beside complete backups, one line per case.
async fn violations(deed: Deed, cases: &[(usize, Failure, Span)]) -> Vec<String> {
    let cases = Cases::prepare(deed, cases).await;
    let agent = &cases.agent;
    let ended = join_all((0_u32..).zip(&cases.cases).map(|(index, case)| async move {
        // Staggered, because a busy server looks like a silent one.
        sleep(STEP * index).await;
        let ended = case.acts(agent).await;
        case.holds(&ended).await;
        ended
    }))
    .await;
    let cases = cases.a_day_later().await;
    let settled = cases
        .cases
        .iter()
        .zip(&ended)
        .map(|(case, ended)| case.settles(&cases.agent, ended));
    join_all(settled).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_request_upload() {
    every_request_fails(Deed::UploadSmall).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn multipart_upload() {
    every_request_fails(Deed::UploadLarge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_upload() {
    every_request_fails(Deed::UploadAgain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion() {
    every_request_fails(Deed::Delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing() {
    every_request_fails(Deed::List).await;
}
