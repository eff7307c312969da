//! `download`.

use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::Args;
use futures_util::StreamExt;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::fs::{self, OpenOptions};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::CommandError;
use super::file::{NOT_VERIFIED, Partial, cannot_write, is_special, refuse_taken};
use super::output::{Output, size};
use crate::agent::Agent;
use crate::agent::catalog::Entry;
use crate::agent::download::Download;
use crate::backup::StoredBackup;

/// Longest suggested name without its ending: file systems allow 255 bytes.
const MAX_STEM_BYTES: usize = 255 - ".tar".len();

#[derive(Debug, Args)]
pub(super) struct DownloadArgs {
    /// ID of a location
    #[arg(value_name = "LOC")]
    location: String,
    /// ID of the backup, as shown by `list`
    backup_id: String,
    /// File to write, or `-` for standard output [default: the name that Home Assistant suggests]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// Downloads a backup into a file, atomically.
pub(super) async fn download(
    agent: &Agent,
    args: &DownloadArgs,
    output: Output,
) -> Result<(), CommandError> {
    let DownloadArgs {
        location,
        backup_id,
        output: file,
        force,
    } = args;
    let entry = agent.find(location, backup_id).await?;
    let file = file
        .clone()
        .unwrap_or_else(|| suggested_file(&entry, backup_id));
    if file == Path::new("-") {
        let download = Download::open(agent.location(location)?, &entry, None).await?;
        write_all(download, tokio::io::stdout(), &ProgressBar::hidden()).await?;
        return Ok(());
    }
    refuse_taken(&file, *force).await?;
    let is_special = is_special(&file).await;
    let download = Download::open(agent.location(location)?, &entry, None).await?;
    let bytes = download.size;
    let bar = output.progress(bytes);
    if is_special {
        write_into(download, &file, &bar).await?;
    } else {
        replace(download, &file, &bar).await?;
    }
    bar.finish_and_clear();
    let verified = entry.metadata.sha256().is_some();
    let note = if verified { "" } else { NOT_VERIFIED };
    let line = format!(
        "Downloaded {backup_id} ({}) to \"{}\"{note}.",
        size(bytes),
        file.display()
    );
    output.result(
        &line,
        &json!({"file": file.display().to_string(), "size": bytes, "verified": verified}),
    )
}

async fn write_into(
    download: Download,
    file: &Path,
    bar: &ProgressBar,
) -> Result<(), CommandError> {
    let opened = OpenOptions::new().write(true).open(file).await;
    let opened = opened.map_err(|error| cannot_write(file, &error))?;
    write_all(download, opened, bar).await.map(drop)
}

/// Writes beside the file, and renames when all is there.
async fn replace(download: Download, file: &Path, bar: &ProgressBar) -> Result<(), CommandError> {
    let partial = Partial::beside(file);
    write_file(download, &partial.0, bar).await?;
    let renamed = fs::rename(&partial.0, file).await;
    renamed.map_err(|error| cannot_write(file, &error).into())
}

async fn write_file(
    download: Download,
    path: &Path,
    bar: &ProgressBar,
) -> Result<(), CommandError> {
    // A backup may hold every password of a house. An existing file could be readable by others, or a link.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await;
    let file = file.map_err(|error| cannot_write(path, &error))?;
    let file = write_all(download, file, bar).await?;
    file.sync_all().await?;
    Ok(())
}

async fn write_all<W: AsyncWrite + Unpin>(
    download: Download,
    mut to: W,
    bar: &ProgressBar,
) -> Result<W, CommandError> {
    let mut pieces = pin!(download.into_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        to.write_all(&piece).await?;
        bar.inc(piece.len() as u64);
    }
    to.flush().await?;
    Ok(to)
}

fn suggested_file(entry: &Entry, backup_id: &str) -> PathBuf {
    let stored = StoredBackup::parse(entry.metadata.json.get().as_bytes());
    let stem = stored.map_or_else(
        |_| backup_id.to_owned(),
        |stored| stored.backup.suggested_stem(),
    );
    let mut stem = stem.replace('/', "_");
    stem.truncate(stem.floor_char_boundary(MAX_STEM_BYTES));
    PathBuf::from(format!("{stem}.tar"))
}
