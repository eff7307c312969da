//! `SeaweedFS`: master, volume server, filer and S3 gateway in one process.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{Daemon, Key, Place};
use crate::lab::{guard, part, port};

/// The shared server.
pub(crate) fn shared() -> &'static Daemon {
    static SHARED: OnceLock<Daemon> = OnceLock::new();
    SHARED.get_or_init(|| Daemon::start("seaweedfs", command))
}

fn command(place: &Place) -> Command {
    let identities = [
        identity("owner", &place.owner, "Admin"),
        identity("guest", &place.guest, "Read:another-bucket"),
    ];
    let config = place.folder.join("s3.json");
    fs::write(&config, json!({ "identities": identities }).to_string()).unwrap();
    fs::create_dir(place.folder.join("data")).unwrap();
    let mut command = Command::new(part("seaweedfs"));
    // The filer encrypts with a key that is derived from this one.
    command.env("WEED_S3_SSE_KEY", &place.owner.secret);
    command.args(["-logtostderr", "server", "-filer", "-s3", "-dir=data"]);
    command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
    command.arg(format!("-s3.config={}", config.display()));
    command.arg(format!("-s3.port={}", place.port));
    for service in ["master", "volume", "filer"] {
        command.arg(format!("-{service}.port={}", port::free()));
    }
    for service in ["master", "volume", "filer", "s3"] {
        let port = port::free();
        command.arg(format!("-{service}.port.grpc={port}"));
        // It leaves this socket behind.
        let socket = format!("/tmp/seaweedfs-{service}-grpc-{port}.sock");
        guard::folder(Path::new(&socket));
    }
    for service in ["filer", "s3"] {
        let socket = place.folder.join(service).with_extension("sock");
        command.arg(format!("-{service}.localSocket={}", socket.display()));
    }
    // Zero switches a service off.
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.args(["-master.telemetry=false", "-s3.autoCreateBucket=false"]);
    // Each bucket has volumes of its own: many small ones instead of a few of 30 GB.
    command.args(["-master.volumeSizeLimitMB=1024", "-volume.max=10000"]);
    command
}

fn identity(name: &str, key: &Key, action: &str) -> Value {
    let credentials = json!({"accessKey": key.id, "secretKey": key.secret});
    json!({"name": name, "credentials": [credentials], "actions": [action]})
}
