//! `serve`.

mod state_dir;
mod token;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use axum::Router;
use chrono::Utc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::CommandError;
use crate::agent::location::ids;
use crate::agent::{Agent, identity};
use crate::api::{HomeAssistant, State, router};
use crate::config::{Config, Listen, Origin};
use crate::logging;
use crate::page;
use crate::server::auth::{Allowed, Gate};
use crate::server::{Listener, UnixSocket, run};
use crate::supervisor::announce;

/// Deadline for the clean-up at shutdown. A container is killed after ten seconds, draining included.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(5);

/// Runs the agent until `stop_signal` resolves, then shuts down gracefully.
pub(super) async fn serve(
    mut config: Config,
    stop_signal: impl Future<Output = ()>,
) -> Result<(), CommandError> {
    let log = logging::start(config.log.level, config.log.format).map_err(io::Error::other)?;
    let _lock = state_dir::lock(&config.state_dir)?;
    ids::remember(&mut config.locations, &config.state_dir);
    let token = token::of(&config.listen, config.supervisor.is_some())?;
    let agent = Agent::new(config.locations.clone(), &config.state_dir);
    agent.start_maintenance();
    let shutdown = CancellationToken::new();
    let allowed = Allowed {
        addresses: config.listen.page_from.clone(),
        are_supervisor: config.supervisor.is_some(),
    };
    let home_assistant = Arc::new(HomeAssistant::default());
    let state = State {
        agent: agent.clone(),
        agent_id: identity::agent_id(&config.state_dir),
        log,
        configuration: config.written.clone().into(),
        problems: config.problems.clone().into(),
        gate: Gate::new(token.as_ref(), allowed).into(),
        started_at: Utc::now(),
        draining: shutdown.clone(),
        home_assistant: home_assistant.clone(),
    };
    let page = page::router(state.clone()).map_err(io::Error::other)?;
    let listeners = listeners(&config.listen, &router(state), &page).await?;
    log_start(&config);
    if let Some(supervisor) = config.supervisor.clone() {
        tokio::spawn(announce(
            supervisor,
            config.listen.clone(),
            token,
            home_assistant.first_connection(),
            shutdown.clone(),
        ));
    }
    let mut servers: JoinSet<io::Result<()>> = listeners
        .into_iter()
        .map(|(listener, router)| run(listener, router, shutdown.clone()))
        .collect();
    let stopped = tokio::select! {
        () = stop_signal => Ok(()),
        Some(ended) = servers.join_next() => ended.map_err(io::Error::other).flatten(),
    };
    shutdown.cancel();
    // Interrupts uploads, so that their requests end and the servers can drain.
    agent.begin_shutdown();
    while servers.join_next().await.is_some() {}
    agent.stop(CLEAN_UP_LIMIT).await;
    if config.supervisor.is_some()
        && let Some(folder) = config.listen.socket.parent()
    {
        // Home Assistant shares it, and Supervisor does not remove it with the app. It is empty by now.
        drop(fs::remove_dir(folder));
    }
    info!("stopped");
    Ok(stopped?)
}

/// Binds all listeners, each with its router.
async fn listeners(
    listen: &Listen,
    protocol: &Router,
    page: &Router,
) -> io::Result<Vec<(Listener, Router)>> {
    let mut listeners = vec![(
        Listener::Unix(UnixSocket::bind(&listen.socket, listen.socket_access.clone()).await?),
        protocol.clone(),
    )];
    if let Some(tcp) = &listen.tcp {
        listeners.push((Listener::tcp(tcp, "listen.tcp").await?, protocol.clone()));
    }
    if let Some(tcp) = &listen.page {
        let listener = Listener::tcp(tcp, "listen.page").await?;
        info!("serving the page on {}", listener.address());
        listeners.push((listener, page.clone()));
    }
    Ok(listeners)
}

fn log_start(config: &Config) {
    info!(version = env!("CARGO_PKG_VERSION"), "the agent starts");
    for problem in &config.problems {
        error!("ignored in the configuration: {problem}");
    }
    if config.locations.is_empty() {
        info!(
            "no location is configured: add one here, or in Home Assistant on the integration's page"
        );
    }
    for location in &config.locations {
        match location.origin {
            Origin::Embedded => {
                info!(
                    id = location.id,
                    "until there is a bucket, commands keep backups in \"{}\" on this machine",
                    location.name
                );
            }
            Origin::Configuration | Origin::Registered => {
                info!(id = location.id, "location \"{}\"", location.name);
            }
        }
    }
}

/// Installs the handlers of SIGTERM, SIGINT and SIGHUP; the future resolves at the first of them.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = if is_hangup_ignored() {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    let hung_up = async move {
        match &mut hangup {
            Some(hangup) => drop(hangup.recv().await),
            None => pending().await,
        }
    };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("shutting down (SIGTERM)"),
            _ = interrupt.recv() => info!("shutting down (SIGINT)"),
            () = hung_up => info!("shutting down (SIGHUP)"),
        }
    })
}

/// Whether the process was started to outlive its terminal, as by `nohup`. Source: `SigIgn` in `proc_pid_status(5)`, a mask in
/// which the lowest bit is signal 1.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}
