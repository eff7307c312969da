//! The `s3-backup-agent` program.

use std::process::ExitCode;

use clap::Parser;
use s3_backup_agent::cli::{Cli, run};

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(run(cli)))
}
