//! The HTTP server: accepts connections, hands requests to a router, drains at shutdown. It knows no routes.

pub mod auth;
mod listener;
mod quota;
mod stall;
mod tls;
mod unix_socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

pub use listener::{Listener, Stream};
pub use unix_socket::UnixSocket;

use auth::{Confidential, Peer};
use listener::Duplex;
use quota::Quota;
use stall::StallGuard;

/// Concurrent connections on one listener. Home Assistant needs a handful.
const MAX_CONNECTIONS: usize = 128;

/// Timeout for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout for a client that reads nothing of an answer. A paused download has to resume within it.
const STALL_TIMEOUT: Duration = Duration::from_mins(10);

/// How long shutdown waits for requests in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// Serves `router` on `listener` until `shutdown`, then drains requests in flight.
///
/// # Errors
/// When the listener fails for good.
pub async fn run(
    mut listener: Listener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let quota = Quota::default();
    info!("listening on {}", listener.address());
    loop {
        let next = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            Ok::<_, io::Error>((permit.map_err(io::Error::other)?, listener.accept().await?))
        };
        let (permit, stream) = tokio::select! {
            () = shutdown.cancelled() => break,
            next = next => next?,
        };
        let peer = stream.peer();
        let client = (peer, stream.confidential());
        let Some(place) = quota.enter(peer) else {
            debug!(?peer, "too many connections from one address");
            continue;
        };
        let router = router.clone();
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            match stream.establish().await {
                Ok(stream) => serve_connection(stream, client, router, watcher).await,
                Err(error) => debug!("connection failed before its first request: {error}"),
            }
            drop((permit, place));
        });
    }
    // Closed before draining, so that new clients get a connection error at once.
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("shutting down with requests in flight");
    }
    Ok(())
}

async fn serve_connection(
    stream: Box<dyn Duplex>,
    (peer, confidential): (Peer, Confidential),
    router: Router,
    watcher: Watcher,
) {
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(confidential);
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(
            TokioIo::new(StallGuard::new(stream, STALL_TIMEOUT)),
            TowerToHyperService::new(service),
        );
    if let Err(error) = watcher.watch(connection).await {
        debug!("connection ended early: {error}");
    }
}
