//! The `s3-backup-agent` program.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use s3_backup_agent::cli::{Cli, run};
use s3_backup_agent::{logging, system};

fn main() -> anyhow::Result<ExitCode> {
    system::keep_to_itself()?;
    logging::note_panics();
    let cli = Cli::parse();
    // One thread: a Raspberry Pi's other cores belong to Home Assistant, and a byte that never changes threads costs a
    // fifth less CPU and less memory. Files are read and written on tokio's blocking threads all the same.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(run(cli));
    // A name that is still being looked up, or a dead mount, must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(code)
}
