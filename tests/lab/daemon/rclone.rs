//! `rclone serve s3` on a local folder.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use super::{Daemon, Place};
use crate::lab::part;

/// The shared server.
pub(crate) fn shared() -> &'static Daemon {
    static SHARED: OnceLock<Daemon> = OnceLock::new();
    SHARED.get_or_init(|| Daemon::start("rclone", command))
}

fn command(place: &Place) -> Command {
    let data = place.folder.join("data");
    fs::create_dir(&data).unwrap();
    let mut command = Command::new(part("rclone"));
    command
        .args(["serve", "s3", "--config=/dev/null", "--addr"])
        .arg(format!("127.0.0.1:{}", place.port))
        .arg(format!(
            "--auth-key={},{}",
            place.owner.id, place.owner.secret
        ))
        .arg(data)
        .env("XDG_CONFIG_HOME", &place.folder);
    command
}
