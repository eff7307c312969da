//! `ls`.

use std::io;

use chrono::{DateTime, SecondsFormat};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::CommandError;
use super::opened::{Opened, Tar, TarArgs, password_for};
use super::output::{Output, size};
use crate::agent::Agent;
use crate::archive::entries::Entry;
use crate::archive::{self, Archive};

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    tar: TarArgs,
    /// Archive in the backup, such as `homeassistant` or `core_ssh` [default: list the archives]
    #[arg(value_name = "MEMBER")]
    member: Option<String>,
}

impl LsArgs {
    pub(super) fn location(&self) -> &str {
        &self.tar.location
    }
}

/// Lists the archives in a backup, or the files in one of them.
pub(super) async fn ls(agent: &Agent, args: &LsArgs, output: Output) -> Result<(), CommandError> {
    let mut tar = Tar::find(agent, &args.tar).await?;
    let Some(member) = &args.member else {
        return tar
            .archives()
            .await?
            .iter()
            .try_for_each(|archive| show_archive(archive, output));
    };
    let archive = tar.archive(member).await?;
    let all = std::slice::from_ref(&archive);
    let password = password_for(all, &args.tar.password).await?;
    let list = move |opened: &mut Opened| {
        while let Some(entry) = opened.next_entry()? {
            show_entry(&entry, output).map_err(cannot_print)?;
        }
        opened.finish()
    };
    let bar = ProgressBar::hidden();
    tar.open(&archive, false, password, &bar, list).await
}

fn show_archive(archive: &Archive, output: Output) -> Result<(), CommandError> {
    let Archive {
        name, size: bytes, ..
    } = archive;
    let encrypted = archive.is_encrypted();
    let kind = match encrypted {
        Some(true) => "encrypted",
        Some(false) => "plain",
        None => "unknown",
    };
    let line = format!("{:>11}  {kind:<9}  {name}", size(*bytes));
    output.result(
        &line,
        &json!({"member": name, "size": bytes, "encrypted": encrypted}),
    )
}

fn show_entry(entry: &Entry, output: Output) -> Result<(), CommandError> {
    let path = String::from_utf8_lossy(&entry.path);
    let kind = entry.kind.name();
    let modified = i64::try_from(entry.modified)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
    let date = modified.as_deref().unwrap_or_default().replace('T', " ");
    let line = format!(
        "{kind:<7}  {:>11}  {:<16}  {}",
        size(entry.size),
        date.get(..16).unwrap_or_default(),
        path.replace('\n', "\u{fffd}")
    );
    output.result(
        &line,
        &json!({"path": path, "type": kind, "size": entry.size, "modified": modified}),
    )
}

fn cannot_print(error: CommandError) -> archive::Error {
    archive::Error::Write("standard output".to_owned(), io::Error::other(error))
}
