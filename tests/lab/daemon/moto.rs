//! moto, which imitates Amazon: an S3 server in memory that accepts every access key.

use std::process::Command;
use std::sync::OnceLock;

use super::{Daemon, Place};
use crate::lab::{part, repository};

/// The shared server.
pub(crate) fn shared() -> &'static Daemon {
    static SHARED: OnceLock<Daemon> = OnceLock::new();
    SHARED.get_or_init(|| Daemon::start("moto", command))
}

fn command(place: &Place) -> Command {
    let mut command = Command::new(repository().join("scripts/in-python"));
    command.arg(part("moto").join("bin/moto_server")).args([
        "-H",
        "127.0.0.1",
        "-p",
        &place.port.to_string(),
    ]);
    command
}
