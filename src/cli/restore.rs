//! `restore`.

mod choice;
mod follow;
mod plan;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::CommandError;
use super::output::Output;
use super::password::{Password, PasswordArgs};
use super::terminal::ask;
use crate::agent::Agent;
use crate::agent::download::Download;
use crate::home_assistant::{Failure, FirstPage, HomeAssistant, RestoreRequest, UploadError};
use choice::choose;
use follow::{ASKED_EVERY, follow};
use plan::{Plan, Target};

/// How long a Home Assistant that starts or ends another job is awaited.
const IDLE_WITHIN: Duration = Duration::from_mins(10);

/// How often a wrong key may be typed.
const MAX_ATTEMPTS: usize = 3;

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// ID of a location
    #[arg(value_name = "LOC")]
    location: String,
    /// ID of the backup, as shown by `list` [default: the newest complete one]
    backup_id: Option<String>,
    /// URL of a new Home Assistant that shows its first page, such as `http://192.168.1.50:8123`
    #[arg(long, value_name = "URL")]
    to: String,
    /// Do not ask before the restore
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    password: PasswordArgs,
    /// PEM file with the authority of that Home Assistant's certificate
    #[arg(long, value_name = "FILE")]
    ca_certificate: Option<PathBuf>,
}

/// Restores a backup into a new Home Assistant, and waits until that is back.
pub(super) async fn restore(
    agent: &Arc<Agent>,
    args: &RestoreArgs,
    output: Output,
) -> Result<(), CommandError> {
    let home = open(args)?;
    let target = target(&home).await?;
    let choice = choose(agent, &args.location, args.backup_id.as_deref(), output).await?;
    let plan = Plan::of(&choice, target, home.url())?;
    output.result(&plan.to_string(), &plan.json())?;
    let mut password = None;
    if plan.is_encrypted {
        // Home Assistant itself checks the key, once it has all of the backup.
        password = Some(args.password.read().await?);
    }
    if !args.yes {
        confirm().await?;
    }
    wait_until_idle(&home).await?;
    let download = Download::open(agent.location(&args.location)?, &choice.entry, None).await?;
    let backup_id = send(&home, &plan, download, output).await?;
    let line =
        "Home Assistant has the backup, and begins to restore it. It restarts once or twice.";
    output.result(line, &json!({"sent": plan.backup_id}))?;
    begin(&home, &plan, &backup_id, password).await?;
    let start = Instant::now();
    follow(&home, output).await?;
    let seconds = start.elapsed().as_secs();
    let line = format!(
        "Home Assistant is back after {seconds} s: open {}, and log in as in the old system.\n{}",
        home.url(),
        plan.next_steps()
    );
    let done = json!({"restored": plan.backup_id, "url": home.url(), "seconds": seconds});
    output.result(&line, &done)
}

fn open(args: &RestoreArgs) -> Result<HomeAssistant, CommandError> {
    let mut certificate = None;
    if let Some(file) = &args.ca_certificate {
        let read = fs::read(file).map_err(|error| {
            let why = format!("\"{}\" could not be read: {error}", file.display());
            io::Error::new(error.kind(), why)
        })?;
        certificate = Some(read);
    }
    Ok(HomeAssistant::new(&args.to, certificate.as_deref())?)
}

/// Asks Home Assistant for what decides a restore.
async fn target(home: &HomeAssistant) -> Result<Target, Failure> {
    if home.first_page().await? == FirstPage::Done {
        return Err(Failure::Onboarded(home.url().to_owned()));
    }
    Ok(Target {
        installation: home.installation().await?,
        version: home.version().await,
    })
}

async fn confirm() -> Result<(), CommandError> {
    let question = "This replaces everything in that Home Assistant. Restore? [y/N]";
    let answer = ask(question).await.map_err(|error| {
        let why = format!("There is no terminal to ask on ({error}): confirm with --yes.");
        io::Error::new(error.kind(), why)
    })?;
    if matches!(&*answer.trim().to_lowercase(), "y" | "yes") {
        Ok(())
    } else {
        Err(CommandError::Interrupted)
    }
}

async fn wait_until_idle(home: &HomeAssistant) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        match home.manager_state().await {
            Ok(state) if state.is_idle() => return Ok(()),
            // One that just started does not have this yet.
            Ok(_) | Err(Failure::NotHomeAssistant { .. }) => {}
            Err(failure) => return Err(failure),
        }
        if start.elapsed() > IDLE_WITHIN {
            return Err(Failure::Busy);
        }
        sleep(ASKED_EVERY).await;
    }
}

/// Sends the backup from the bucket to Home Assistant, and returns its id there.
async fn send(
    home: &HomeAssistant,
    plan: &Plan,
    download: Download,
    output: Output,
) -> Result<String, CommandError> {
    let bar = output.progress(download.size);
    let size = download.size;
    let moving = bar.clone();
    // Its last piece comes after the SHA-256 was compared: Home Assistant never gets all of a damaged backup.
    let pieces = download.into_stream().inspect(move |piece| {
        if let Ok(piece) = piece {
            moving.inc(piece.len() as u64);
        }
    });
    let sent = home.upload(plan.target.installation, size, pieces).await;
    bar.finish_and_clear();
    sent.map_err(|error| match error {
        UploadError::Source(error) => error.into(),
        UploadError::HomeAssistant(failure) => failure.into(),
    })
}

/// Starts the restore; a wrong key may be typed again.
async fn begin(
    home: &HomeAssistant,
    plan: &Plan,
    backup_id: &str,
    mut password: Option<Password>,
) -> Result<(), CommandError> {
    let mut attempts = 1;
    loop {
        let request = RestoreRequest {
            backup_id,
            password: password.as_ref().map(|password| &password.secret),
            installation: plan.target.installation,
            has_database: plan.has_database,
            apps: plan.apps.clone(),
            folders: plan.folders.clone(),
        };
        let is_typed = password.as_ref().is_some_and(|password| password.is_typed);
        match home.restore(&request).await {
            Err(failure @ Failure::WrongKey) if is_typed && attempts < MAX_ATTEMPTS => {
                attempts += 1;
                password = Some(Password::ask(&format!("{failure} Another key:")).await?);
            }
            ended => return Ok(ended?),
        }
    }
}
