//! `serve` and `healthcheck`.

mod state_dir;
mod token;

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::HOST;
use chrono::Utc;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Failure;
use super::output::Output;
use crate::agent::{Agent, identity};
use crate::api::{State, router};
use crate::config::{Config, Listen, Origin, Problem};
use crate::page;
use crate::server::auth::{Allowed, Gate};
use crate::server::{Listener, UnixSocket, run};
use crate::store::Store;
use crate::supervisor::announce;
use crate::{error, logging};

/// How long cleaning up may take when the agent stops; a container is killed after ten seconds, draining included.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(5);

/// How long the running agent may take to say that it is well.
const HEALTHY_WITHIN: Duration = Duration::from_secs(3);

/// Runs the agent until it is told to stop.
pub(super) async fn serve(
    mut config: Config,
    told_to_stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    if config.supervisor.is_some() {
        config.leave_out_unusable();
    }
    let log = logging::start(config.log.level, config.log.format).map_err(io::Error::other)?;
    let _lock = state_dir::lock(&config.state_dir)?;
    let token = token::of(&config.listen, config.supervisor.is_some())?;
    let agent = Agent::new(config.locations.clone(), &config.state_dir)?;
    agent.keep_tidy();
    let shutdown = CancellationToken::new();
    let allowed = Allowed {
        addresses: config.listen.page_from.clone(),
        are_supervisor: config.supervisor.is_some(),
    };
    let state = State {
        agent: agent.clone(),
        agent_id: identity::agent_id(&config.state_dir),
        log,
        configuration: config.written.clone().into(),
        problems: config.problems.clone().into(),
        gate: Gate::new(token.as_ref(), allowed).into(),
        started_at: Utc::now(),
        draining: shutdown.clone(),
    };
    let page = page::router(state.clone()).map_err(io::Error::other)?;
    let listeners = listeners(&config.listen, &router(state), &page).await?;
    say_what_starts(&config);
    if let Some(supervisor) = config.supervisor.clone() {
        tokio::spawn(announce(
            supervisor,
            config.listen.clone(),
            token,
            shutdown.clone(),
        ));
    }
    let mut servers: JoinSet<io::Result<()>> = listeners
        .into_iter()
        .map(|(listener, router)| run(listener, router, shutdown.clone()))
        .collect();
    let stopped = tokio::select! {
        () = told_to_stop => Ok(()),
        Some(ended) = servers.join_next() => ended.map_err(io::Error::other).flatten(),
    };
    shutdown.cancel();
    // Their senders hear of it while requests end.
    agent.begin_to_stop();
    while servers.join_next().await.is_some() {}
    agent.stop(CLEAN_UP_LIMIT).await;
    info!("stopped");
    Ok(stopped?)
}

impl Config {
    /// Leaves out the locations that nothing can be opened with, such as one with a certificate that TLS does not take.
    fn leave_out_unusable(&mut self) {
        let problems = &mut self.problems;
        self.locations
            .retain(|location| match Store::open(location) {
                Ok(_) => true,
                Err(error) => {
                    problems.push(Problem::new(
                        format!("locations \"{}\"", location.id),
                        error.to_string(),
                    ));
                    false
                }
            });
    }
}

/// What is listened on, each with what answers there.
async fn listeners(
    listen: &Listen,
    protocol: &Router,
    page: &Router,
) -> io::Result<Vec<(Listener, Router)>> {
    let mut listeners = vec![(
        Listener::Unix(UnixSocket::bind(&listen.socket).await?),
        protocol.clone(),
    )];
    if let Some(tcp) = &listen.tcp {
        listeners.push((Listener::tcp(tcp, "listen.tcp").await?, protocol.clone()));
    }
    if let Some(tcp) = &listen.page {
        let listener = Listener::tcp(tcp, "listen.page").await?;
        info!("the page for people is at {}", listener.address());
        listeners.push((listener, page.clone()));
    }
    Ok(listeners)
}

fn say_what_starts(config: &Config) {
    info!(version = env!("CARGO_PKG_VERSION"), "the agent starts");
    for problem in &config.problems {
        error!("left out of the configuration: {problem}");
    }
    if config.locations.is_empty() {
        info!(
            "no location is configured: add one here, or in Home Assistant on the integration's page"
        );
    }
    for location in &config.locations {
        match location.origin {
            Origin::Embedded => {
                warn!("no location is configured: backups are kept in a directory on this machine");
            }
            Origin::Configuration | Origin::Registered => {
                info!(id = location.id, "location \"{}\"", location.name);
            }
        }
    }
}

/// Notes from now on when the program is told to stop.
pub(super) fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("told to stop (SIGTERM)"),
            _ = interrupt.recv() => info!("told to stop (SIGINT)"),
        }
    })
}

/// Asks the agent behind the configured socket whether it is well.
pub(super) async fn healthcheck(config: &Config, output: Output) -> Result<(), Failure> {
    let socket = &config.listen.socket;
    let answer = timeout(HEALTHY_WITHIN, health(socket)).await;
    let status = answer
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
        .map_err(|error| {
            let detail = format!(
                "The agent does not answer on \"{}\": {error}",
                socket.display()
            );
            error::Error::new(error::Kind::StorageUnreachable, detail)
                .with_hint("Is it running, with this configuration?")
        })?;
    let healthy = status.is_success();
    let line = if healthy {
        "The agent is well."
    } else {
        "The agent is stopping."
    };
    output.result(line, &json!({"healthy": healthy}))?;
    if healthy { Ok(()) } else { Err(Failure::Said) }
}

async fn health(socket: &Path) -> io::Result<axum::http::StatusCode> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let driving = tokio::spawn(connection);
    let request = Request::get("/v1/health")
        .header(HOST, "agent")
        .body(Body::empty())
        .map_err(io::Error::other)?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    driving.abort();
    Ok(answer.status())
}
