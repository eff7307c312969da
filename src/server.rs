//! The accept loop: connections in, requests to the router, a drain at the end.

mod crowd;
mod listener;
mod tls;
mod unix;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

pub use listener::{Listener, Stream};
pub use unix::UnixSocket;

use crate::api::Peer;
use crowd::Crowd;
use watch::Watched;

/// Connections at the same time on one listener. HA needs a handful.
const MAX_CONNECTIONS: usize = 128;

/// How long a client may take to send the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// How long a client may take nothing of an answer. A person who pauses a download comes back sooner.
const TAKE_WITHIN: Duration = Duration::from_mins(10);

/// How long requests under way may go on when the agent stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);

/// Serves `router` on `listener` until `shutdown`, then lets requests under way end.
///
/// # Errors
/// When the listener cannot go on.
pub async fn run(
    mut listener: Listener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let graceful = GracefulShutdown::new();
    let (connections, crowd) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Crowd::default());
    info!("listening on {}", listener.address());
    loop {
        let next = async {
            let permit = Arc::clone(&connections)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            Ok::<_, io::Error>((permit, listener.accept().await?))
        };
        let (permit, stream) = tokio::select! {
            () = shutdown.cancelled() => break,
            next = next => next?,
        };
        let peer = stream.peer();
        let Some(place) = crowd.enter(peer.map(|peer| peer.ip().to_canonical())) else {
            debug!(?peer, "too many connections from one address");
            continue;
        };
        let (router, watcher) = (router.clone(), graceful.watcher());
        tokio::spawn(async move {
            match stream.establish().await {
                Ok(stream) => serve_connection(stream, peer, router, watcher).await,
                Err(error) => debug!("a connection failed before its first request: {error}"),
            }
            drop((permit, place));
        });
    }
    // Closes the socket first: nobody connects to an agent that is stopping.
    drop(listener);
    if timeout(DRAIN_LIMIT, graceful.shutdown()).await.is_err() {
        warn!("stopping with requests under way");
    }
    Ok(())
}

async fn serve_connection<S>(
    stream: S,
    peer: Option<SocketAddr>,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request
            .extensions_mut()
            .insert(Peer(peer.map(|peer| peer.ip().to_canonical())));
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(
            TokioIo::new(Watched::new(stream, TAKE_WITHIN)),
            TowerToHyperService::new(service),
        );
    if let Err(error) = watcher.watch(connection).await {
        debug!("a connection ended early: {error}");
    }
}
