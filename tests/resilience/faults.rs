//! Every request of an upload, a deletion and a listing fails once, and fails from there on, in every way there is: a
//! backup is there whole, or it is not there.
//!
//! Each case has a server of its own, which fails the request that has the case's number. Cases share agents, so that they
//! wait at the same time.

mod case;
mod state;

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::lab::{Failure, Imitation};
use case::Cases;

/// Cases that share an agent; it takes no more uploads at a time.
const SHARING: usize = 16;

/// How long after one case the next one of the same agent begins.
const STEP: Duration = Duration::from_millis(500);

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Uploads a backup that goes up in one request.
    UploadSmall,
    /// Uploads a backup that goes up in parts.
    UploadLarge,
    /// Uploads a backup again that is there already.
    UploadAgain,
    Delete,
    List,
}

/// For how long requests fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Once,
    /// Until the server is mended.
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
    let left: Vec<_> = join_all(cases.chunks(SHARING).map(|cases| all_hold(deed, cases)))
        .await
        .concat();
    for line in left {
        println!("{line}");
    }
}

/// How many requests it takes when nothing fails.
async fn requests_of(deed: Deed) -> usize {
    let cases = Cases::prepare(deed, &[(usize::MAX, Failure::Denied, Span::Once)]).await;
    let case = &cases.cases[0];
    assert!(case.acts(&cases.agent).await.is_ok());
    case.is_as_it_should(true).await;
    // What is done in the background is done when all is as it should be; looking does not ask the server.
    case.requests()
}

/// Gives what is left in the bucket beside whole backups, a line for each case.
async fn all_hold(deed: Deed, cases: &[(usize, Failure, Span)]) -> Vec<String> {
    let cases = Cases::prepare(deed, cases).await;
    let agent = &cases.agent;
    let ended = join_all((0_u32..).zip(&cases.cases).map(|(index, case)| async move {
        // Not all at the same moment: a server that is busy looks like one that hangs.
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
async fn an_upload_in_one_request() {
    every_request_fails(Deed::UploadSmall).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_in_parts() {
    every_request_fails(Deed::UploadLarge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_what_is_there_already() {
    every_request_fails(Deed::UploadAgain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion() {
    every_request_fails(Deed::Delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing() {
    every_request_fails(Deed::List).await;
}
