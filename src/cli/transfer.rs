//! `upload` and `download`.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::{StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use super::output::{Output, size};
use crate::agent::Agent;
use crate::agent::download::Download;
use crate::agent::listing::Entry;
use crate::agent::model::Event;
use crate::archive;
use crate::backup::{AgentBackup, StoredBackup};
use crate::error::{Error, Kind};

/// Bytes read from a file at a time.
const READ_BYTES: usize = 1024 * 1024;

/// Uploads a tar; what it is comes from its own `backup.json`.
pub(super) async fn upload(
    agent: &Arc<Agent>,
    location: &str,
    file: &Path,
    output: Output,
) -> Result<(), Failure> {
    let backup = describe(file).await?;
    let filename = format!("{}.tar", backup.suggested_stem());
    let upload = agent
        .create_upload_once(location, backup.clone(), &filename)
        .await?;
    let bar = output.progress(backup.size);
    let _following = follow(agent, &upload.id, &bar);
    let crc32 = Arc::new(Mutex::new(Digest::new(CrcAlgorithm::Crc32IsoHdlc)));
    let counted = Arc::clone(&crc32);
    let pieces = ReaderStream::with_capacity(File::open(file).await?, READ_BYTES).inspect_ok(
        move |piece: &Bytes| {
            counted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .update(piece);
        },
    );
    let received = agent.receive(&upload.id, pieces).await?;
    let crc32 = format!(
        "{:08x}",
        crc32
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .finalize()
    );
    let stored = agent
        .complete_upload(&upload.id, backup.size, crc32)
        .await?;
    bar.finish_and_clear();
    let line = format!(
        "Uploaded {} ({}) to {location} as \"{}\".",
        backup.backup_id,
        size(received.size),
        upload.key()
    );
    output.result(
        &line,
        &json!({"location": location, "key": upload.key(), "backup": stored}),
    )?;
    Ok(())
}

async fn describe(file: &Path) -> Result<AgentBackup, Failure> {
    let (path, name) = (file.to_owned(), file.display().to_string());
    let read = move || -> Result<AgentBackup, archive::Error> {
        let file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        archive::read_manifest(file)?.into_agent_backup(size)
    };
    match tokio::task::spawn_blocking(read)
        .await
        .map_err(io::Error::other)?
    {
        Ok(backup) => Ok(backup),
        Err(archive::Error::Io(error)) => {
            Err(io::Error::new(error.kind(), format!("\"{name}\" cannot be read: {error}")).into())
        }
        Err(error) => Err(Error::new(
            Kind::InvalidMetadata,
            format!("\"{name}\" cannot be uploaded: {error}."),
        )
        .into()),
    }
}

/// Moves the bar with what is stored in the bucket.
fn follow(agent: &Agent, upload_id: &str, bar: &ProgressBar) -> AbortOnDropHandle<()> {
    let (mut events, id, bar) = (
        agent.events().subscribe(),
        upload_id.to_owned(),
        bar.clone(),
    );
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if let Event::Upload(upload) = event
                && upload.upload_id == id
            {
                bar.set_position(upload.stored_bytes);
            }
        }
    }))
}

/// Downloads a backup into a file that is there whole or not at all.
pub(super) async fn download(
    agent: &Agent,
    location: &str,
    backup_id: &str,
    file: Option<&Path>,
    force: bool,
    output: Output,
) -> Result<(), Failure> {
    let entry = agent.find(location, backup_id).await?;
    let file = file.map_or_else(|| suggested_file(&entry, backup_id), PathBuf::from);
    if file == Path::new("-") {
        let download = agent.download(location, &entry, None).await?;
        write_all(download, tokio::io::stdout(), &ProgressBar::hidden()).await?;
        return Ok(());
    }
    if file.is_dir() {
        let folder = format!(
            "\"{}\" is a folder: give a file's name with -o",
            file.display()
        );
        return Err(io::Error::new(io::ErrorKind::IsADirectory, folder).into());
    }
    if !force && fs::try_exists(&file).await? {
        let taken = format!(
            "\"{}\" is there already; use --force to replace it, or -o for another name",
            file.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, taken).into());
    }
    let download = agent.download(location, &entry, None).await?;
    let (bytes, bar) = (download.size, output.progress(download.size));
    let partial = Partial(with_ending(
        &file,
        &format!(".{}.partial", uuid::Uuid::new_v4().simple()),
    ));
    write_file(download, &partial.0, &bar).await?;
    fs::rename(&partial.0, &file)
        .await
        .map_err(|error| cannot_write(&file, &error))?;
    bar.finish_and_clear();
    let verified = entry.metadata.sha256().is_some();
    let note = if verified {
        ""
    } else {
        "; the agent did not upload it, so there is no SHA-256 to compare"
    };
    let line = format!(
        "Downloaded {backup_id} ({}) to \"{}\"{note}.",
        size(bytes),
        file.display()
    );
    output.result(
        &line,
        &json!({"file": file.display().to_string(), "size": bytes, "verified": verified}),
    )?;
    Ok(())
}

/// A file that is not whole yet, and of this download alone; removed when it does not come to be.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It is gone already when it was moved to its place.
        drop(std::fs::remove_file(&self.0));
    }
}

fn cannot_write(file: &Path, error: &io::Error) -> io::Error {
    let why = format!(
        "\"{}\" cannot be written: {error}. Use -o for another place.",
        file.display()
    );
    io::Error::new(error.kind(), why)
}

async fn write_file(download: Download, path: &Path, bar: &ProgressBar) -> Result<(), Failure> {
    // A backup may hold every password of a house: what is there already might be read by others, or lead elsewhere.
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
) -> Result<W, Failure> {
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
    PathBuf::from(format!("{}.tar", stem.replace('/', "_")))
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
