//! A backup's tar for the commands that open it: in a location, or a file on this machine.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;
use secrecy::ExposeSecret;
use tokio::task::spawn_blocking;

use super::password::PasswordArgs;
use super::{CommandError, THIS_MACHINE};
use crate::agent::Agent;
use crate::agent::catalog::Entry;
use crate::agent::location::Location;
use crate::agent::opened::{self, Reading};
use crate::archive::entries::Entries;
use crate::archive::inner::{self, Inner};
use crate::archive::securetar::{self, Password};
use crate::archive::{self, Archive, archive_name};
use crate::config::Secret;
use crate::error::{Error, Kind};

#[derive(Debug, Args)]
pub(super) struct TarArgs {
    /// ID of a location, or `-` for a file on this machine
    #[arg(value_name = "LOC")]
    pub(super) location: String,
    /// ID of the backup, as shown by `list`; after `-`, the path of an archive (.tar)
    pub(super) backup_id: String,
    #[command(flatten)]
    pub(super) password: PasswordArgs,
}

/// A backup's tar.
pub(super) enum Tar {
    Stored {
        location: Arc<Location>,
        entry: Box<Entry>,
        /// `ETag` of the version whose headers were read.
        e_tag: Option<String>,
    },
    File(PathBuf),
}

/// An archive that is read on a blocking thread.
pub(super) type Opened = Entries<Inner<Box<dyn Read + Send>>>;

impl Tar {
    pub(super) async fn find(agent: &Agent, args: &TarArgs) -> Result<Self, CommandError> {
        if args.location == THIS_MACHINE {
            return Ok(Self::File(PathBuf::from(&args.backup_id)));
        }
        let entry = agent.find(&args.location, &args.backup_id).await?;
        Ok(Self::Stored {
            location: agent.location(&args.location)?,
            entry: Box::new(entry),
            e_tag: None,
        })
    }

    /// What messages call it.
    fn name(&self) -> String {
        match self {
            Self::Stored { entry, .. } => entry.tar.key.to_string(),
            Self::File(file) => file.display().to_string(),
        }
    }

    pub(super) fn size(&self) -> Result<u64, CommandError> {
        match self {
            Self::Stored { entry, .. } => Ok(entry.tar.size),
            Self::File(file) => {
                let metadata = std::fs::metadata(file).map_err(|error| self.unreadable(&error))?;
                Ok(metadata.len())
            }
        }
    }

    /// Whether a SHA-256 tells that all bytes are those of the upload.
    pub(super) fn is_verified(&self) -> bool {
        match self {
            Self::Stored { entry, .. } => entry.metadata.sha256().is_some(),
            Self::File(_) => false,
        }
    }

    /// Its archives, by the headers.
    pub(super) async fn archives(&mut self) -> Result<Vec<Archive>, CommandError> {
        self.archives_until(|_| false).await
    }

    /// Its archives, by the headers until `is_enough`.
    async fn archives_until(
        &mut self,
        is_enough: impl Fn(&[Archive]) -> bool + Send + 'static,
    ) -> Result<Vec<Archive>, CommandError> {
        let file = match self {
            Self::Stored {
                location,
                entry,
                e_tag,
            } => {
                let found = opened::archives(Arc::clone(location), (**entry).clone(), is_enough);
                let (found, version) = found.await?;
                *e_tag = version;
                return Ok(found.all);
            }
            Self::File(file) => file.clone(),
        };
        let found = spawn_blocking(move || archive::read_archives(File::open(file)?, is_enough));
        let found = found.await.map_err(io::Error::other)?;
        let found = found.map_err(|error| self.failed(error))?;
        Ok(found.all)
    }

    /// Finds an archive by its name, with or without its ending. Reads no header behind it.
    pub(super) async fn archive(&mut self, name: &str) -> Result<Archive, CommandError> {
        let stem = archive_name(name.as_bytes()).unwrap_or(name.as_bytes());
        let stem = String::from_utf8_lossy(stem).into_owned();
        let wanted = stem.clone();
        let is_there = move |all: &[Archive]| all.iter().any(|archive| archive.name == wanted);
        let all = self.archives_until(is_there).await?;
        let names: Vec<_> = all.iter().map(|archive| archive.name.clone()).collect();
        let found = all.into_iter().find(|archive| archive.name == stem);
        found.ok_or_else(|| {
            let detail = format!("\"{}\" holds no archive \"{name}\".", self.name());
            let hint = format!("It holds: {}.", names.join(", "));
            Error::new(Kind::BackupNotFound, detail)
                .with_hint(hint)
                .into()
        })
    }

    /// Does `work` with bytes of the tar, on a blocking thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        reading: Reading,
        bar: &ProgressBar,
        work: impl FnOnce(Box<dyn Read + Send>) -> Result<T, archive::Error> + Send + 'static,
    ) -> Result<T, CommandError> {
        let (source, _task): (Box<dyn Read + Send>, _) = match self {
            Self::Stored {
                location,
                entry,
                e_tag,
            } => {
                let (location, entry) = (Arc::clone(location), (**entry).clone());
                let (reader, task) = opened::reader(location, entry, reading, e_tag.clone());
                (Box::new(reader), Some(task))
            }
            Self::File(file) => {
                let opened = part_of(file, &reading).map_err(|error| self.unreadable(&error))?;
                (opened, None)
            }
        };
        let source = bar.wrap_read(source);
        let done = spawn_blocking(move || work(Box::new(source)));
        let done = done.await.map_err(io::Error::other)?;
        done.map_err(|error| self.failed(error))
    }

    /// Does `work` with the entries of one archive.
    pub(super) async fn open<T: Send + 'static>(
        &self,
        archive: &Archive,
        ends_early: bool,
        password: Option<Secret>,
        bar: &ProgressBar,
        work: impl FnOnce(&mut Opened) -> Result<T, archive::Error> + Send + 'static,
    ) -> Result<T, CommandError> {
        let range = archive.start..archive.start + archive.size;
        let reading = if ends_early {
            Reading::Windows(range)
        } else {
            Reading::Range(range)
        };
        let (size, name) = (archive.size, archive.name.clone());
        let opened = self.read(reading, bar, move |source| {
            let mut password = password.map(Password::new);
            let work = || work(&mut inner::open(source, size, password.as_mut())?);
            work().map_err(|error| error.within(&name))
        });
        opened.await
    }

    fn unreadable(&self, error: &io::Error) -> CommandError {
        let why = format!("\"{}\" could not be read: {error}", self.name());
        io::Error::new(error.kind(), why).into()
    }

    /// The error of a command, which tells the storage, the key and the tar apart.
    pub(super) fn failed(&self, error: archive::Error) -> CommandError {
        if let archive::Error::Incomplete(folder, error) = error {
            return incomplete(&folder, self.failed(*error));
        }
        let name = self.name();
        let text = error.to_string();
        match error.root() {
            archive::Error::Io(error) => match error.downcast::<Error>() {
                Ok(error) => error.into(),
                Err(error) => self.unreadable(&error),
            },
            archive::Error::Write(_, error) => io::Error::new(error.kind(), text).into(),
            archive::Error::SecureTar(
                securetar::Error::WrongPassword | securetar::Error::NoPassword,
            ) => CommandError::Locked(format!("\"{name}\": {text}")),
            root => opened::cannot_open(&name, &text, root).into(),
        }
    }
}

/// Adds to an error that a folder holds a part of an archive only.
fn incomplete(folder: &str, error: CommandError) -> CommandError {
    let advice = format!("The files in \"{folder}\" are incomplete or damaged: remove them.");
    match error {
        CommandError::Agent(error) => {
            let hint = format!("{} {advice}", error.hint());
            error.with_hint(hint.trim_start()).into()
        }
        CommandError::Io(error) => {
            io::Error::new(error.kind(), format!("{error}. {advice}")).into()
        }
        other => other,
    }
}

fn part_of(file: &PathBuf, reading: &Reading) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(file)?;
    match reading {
        Reading::Whole => Ok(Box::new(file)),
        Reading::Range(range) | Reading::Windows(range) => {
            file.seek(SeekFrom::Start(range.start))?;
            Ok(Box::new(file.take(range.end - range.start)))
        }
    }
}

/// Asks for the key if an archive is encrypted.
pub(super) async fn password_for(
    archives: &[Archive],
    args: &PasswordArgs,
) -> Result<Option<Secret>, CommandError> {
    // What is unknown is refused with a better message once it is opened.
    if archives
        .iter()
        .any(|archive| archive.is_encrypted() == Some(true))
    {
        let password = args.read().await?;
        Ok(Some(Secret::new(password.secret.expose_secret())))
    } else {
        Ok(None)
    }
}
