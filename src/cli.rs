//! The command line: `serve`, and the agent's calls for people and scripts.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 storage away for now, 5 damaged data.

mod moving;
mod output;
mod query;
mod recover;
mod serve;
mod transfer;
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

/// How long a command may take to remove what it left.
const CLEAN_UP_LIMIT: Duration = Duration::from_mins(1);

const ADDED_ELSEWHERE: &str =
    "Buckets that were added in Home Assistant only the running agent knows.";

/// Keeps Home Assistant's backups in any S3-compatible bucket.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// Configuration file; without one, the environment and the app's options count
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
    /// Try a location, or all of them: list, write, read, delete
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
        /// The tar, as Home Assistant made it
        #[arg(value_name = "FILE.tar")]
        file: PathBuf,
    },
    /// Download a backup
    Download {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: String,
        /// The backup's id, as `list` shows it
        backup_id: String,
        /// Where to write it: a file, or `-` for standard output [default: the name Home Assistant suggests]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Delete a backup
    Delete {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: String,
        /// The backup's id, as `list` shows it
        backup_id: String,
    },
    /// Copy backups to another location; what is there already is skipped
    Copy {
        /// Id of the location they are in
        from: String,
        /// Id of the location they are copied to
        to: String,
        /// Ids of backups, as `list` shows them [default: all]
        #[arg(value_name = "BACKUP_ID")]
        backup_ids: Vec<String>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Take over backups that Home Assistant's own S3 integrations made; their files are not touched
    Import {
        /// Id of the location they are copied to
        #[arg(value_name = "LOC")]
        to: String,
        /// Id of the location they are in [default: the same]
        #[arg(long, value_name = "LOC")]
        from: Option<String>,
        /// Folder they lie in, which may be "" [default: the prefix of that location]
        #[arg(long, value_name = "PREFIX")]
        from_prefix: Option<String>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Look whether backups are what was uploaded and could be restored
    Verify {
        /// Id of a location [default: all of them]
        #[arg(value_name = "LOC")]
        location: Option<String>,
        /// The backup's id, as `list` shows it [default: all of them]
        backup_id: Option<String>,
        /// Read all of each backup and compare its SHA-256; without it, a few small requests
        #[arg(long)]
        full: bool,
    },
    /// Make backups of tars that lost their metadata; the tars are not touched
    Recover {
        /// Id of a location
        #[arg(value_name = "LOC")]
        location: String,
        /// Keys of tars, as `list` shows them [default: all]
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Ask the running agent whether it is well
    Healthcheck,
}

/// Why a command ended without success.
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
    /// Everything was said already.
    #[error("failed")]
    Said,
    /// The same, and the storage is away for now.
    #[error("failed")]
    SaidAway,
    /// The same, and data is damaged.
    #[error("failed")]
    SaidDamaged,
}

impl Failure {
    /// What `--json` calls a failure that the agent has no code for.
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
            Self::SaidAway => 4,
            Self::SaidDamaged => 5,
            Self::Io(_) | Self::Interrupted | Self::Said => 1,
        }
    }
}

/// Runs the command that `cli` holds.
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
    /// Whether it changes what is in a bucket.
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

    /// Whether it says how all locations are.
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
    // Before anything that takes time: process 1 of a container has no other way to hear of it.
    let told_to_stop = serve::told_to_stop()?;
    let config = Config::load(cli.config.as_deref())?;
    if matches!(cli.command, Command::Serve) {
        return serve::serve(config, told_to_stop).await;
    }
    if matches!(cli.command, Command::Healthcheck) {
        return serve::healthcheck(&config, output).await;
    }
    // On a terminal, the log would run through the progress bars; warnings are worth that.
    let level = if config.log.level == Level::Info {
        Level::Warn
    } else {
        config.log.level
    };
    drop(logging::start(level, config.log.format));
    for problem in &config.problems {
        warn!("left out of the configuration: {problem}");
    }
    if config
        .locations
        .iter()
        .any(|location| location.origin == Origin::Embedded)
    {
        warn!(
            "no location is configured: this is about a directory on this machine. {ADDED_ELSEWHERE}"
        );
    }
    let is_partial = !config.problems.is_empty() && cli.command.is_about_all();
    let agent = Agent::new(config.locations, &config.state_dir)?;
    let result = tokio::select! {
        result = ask(&agent, &cli.command, output) => result,
        () = told_to_stop => Err(Failure::Interrupted),
    };
    if cli.command.writes() {
        // There may be no `serve` that does it.
        agent.end_what_was_left().await;
    }
    // What a failed upload left is removed before the program ends.
    agent.stop(CLEAN_UP_LIMIT).await;
    // All is not well with a location that was left out.
    result.and(if is_partial {
        Err(Failure::Said)
    } else {
        Ok(())
    })
}

async fn ask(agent: &Arc<Agent>, command: &Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Check { location } => query::check(agent, location.as_deref(), output).await,
        Command::List { location } => query::list(agent, location.as_deref(), output).await,
        Command::Upload { location, file } => transfer::upload(agent, location, file, output).await,
        Command::Download {
            location,
            backup_id,
            output: file,
            force,
        } => transfer::download(agent, location, backup_id, file.as_deref(), *force, output).await,
        Command::Delete {
            location,
            backup_id,
        } => query::delete(agent, location, backup_id, output).await,
        Command::Copy {
            from,
            to,
            backup_ids,
            dry_run,
        } => moving::copy(agent, from, to, backup_ids, *dry_run, output).await,
        Command::Import {
            to,
            from,
            from_prefix,
            dry_run,
        } => {
            moving::import(
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

/// The locations that a command is about: the named one, or all.
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
