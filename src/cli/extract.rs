//! `extract`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::CommandError;
use super::opened::{Opened, Tar, TarArgs, password_for};
use super::output::{Output, size};
use crate::agent::Agent;
use crate::archive::{self, Extracted};

#[derive(Debug, Args)]
pub(super) struct ExtractArgs {
    #[command(flatten)]
    tar: TarArgs,
    /// Archive in the backup, such as `homeassistant` or `core_ssh`
    #[arg(value_name = "MEMBER")]
    member: String,
    /// Folder to write into, new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

impl ExtractArgs {
    pub(super) fn location(&self) -> &str {
        &self.tar.location
    }
}

/// Extracts one archive of a backup; fails when the content of a file is missing.
pub(super) async fn extract(
    agent: &Agent,
    args: &ExtractArgs,
    output: Output,
) -> Result<(), CommandError> {
    let mut tar = Tar::find(agent, &args.tar).await?;
    let archive = tar.archive(&args.member).await?;
    let all = std::slice::from_ref(&archive);
    let password = password_for(all, &args.tar.password).await?;
    let bar = output.progress(archive.size);
    let folder = args.output.clone();
    let work = move |opened: &mut Opened| archive::extract(opened, &folder);
    let extracted = tar.open(&archive, false, password, &bar, work).await?;
    bar.finish_and_clear();
    report(output, &archive.name, &args.output, &extracted)
}

/// Tells what was extracted, and what was left out.
///
/// # Errors
/// `CommandError::Reported` if files were left out.
fn report(
    output: Output,
    member: &str,
    folder: &Path,
    extracted: &Extracted,
) -> Result<(), CommandError> {
    let Extracted {
        files,
        bytes,
        left_out,
        left_out_files,
        left_out_paths,
    } = extracted;
    let folder = folder.display().to_string();
    let mut line = format!(
        "Extracted {files} files ({}) of {member} to \"{folder}\".",
        size(*bytes)
    );
    if *left_out > 0 {
        let _ = write!(
            line,
            "\n{left_out} entries left out, which are links, devices, too deep or outside the folder:"
        );
        for path in left_out_paths {
            let _ = write!(line, "\n  {}", path.replace('\n', "\u{fffd}"));
        }
    }
    output.result(
        &line,
        &json!({
            "member": member, "folder": folder, "files": files, "size": bytes, "left_out": left_out,
            "left_out_files": left_out_files, "left_out_paths": left_out_paths,
        }),
    )?;
    if *left_out_files == 0 {
        Ok(())
    } else {
        Err(CommandError::Reported)
    }
}
