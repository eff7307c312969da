//! The gateway of `JuiceFS`, which is `MinIO`'s S3 code, on a local folder.

use std::process::Command;
use std::sync::OnceLock;

use super::{Daemon, Place};
use crate::lab::part;

/// Formats a file system in the current folder, then becomes the gateway.
const SCRIPT: &str = r#"
database=sqlite3://$PWD/meta.db
"$0" format --storage file --bucket "$PWD/store/" "$database" lab
exec "$0" gateway --multi-buckets --keep-etag --no-usage-report --cache-dir "$PWD/cache" "$database" "$1"
"#;

/// The shared server.
pub(crate) fn shared() -> &'static Daemon {
    static SHARED: OnceLock<Daemon> = OnceLock::new();
    SHARED.get_or_init(|| Daemon::start("juicefs", command))
}

fn command(place: &Place) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-euc", SCRIPT])
        .arg(part("juicefs"))
        .arg(format!("127.0.0.1:{}", place.port))
        .env("MINIO_ROOT_USER", &place.owner.id)
        .env("MINIO_ROOT_PASSWORD", &place.owner.secret);
    command
}
