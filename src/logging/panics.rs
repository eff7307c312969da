//! Panics in the log, scrubbed: a panic is a bug, and its message may quote any value.

use std::io::{self, Write};
use std::panic::{PanicHookInfo, set_hook};

use tracing::{dispatcher, error};

use super::{Format, Scrubbed};

/// Logs panics, or prints them to standard error before the log starts.
pub fn note_panics() {
    set_hook(Box::new(note));
}

fn note(panic: &PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("no message");
    if dispatcher::has_been_set() {
        error!(place, "a bug in the agent: {message}");
    } else {
        // Ignored: a closed standard error leaves no place to report to.
        drop(writeln!(
            Scrubbed(io::stderr(), Format::Plain),
            "error: a bug in the agent, at {place}: {message}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread::spawn;

    use super::*;
    use crate::config::Secret;
    use crate::logging::{Level, start};

    const CHILD: &str = "S3_BACKUP_AGENT_TEST_PANICS";
    const SECRET: &str = "planted/in+a=panic";

    /// The hook is global to the process, so a child process panics.
    #[test]
    fn panic_is_logged_without_secrets() {
        if let Ok(how) = std::env::var(CHILD) {
            let secret = Secret::new(SECRET);
            if how == "log" {
                start(Level::Info, Format::Plain).unwrap();
            }
            note_panics();
            assert!(
                spawn(move || panic!("no place for {}", secret.expose()))
                    .join()
                    .is_err()
            );
            return;
        }
        for how in ["log", "no log"] {
            let this = std::env::current_exe().unwrap();
            let name = "logging::panics::tests::panic_is_logged_without_secrets";
            let ran = Command::new(this)
                .args(["--exact", name, "--nocapture"])
                .env(CHILD, how)
                .output()
                .unwrap();
            let told = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
            assert!(ran.status.success() && told.contains("1 passed"), "{told}");
            assert!(
                told.contains("a bug in the agent") && told.contains("no place for ***"),
                "{told}"
            );
            assert!(
                told.contains("src/logging/panics.rs:") && !told.contains(SECRET),
                "{told}"
            );
        }
    }
}
