//! `upload`.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::TryStreamExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use super::CommandError;
use super::output::{Output, size};
use super::progress::follow_uploads;
use crate::agent::Agent;
use crate::agent::upload::Uploader;
use crate::archive;
use crate::backup::{AgentBackup, AgentMetadata};
use crate::error::{Error, Kind};

/// Bytes per read of the file.
const READ_BYTES: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct UploadArgs {
    /// ID of a location
    #[arg(value_name = "LOC")]
    location: String,
    /// Archive (.tar) that Home Assistant created
    #[arg(value_name = "FILE.tar")]
    file: PathBuf,
}

/// Uploads a tar, described by its own manifest.
pub(super) async fn upload(
    agent: &Arc<Agent>,
    args: &UploadArgs,
    output: Output,
) -> Result<(), CommandError> {
    let UploadArgs { location, file } = args;
    let backup = describe(file).await?;
    let filename = format!("{}.tar", backup.suggested_stem());
    let upload = agent
        .create_upload(location, backup.clone(), &filename, Uploader::Command)
        .await?;
    let bar = output.progress(backup.size);
    let upload_id = upload.id.clone();
    let _following = follow_uploads(agent, &bar, move |upload| upload.upload_id == upload_id);
    let crc32 = Arc::new(Mutex::new(Digest::new(CrcAlgorithm::Crc32IsoHdlc)));
    let counted = Arc::clone(&crc32);
    let pieces = ReaderStream::with_capacity(File::open(file).await?, READ_BYTES).inspect_ok(
        move |piece: &Bytes| {
            counted.lock().update(piece);
        },
    );
    let received = agent.receive(&upload.id, pieces).await?;
    let crc32 = format!("{:08x}", crc32.lock().finalize());
    let stored = agent
        .complete_upload(&upload.id, backup.size, crc32)
        .await?;
    bar.finish_and_clear();
    let mut line = format!(
        "Uploaded {} ({}) to {location} as \"{}\".",
        backup.backup_id,
        size(received.size),
        upload.key()
    );
    if let Some(faults) = stored.agent.as_ref().and_then(AgentMetadata::faults) {
        let _ = write!(line, "\nThe backup is incomplete: {faults}.");
    }
    output.result(
        &line,
        &json!({"location": location, "key": upload.key(), "backup": stored}),
    )
}

async fn describe(file: &Path) -> Result<AgentBackup, CommandError> {
    let path = file.to_owned();
    let name = file.display();
    let read = move || -> Result<AgentBackup, archive::Error> {
        let file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        archive::read_contents(file)?
            .manifest
            .into_agent_backup(size)
    };
    match tokio::task::spawn_blocking(read)
        .await
        .map_err(io::Error::other)?
    {
        Ok(backup) => Ok(backup),
        Err(archive::Error::Io(error)) => Err(io::Error::new(
            error.kind(),
            format!("\"{name}\" could not be read: {error}"),
        )
        .into()),
        Err(error) => Err(Error::new(
            Kind::InvalidMetadata,
            format!("\"{name}\" cannot be uploaded: {error}."),
        )
        .into()),
    }
}
