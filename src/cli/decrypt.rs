//! `decrypt`.

use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::CommandError;
use super::file::{NOT_VERIFIED, Partial, cannot_write, is_special, refuse_taken};
use super::opened::{Tar, TarArgs, password_for};
use super::output::{Output, size};
use crate::agent::Agent;
use crate::agent::opened::Reading;
use crate::archive::securetar::{self, Password};
use crate::archive::{self, Archive, Decrypted};

/// Bytes per write of the file.
const WRITE_BYTES: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct DecryptArgs {
    #[command(flatten)]
    tar: TarArgs,
    /// File to write, or `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

impl DecryptArgs {
    pub(super) fn location(&self) -> &str {
        &self.tar.location
    }
}

/// Writes a backup without its encryption, as Home Assistant would have made it.
pub(super) async fn decrypt(
    agent: &Agent,
    args: &DecryptArgs,
    output: Output,
) -> Result<(), CommandError> {
    let mut tar = Tar::find(agent, &args.tar).await?;
    let file = &args.output;
    let is_stdout = file == Path::new("-");
    if !is_stdout {
        refuse_taken(file, args.force).await?;
    }
    let archives = tar.archives().await?;
    let password = password_for(&archives, &args.tar.password).await?;
    let password = password.ok_or_else(|| not_encrypted(&tar, &archives))?;
    let mut password = Password::new(password);
    if is_stdout {
        let write = move |source: Box<dyn Read + Send>| {
            archive::decrypt(source, &mut io::stdout().lock(), &mut password)
        };
        let bar = ProgressBar::hidden();
        return tar.read(Reading::Whole, &bar, write).await.map(drop);
    }
    let bar = output.progress(tar.size()?);
    let decrypted = write(&tar, file, password, &bar).await?;
    bar.finish_and_clear();
    report(&tar, args, &decrypted, output)
}

/// Error of a backup that has no archive of a version that the agent reads.
fn not_encrypted(tar: &Tar, archives: &[Archive]) -> CommandError {
    let unknown = archives.iter().find(|archive| archive.may_be_locked());
    if let Some(unknown) = unknown {
        let error = archive::Error::from(securetar::Error::Unknown);
        return tar.failed(error.within(&unknown.name));
    }
    let why = "the backup is not encrypted: use `download`, or the file as it is";
    io::Error::new(io::ErrorKind::InvalidInput, why).into()
}

fn report(
    tar: &Tar,
    args: &DecryptArgs,
    decrypted: &Decrypted,
    output: Output,
) -> Result<(), CommandError> {
    let Decrypted { count, copied } = decrypted;
    let file = &args.output;
    let written = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let verified = tar.is_verified();
    let note = match tar {
        _ if verified => "",
        Tar::File(_) => "; not verified, because a file on this machine comes without a SHA-256",
        Tar::Stored { .. } => NOT_VERIFIED,
    };
    let mut line = format!(
        "Decrypted {} ({}) to \"{}\"{note}.",
        args.tar.backup_id,
        size(written),
        file.display()
    );
    if !copied.is_empty() {
        let names = copied.join(", ");
        let _ = write!(
            line,
            "\nNeither a tar nor encrypted, so copied as they are: {names}"
        );
    }
    output.result(
        &line,
        &json!({
            "file": file.display().to_string(), "size": written, "verified": verified, "decrypted": count,
            "copied": copied,
        }),
    )
}

/// Writes beside the file and renames when all is there, or into a device or a pipe.
async fn write(
    tar: &Tar,
    file: &Path,
    mut password: Password,
    bar: &ProgressBar,
) -> Result<Decrypted, CommandError> {
    let is_special = is_special(file).await;
    let partial = Partial::beside(file);
    let target = if is_special { file } else { &partial.0 }.to_owned();
    // A pipe opens only once another program reads it.
    let to = spawn_blocking(move || create(&target, is_special)).await;
    let to = to
        .map_err(io::Error::other)?
        .map_err(|error| cannot_write(file, &error))?;
    let write = move |source: Box<dyn Read + Send>| {
        let mut to = BufWriter::with_capacity(WRITE_BYTES, to);
        let decrypted = archive::decrypt(source, &mut to, &mut password)?;
        if !is_special {
            let synced = to.get_ref().sync_all();
            synced.map_err(|error| archive::Error::Write("the plain backup".to_owned(), error))?;
        }
        Ok(decrypted)
    };
    let decrypted = tar.read(Reading::Whole, bar, write).await?;
    if !is_special {
        std::fs::rename(&partial.0, file).map_err(|error| cannot_write(file, &error))?;
    }
    Ok(decrypted)
}

/// Like a download: a backup may hold every password of a house, and an existing file could be a link.
fn create(path: &Path, is_special: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    if !is_special {
        options.create_new(true).mode(0o600);
    }
    options.open(path)
}
