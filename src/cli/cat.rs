//! `cat`.

use std::io;

use clap::Args;
use indicatif::ProgressBar;

use super::CommandError;
use super::opened::{Opened, Tar, TarArgs, password_for};
use crate::agent::Agent;
use crate::archive::entries::EntryKind;
use crate::archive::{self, inside};
use crate::error::{Error, Kind};

#[derive(Debug, Args)]
pub(super) struct CatArgs {
    #[command(flatten)]
    tar: TarArgs,
    /// Archive in the backup, such as `homeassistant`
    #[arg(value_name = "MEMBER")]
    member: String,
    /// File in that archive, as shown by `ls`, such as `data/configuration.yaml`
    #[arg(value_name = "PATH")]
    path: String,
}

impl CatArgs {
    pub(super) fn location(&self) -> &str {
        &self.tar.location
    }
}

/// Prints one file of a backup, and reads no further than to its end.
pub(super) async fn cat(agent: &Agent, args: &CatArgs) -> Result<(), CommandError> {
    let mut tar = Tar::find(agent, &args.tar).await?;
    let archive = tar.archive(&args.member).await?;
    let missing = || {
        let (member, path) = (&args.member, &args.path);
        let detail = format!("The archive \"{member}\" holds no file \"{path}\".");
        let hint = format!("List its files: `ls … {member}`.");
        Error::new(Kind::BackupNotFound, detail).with_hint(hint)
    };
    // As `None`, a path that leads outside would match every other such path.
    let wanted = inside(args.path.as_bytes()).filter(|path| !path.as_os_str().is_empty());
    let wanted = Some(wanted.ok_or_else(missing)?);
    let all = std::slice::from_ref(&archive);
    let password = password_for(all, &args.tar.password).await?;
    let print = move |opened: &mut Opened| {
        while let Some(entry) = opened.next_entry()? {
            if entry.kind == EntryKind::File && inside(&entry.path) == wanted {
                let mut out = io::stdout().lock();
                archive::copy_content(opened, &mut out, "standard output")?;
                return Ok(true);
            }
        }
        Ok(false)
    };
    let bar = ProgressBar::hidden();
    if tar.open(&archive, true, password, &bar, print).await? {
        return Ok(());
    }
    Err(missing().into())
}
