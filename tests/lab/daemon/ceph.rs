//! Ceph with its object gateway: a monitor, an OSD and the gateway, in a Debian root file system.

use std::process::Command;
use std::sync::OnceLock;

use super::{Daemon, Place};
use crate::lab::{part, port, repository};

/// The shared cluster.
pub(crate) fn shared() -> &'static Daemon {
    static SHARED: OnceLock<Daemon> = OnceLock::new();
    SHARED.get_or_init(|| Daemon::start("ceph", command))
}

fn command(place: &Place) -> Command {
    let mut command = Command::new(repository().join("scripts/in-root"));
    command
        .arg(part("ceph"))
        .arg(repository().join("tests/lab/ceph-server"))
        .arg(&place.folder)
        .args([place.port, port::free()].map(|port| port.to_string()))
        .env("OWNER_KEY_ID", &place.owner.id)
        .env("OWNER_SECRET", &place.owner.secret)
        .env("GUEST_KEY_ID", &place.guest.id)
        .env("GUEST_SECRET", &place.guest.secret);
    command
}
