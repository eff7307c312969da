//! The `s3-backup-agent` program.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use s3_backup_agent::cli::{Cli, run};
use s3_backup_agent::{logging, system};

fn main() -> anyhow::Result<ExitCode> {
    system::harden()?;
    logging::note_panics();
    let cli = Cli::parse();
    // One thread: a Raspberry Pi's other cores belong to Home Assistant. A byte that never changes threads costs a fifth
    // less CPU, and less memory. Files are read and written on tokio's blocking threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(run(cli));
    // A pending name lookup or a dead mount must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(code)
}
