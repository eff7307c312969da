//! The process and the machine it runs on, as Linux shows them in `/proc`. What cannot be read is left out.

use std::fs;
use std::io;

use nix::sys::prctl::set_dumpable;
use nix::sys::stat::{Mode, umask};
use serde::Serialize;

/// Linux counts CPU time for programs in hundredths of a second, whatever its own clock does. Source: proc(5), `USER_HZ`.
const TICKS_A_SECOND: f64 = 100.0;

/// Keeps what the process knows to itself: the files that it makes are its owner's alone, whatever they are made by and
/// whatever umask it was started with; and nobody but root sees its memory or its environment, neither in `/proc` nor in a
/// core dump. Source: prctl(2), `PR_SET_DUMPABLE`.
///
/// # Errors
/// When the kernel does not know of dumps.
pub fn keep_to_itself() -> io::Result<()> {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    Ok(set_dumpable(false)?)
}

/// A look at the process.
#[derive(Debug, Clone, Serialize)]
pub struct System {
    /// Such as `linux`.
    pub os: &'static str,
    /// Such as `aarch64`.
    pub arch: &'static str,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// Cores that the process may use.
    pub cpus: Option<usize>,
    /// Memory in use, in bytes.
    pub memory_bytes: Option<u64>,
    /// The most that was in use.
    pub peak_memory_bytes: Option<u64>,
    /// Open files and connections.
    pub open_files: Option<usize>,
    /// CPU time used.
    pub cpu_seconds: Option<f64>,
}

impl System {
    /// Looks now.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            kernel: kernel.map(|text| text.trim().to_owned()),
            cpus: std::thread::available_parallelism().ok().map(Into::into),
            memory_bytes: bytes(&status, "VmRSS:"),
            peak_memory_bytes: bytes(&status, "VmHWM:"),
            open_files: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            cpu_seconds: fs::read_to_string("/proc/self/stat")
                .ok()
                .as_deref()
                .and_then(cpu_seconds),
        }
    }
}

/// A line such as `VmRSS:      1234 kB`.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The 14th and 15th field; the second one is a name in parentheses, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(
            bytes("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"),
            Some(2 << 20)
        );
        assert_eq!(bytes("VmRSS:\tmuch\n", "VmRSS:"), None);
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 120 0 0 0 250 50 0 0 20 0 4 0 99";
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }

    #[test]
    fn this_process_is_seen() {
        let system = System::now();
        assert!(
            system.memory_bytes > Some(1 << 20) && system.peak_memory_bytes >= system.memory_bytes,
            "{system:?}"
        );
        assert!(
            system.open_files > Some(2) && system.cpu_seconds.is_some(),
            "{system:?}"
        );
    }
}
