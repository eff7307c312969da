//! The process and its machine, as Linux shows them in `/proc`. Unreadable values are left out.

use std::fs;
use std::io;

use nix::sys::prctl::set_dumpable;
use nix::sys::stat::{Mode, umask};
use serde::Serialize;
use utoipa::ToSchema;

/// Unit of CPU time in `/proc`, independent of the kernel's own clock. Source: proc(5), `USER_HZ`.
const TICKS_A_SECOND: f64 = 100.0;

/// Restricts new files to their owner, and memory and environment to root, in `/proc` as in core dumps.
/// Source: prctl(2), `PR_SET_DUMPABLE`.
///
/// # Errors
/// When the kernel does not support `PR_SET_DUMPABLE`.
pub fn harden() -> io::Result<()> {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    Ok(set_dumpable(false)?)
}

/// Resource usage of the process, and its machine.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct System {
    /// Operating system, such as `linux`.
    pub os: &'static str,
    /// Architecture, such as `aarch64`.
    pub arch: &'static str,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// Number of cores available to the process.
    pub cpus: Option<usize>,
    /// Resident memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Peak of the resident memory in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Open files and connections.
    pub open_files: Option<usize>,
    /// CPU time used, in seconds.
    pub cpu_seconds: Option<f64>,
}

impl System {
    /// Reads the current values.
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

/// Parses a line such as `VmRSS:      1234 kB` into bytes.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Adds user and system time, fields 14 and 15. Field 2 is a name in parentheses, which may hold any character.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed() {
        assert_eq!(
            bytes("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"),
            Some(2 << 20)
        );
        assert_eq!(bytes("VmRSS:\tmuch\n", "VmRSS:"), None);
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 120 0 0 0 250 50 0 0 20 0 4 0 99";
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }

    #[test]
    fn own_process_has_values() {
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
