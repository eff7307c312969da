//! The command line: `serve`, and the agent's calls for users and scripts, one file per command.
//!
//! Exit codes: 0 done, 1 failed, 2 invalid usage or configuration, 3 not found, 4 storage unavailable for now, 5 damaged
//! data.

mod cat;
mod check;
mod copy;
mod decrypt;
mod delete;
mod download;
mod extract;
mod file;
mod healthcheck;
mod import;
mod key;
mod list;
mod ls;
mod opened;
mod output;
mod password;
mod progress;
mod recover;
mod restore;
mod serve;
mod terminal;
mod upload;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing::warn;

use crate::agent::Agent;
use crate::agent::location::ids;
use crate::agent::opened::is_unsupported;
use crate::config::{Config, Origin, Problems};
use crate::error::{Error, Kind};
use crate::home_assistant::Failure;
use crate::logging::{self, Level};
use cat::CatArgs;
use copy::CopyArgs;
use decrypt::DecryptArgs;
use delete::DeleteArgs;
use download::DownloadArgs;
use extract::ExtractArgs;
use import::ImportArgs;
use key::KeyArgs;
use ls::LsArgs;
use output::Output;
use recover::RecoverArgs;
use restore::RestoreArgs;
use upload::UploadArgs;
use verify::VerifyArgs;

/// Deadline for the clean-up at a command's end.
const CLEAN_UP_LIMIT: Duration = Duration::from_mins(1);

/// Stands for this machine in place of a location.
const THIS_MACHINE: &str = "-";

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
    Check(LocationArgs),
    /// List the backups of a location, or of all of them
    List(LocationArgs),
    /// Upload a backup's archive
    Upload(UploadArgs),
    /// Download a backup
    Download(DownloadArgs),
    /// Delete a backup
    Delete(DeleteArgs),
    /// Copy backups to another location; backups that exist there are skipped
    Copy(CopyArgs),
    /// Import backups of Home Assistant's own S3 integrations; the originals stay
    Import(ImportArgs),
    /// Verify that backups are complete and undamaged
    Verify(VerifyArgs),
    /// Restore the metadata of archives without it; the archives stay unchanged
    Recover(RecoverArgs),
    /// Restore a backup into a new Home Assistant that shows its first page
    Restore(RestoreArgs),
    /// Check whether an encryption key opens a backup, or all of a location
    Key(KeyArgs),
    /// List the archives in a backup, or the files in one of them
    Ls(LsArgs),
    /// Print one file of a backup
    Cat(CatArgs),
    /// Extract one archive of a backup into a folder
    Extract(ExtractArgs),
    /// Write a backup without its encryption
    Decrypt(DecryptArgs),
    /// Ask the running agent whether it is healthy
    Healthcheck,
}

#[derive(Debug, Args)]
struct LocationArgs {
    /// ID of a location
    #[arg(value_name = "LOC")]
    location: Option<String>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Configuration(#[from] Problems),
    #[error(transparent)]
    Agent(#[from] Error),
    #[error(transparent)]
    HomeAssistant(#[from] Failure),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// An option, or what it names, is to be corrected.
    #[error("{0}")]
    Usage(String),
    /// The encryption key is missing or wrong.
    #[error("{0}")]
    Locked(String),
    #[error("interrupted")]
    Interrupted,
    /// The command already printed its errors.
    #[error("failed")]
    Reported,
    /// The same; the storage is unavailable for now.
    #[error("failed")]
    ReportedAway,
    /// The same; what was asked for does not exist.
    #[error("failed")]
    ReportedMissing,
    /// The same; data is damaged.
    #[error("failed")]
    ReportedDamaged,
}

impl CommandError {
    /// Code in `--json` for errors outside the agent.
    fn name(&self) -> &'static str {
        match self {
            Self::HomeAssistant(failure) => failure.code(),
            Self::Locked(_) => "wrong_key",
            _ if self.code() == 2 => "configuration",
            _ => "io",
        }
    }

    /// Advice of errors outside the agent.
    const fn hint(&self) -> &'static str {
        match self {
            Self::HomeAssistant(failure) => failure.hint(),
            _ => "",
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Usage(_) => 2,
            Self::Agent(error) => match error.kind() {
                Kind::BackupNotFound | Kind::LocationNotFound => 3,
                Kind::InvalidMetadata if is_unsupported(error) => 1,
                Kind::ChecksumMismatch | Kind::SizeMismatch | Kind::InvalidMetadata => 5,
                kind if kind.facts().retryable => 4,
                _ => 1,
            },
            Self::ReportedMissing => 3,
            Self::ReportedAway => 4,
            Self::ReportedDamaged => 5,
            Self::HomeAssistant(failure) if failure.is_usage() => 2,
            Self::HomeAssistant(_)
            | Self::Io(_)
            | Self::Locked(_)
            | Self::Interrupted
            | Self::Reported => 1,
        }
    }
}

/// Runs a command.
pub async fn run(cli: Cli) -> ExitCode {
    let output = Output { json: cli.json };
    match dispatch(&cli, output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.code())
        }
    }
}

impl Command {
    /// Whether the command changes a bucket's content.
    const fn writes(&self) -> bool {
        matches!(
            self,
            Self::Upload(_) | Self::Delete(_) | Self::Copy(_) | Self::Import(_) | Self::Recover(_)
        )
    }

    /// Whether the command opens a file on this machine, and no location.
    fn is_about_a_file(&self) -> bool {
        let location = match self {
            Self::Key(args) => args.location(),
            Self::Ls(args) => args.location(),
            Self::Cat(args) => args.location(),
            Self::Extract(args) => args.location(),
            Self::Decrypt(args) => args.location(),
            _ => return false,
        };
        location == THIS_MACHINE
    }

    /// Whether the command reports on all locations.
    const fn is_about_all(&self) -> bool {
        match self {
            Self::Check(args) | Self::List(args) => args.location.is_none(),
            Self::Verify(args) => args.location.is_none(),
            _ => false,
        }
    }
}

async fn dispatch(cli: &Cli, output: Output) -> Result<(), CommandError> {
    // First of all: process 1 of a container has no default signal handlers.
    let stop_signal = serve::stop_signal()?;
    let mut config = Config::load(cli.config.as_deref())?;
    if matches!(cli.command, Command::Serve) {
        return serve::serve(config, stop_signal).await;
    }
    if matches!(cli.command, Command::Healthcheck) {
        return healthcheck::healthcheck(&config, output).await;
    }
    // Log lines break progress bars on a terminal; warnings are worth it.
    let level = without_info(config.log.level);
    drop(logging::start(level, config.log.format));
    for problem in &config.problems {
        warn!("ignored in the configuration: {problem}");
    }
    if !cli.command.is_about_a_file()
        && let [only] = &*config.locations
        && only.origin == Origin::Embedded
    {
        warn!("no location is configured: using a directory on this machine. {ADDED_ELSEWHERE}");
    }
    let is_partial = !config.problems.is_empty() && cli.command.is_about_all();
    ids::recall(&mut config.locations, &config.state_dir);
    let agent = Agent::new(config.locations, &config.state_dir);
    let result = tokio::select! {
        result = ask(&agent, &cli.command, output) => result,
        () = stop_signal => Err(CommandError::Interrupted),
    };
    if cli.command.writes() {
        // No `serve` may be running to do it.
        agent.sweep_journals().await;
    }
    // Waits for the clean-up of failed uploads.
    agent.stop(CLEAN_UP_LIMIT).await;
    // A location with invalid settings was not reported on, so the command did not succeed.
    result.and(if is_partial {
        Err(CommandError::Reported)
    } else {
        Ok(())
    })
}

fn without_info(level: Level) -> Level {
    if level == Level::Info {
        Level::Warn
    } else {
        level
    }
}

async fn ask(agent: &Arc<Agent>, command: &Command, output: Output) -> Result<(), CommandError> {
    match command {
        Command::Check(args) => check::check(agent, args, output).await,
        Command::List(args) => list::list(agent, args, output).await,
        Command::Upload(args) => upload::upload(agent, args, output).await,
        Command::Download(args) => download::download(agent, args, output).await,
        Command::Delete(args) => delete::delete(agent, args, output).await,
        Command::Copy(args) => copy::copy(agent, args, output).await,
        Command::Import(args) => import::import(agent, args, output).await,
        Command::Verify(args) => verify::verify(agent, args, output).await,
        Command::Recover(args) => recover::recover(agent, args, output).await,
        Command::Restore(args) => restore::restore(agent, args, output).await,
        Command::Key(args) => key::key(agent, args, output).await,
        Command::Ls(args) => ls::ls(agent, args, output).await,
        Command::Cat(args) => cat::cat(agent, args).await,
        Command::Extract(args) => extract::extract(agent, args, output).await,
        Command::Decrypt(args) => decrypt::decrypt(agent, args, output).await,
        Command::Serve | Command::Healthcheck => Ok(()),
    }
}

/// Returns the ids of the named location, or of all.
fn chosen(agent: &Agent, location: Option<&String>) -> Result<Vec<String>, Error> {
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
fn exit_code_of(failed: Option<bool>) -> Result<(), CommandError> {
    match failed {
        None => Ok(()),
        Some(true) => Err(CommandError::ReportedAway),
        Some(false) => Err(CommandError::Reported),
    }
}
