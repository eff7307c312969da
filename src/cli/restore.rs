//! `restore`.

mod choice;
mod follow;
mod key;
mod plan;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use secrecy::SecretString;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::CommandError;
use super::output::Output;
use super::password::PasswordArgs;
use super::terminal::ask;
use crate::agent::Agent;
use crate::agent::download::Download;
use crate::home_assistant::{Failure, FirstPage, HomeAssistant, RestoreRequest, UploadError};
use choice::choose;
use follow::{ASKED_EVERY, follow};
use key::key_for;
use plan::{Plan, Target};

/// How long a Home Assistant that starts or ends another job is awaited.
const IDLE_WITHIN: Duration = Duration::from_mins(10);

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
        password = Some(key_for(agent, args, &choice.entry).await?);
    }
    if !args.yes && !is_wanted().await? {
        output.result("Nothing was changed.", &json!({"changed": false}))?;
        return Err(CommandError::Reported);
    }
    wait_until_idle(&home, output).await?;
    let download = Download::open(agent.location(&args.location)?, &choice.entry, None).await?;
    let backup_id = send(&home, &plan, download, output).await?;
    let line =
        "Home Assistant has the backup, and begins to restore it. It restarts once or twice.";
    output.tell(line, &json!({"sent": plan.backup_id}));
    begin(&home, &plan, &backup_id, password.as_ref()).await?;
    let start = Instant::now();
    follow(&home, output).await?;
    let seconds = start.elapsed().as_secs();
    let line = format!(
        "Home Assistant is back after {seconds} s: open {}, and log in as in the old system.\n{}",
        home.url(),
        plan.next_steps()
    );
    let done = json!({"back": home.url(), "backup_id": plan.backup_id, "seconds": seconds});
    output.tell(&line, &done);
    Ok(())
}

fn open(args: &RestoreArgs) -> Result<HomeAssistant, CommandError> {
    let mut certificate = None;
    if let Some(file) = &args.ca_certificate {
        let read = fs::read(file).map_err(|error| {
            CommandError::Usage(format!(
                "\"{}\" could not be read: {error}.",
                file.display()
            ))
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

/// Asks whether to begin.
async fn is_wanted() -> Result<bool, CommandError> {
    let question = "This replaces everything in that Home Assistant. Restore? [y/N]";
    match ask(question).await {
        Ok(answer) => Ok(matches!(&*answer.trim().to_lowercase(), "y" | "yes")),
        // Ctrl-D.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => {
            let why = format!("There is no terminal to ask on ({error}): confirm with --yes.");
            Err(io::Error::new(error.kind(), why).into())
        }
    }
}

/// Waits until Home Assistant takes a backup.
async fn wait_until_idle(home: &HomeAssistant, output: Output) -> Result<(), CommandError> {
    let start = Instant::now();
    let mut is_told = false;
    loop {
        let failure = match home.manager_state().await {
            Ok(state) if state.is_idle() => return Ok(()),
            Ok(_) => Failure::Busy,
            // One that just started does not have this yet.
            Err(failure @ Failure::NotHomeAssistant { .. }) => failure,
            Err(failure) => return Err(failure.into()),
        };
        if start.elapsed() > IDLE_WITHIN {
            return Err(failure.into());
        }
        if !is_told {
            is_told = true;
            let minutes = IDLE_WITHIN.as_secs() / 60;
            let line = format!(
                "Home Assistant still starts, or is busy: waiting for it, {minutes} minutes at most."
            );
            output.result(&line, &json!({"waiting_for": failure.code()}))?;
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

/// Starts the restore.
async fn begin(
    home: &HomeAssistant,
    plan: &Plan,
    backup_id: &str,
    password: Option<&SecretString>,
) -> Result<(), Failure> {
    let request = RestoreRequest {
        backup_id,
        password,
        installation: plan.target.installation,
        has_database: plan.has_database,
        apps: plan.apps.clone(),
        folders: plan.folders.clone(),
    };
    home.restore(&request).await
}
