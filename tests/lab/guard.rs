//! Kills everything that the tests started, even when the tests are killed: a shell that waits for
//! the end of its input.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
live=' ' folders=
while read -r word value; do
    case $word in
    started) live="$live$value " ;;
    ended) live="${live%% "$value" *} ${live#* "$value" }" ;;
    folder) folders="$folders $value" ;;
    esac
done
for pid in $live; do kill -9 "$pid"; done 2>/dev/null
sleep 0.1
rm -rf $folders
"#;

static GUARD: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
    let shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    Mutex::new(shell.unwrap().stdin.take().unwrap())
});

fn tell(line: &str) {
    writeln!(
        GUARD.lock().unwrap_or_else(PoisonError::into_inner),
        "{line}"
    )
    .unwrap();
}

/// Starts a server that writes to this log, and ends with the tests.
pub(super) fn spawn(command: &mut Command, log: File) -> Child {
    let process = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    started(process.id());
    process
}

pub(super) fn started(pid: u32) {
    tell(&format!("started {pid}"));
}

pub(super) fn ended(pid: u32) {
    tell(&format!("ended {pid}"));
}

/// Removes a folder at the end of the run.
pub(super) fn folder(path: &Path) {
    tell(&format!("folder {}", path.display()));
}
