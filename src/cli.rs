//! The command line: `serve`, and the agent's calls for people and scripts, one file a command.
//!
//! Exit codes: 0 done, 1 failed, 2 invalid usage or configuration, 3 not found, 4 storage unavailable for now, 5 damaged
//! data.

mod check;
mod copy;
mod delete;
mod download;
mod healthcheck;
mod import;
mod list;
mod output;
mod progress;
mod recover;
mod serve;
mod upload;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tracing::warn;

use crate::agent::Agent;
use crate::config::{Config, Origin, Problems};
use crate::error::{Error, Kind};
use crate::logging::{self, Level};
use output::Output;

/// Deadline for the clean-up at a command's end.
const CLEAN_UP_LIMIT: Duration = Duration::from_mins(1);

const ADDED_ELSEWHERE: &str =
    "Only the running agent knows the buckets that were added in Home Assistant.";

/// Keeps Home Assistant's backups in any S3-compatible bucket.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// Configuration file [default: the app's options and the environment alone]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "S3_BACKUP_AGENT_CONFIG"
    )]
    config: Option<PathBuf>,

    /// Print JSON, for scripts
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent
    Serve,
    /// Check a location, or all of them: list, write, read, delete
    Check {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: Option<String>,
    },
    /// List the backups of a location, or of all of them
    List {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: Option<String>,
    },
    /// Upload a backup's tar
    Upload {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: String,
        /// The tar that Home Assistant made
        #[arg(value_name = "FILE.tar")]
        file: PathBuf,
    },
    /// Download a backup
    Download {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: String,
        /// Id of the backup, as shown by `list`
        backup_id: String,
        /// File to write, or `-` for standard output [default: the name that Home Assistant suggests]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace an existing file
        #[arg(long)]
        force: bool,
    },
    /// Delete a backup
    Delete {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: String,
        /// Id of the backup, as shown by `list`
        backup_id: String,
    },
    /// Copy backups to another location; backups that exist there are skipped
    Copy {
        /// Id of the source location
        from: String,
        /// Id of the target location
        to: String,
        /// Ids of backups, as shown by `list` [default: all]
        #[arg(value_name = "BACKUP_ID")]
        backup_ids: Vec<String>,
        /// Print what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Import backups of Home Assistant's own S3 integrations; the originals stay
    Import {
        /// Id of the target location
        #[arg(value_name = "LOC")]
        to: String,
        /// Id of the source location [default: the target]
        #[arg(long, value_name = "LOC")]
        from: Option<String>,
        /// Folder of the originals, which may be "" [default: the source location's prefix]
        #[arg(long, value_name = "PREFIX")]
        from_prefix: Option<String>,
        /// Print what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Verify that backups are complete and undamaged
    Verify {
        /// Id of a location [default: all]
        #[arg(value_name = "LOC")]
        location: Option<String>,
        /// Id of the backup, as shown by `list` [default: all]
        backup_id: Option<String>,
        /// Download each backup and compare its SHA-256, instead of a few small requests
        #[arg(long)]
        full: bool,
    },
    /// Adopt tars without metadata as backups; the tars stay unchanged
    Recover {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: String,
        /// Keys of tars, as shown by `list` [default: all]
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
        /// Print what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Ask the running agent whether it is healthy
    Healthcheck,
}

/// Reason for a command's failure.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Configuration(#[from] Problems),
    #[error(transparent)]
    Agent(#[from] Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("interrupted")]
    Interrupted,
    /// The command already printed its errors.
    #[error("failed")]
    Reported,
    /// The same; the storage is unavailable for now.
    #[error("failed")]
    ReportedAway,
    /// The same; data is damaged.
    #[error("failed")]
    ReportedDamaged,
}

impl Failure {
    /// Code in `--json` for failures outside the agent.
    fn name(&self) -> &'static str {
        if self.code() == 2 {
            "configuration"
        } else {
            "io"
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Agent(error) => match error.kind() {
                Kind::BackupNotFound | Kind::LocationNotFound => 3,
                Kind::ChecksumMismatch | Kind::SizeMismatch | Kind::InvalidMetadata => 5,
                kind if kind.facts().retryable => 4,
                _ => 1,
            },
            Self::ReportedAway => 4,
            Self::ReportedDamaged => 5,
            Self::Io(_) | Self::Interrupted | Self::Reported => 1,
        }
    }
}

/// Runs a command.
pub async fn run(cli: Cli) -> ExitCode {
    let output = Output { json: cli.json };
    match dispatch(&cli, output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}

impl Command {
    /// Whether the command changes a bucket's content.
    const fn writes(&self) -> bool {
        matches!(
            self,
            Self::Upload { .. }
                | Self::Delete { .. }
                | Self::Copy { .. }
                | Self::Import { .. }
                | Self::Recover { .. }
        )
    }

    /// Whether the command reports on all locations.
    const fn is_about_all(&self) -> bool {
        matches!(
            self,
            Self::Check { location: None }
                | Self::List { location: None }
                | Self::Verify { location: None, .. }
        )
    }
}

async fn dispatch(cli: &Cli, output: Output) -> Result<(), Failure> {
    // First of all: process 1 of a container has no default signal handlers.
    let stop_signal = serve::stop_signal()?;
    let config = Config::load(cli.config.as_deref())?;
    if matches!(cli.command, Command::Serve) {
        return serve::serve(config, stop_signal).await;
    }
    if matches!(cli.command, Command::Healthcheck) {
        return healthcheck::healthcheck(&config, output).await;
    }
    // Log lines break progress bars on a terminal; warnings are worth it.
    let level = if config.log.level == Level::Info {
        Level::Warn
    } else {
        config.log.level
    };
    drop(logging::start(level, config.log.format));
    for problem in &config.problems {
        warn!("ignored in the configuration: {problem}");
    }
    if config
        .locations
        .iter()
        .any(|location| location.origin == Origin::Embedded)
    {
        warn!("no location is configured: using a directory on this machine. {ADDED_ELSEWHERE}");
    }
    let is_partial = !config.problems.is_empty() && cli.command.is_about_all();
    let agent = Agent::new(config.locations, &config.state_dir)?;
    let result = tokio::select! {
        result = ask(&agent, &cli.command, output) => result,
        () = stop_signal => Err(Failure::Interrupted),
    };
    if cli.command.writes() {
        // No `serve` may be running to do it.
        agent.end_what_was_left().await;
    }
    // Waits for the clean-up of failed uploads.
    agent.stop(CLEAN_UP_LIMIT).await;
    // A location with invalid settings was not reported on, so the command did not succeed.
    result.and(if is_partial {
        Err(Failure::Reported)
    } else {
        Ok(())
    })
}

async fn ask(agent: &Arc<Agent>, command: &Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Check { location } => check::check(agent, location.as_deref(), output).await,
        Command::List { location } => list::list(agent, location.as_deref(), output).await,
        Command::Upload { location, file } => upload::upload(agent, location, file, output).await,
        Command::Download {
            location,
            backup_id,
            output: file,
            force,
        } => download::download(agent, location, backup_id, file.as_deref(), *force, output).await,
        Command::Delete {
            location,
            backup_id,
        } => delete::delete(agent, location, backup_id, output).await,
        Command::Copy {
            from,
            to,
            backup_ids,
            dry_run,
        } => copy::copy(agent, from, to, backup_ids, *dry_run, output).await,
        Command::Import {
            to,
            from,
            from_prefix,
            dry_run,
        } => {
            import::import(
                agent,
                to,
                from.as_deref(),
                from_prefix.as_deref(),
                *dry_run,
                output,
            )
            .await
        }
        Command::Verify {
            location,
            backup_id,
            full,
        } => {
            verify::verify(
                agent,
                location.as_deref(),
                backup_id.as_deref(),
                *full,
                output,
            )
            .await
        }
        Command::Recover {
            location,
            keys,
            dry_run,
        } => recover::recover(agent, location, keys, *dry_run, output).await,
        Command::Serve | Command::Healthcheck => Ok(()),
    }
}

/// Returns the ids of the named location, or of all.
fn chosen(agent: &Arc<Agent>, location: Option<&str>) -> Result<Vec<String>, Error> {
    match location {
        Some(id) => agent
            .location(id)
            .map(|location| vec![location.id().to_owned()]),
        None => match agent.locations() {
            none if none.is_empty() => {
                let error = Error::new(Kind::LocationNotFound, "No location is configured.");
                Err(error.with_hint(ADDED_ELSEWHERE))
            }
            all => Ok(all.into_iter().map(|location| location.id).collect()),
        },
    }
}

/// Maps the first failure, if any, to an exit code; the failure is known by whether it is retryable.
fn exit_code_of(failed: Option<bool>) -> Result<(), Failure> {
    match failed {
        None => Ok(()),
        Some(true) => Err(Failure::ReportedAway),
        Some(false) => Err(Failure::Reported),
    }
}
