//! Ports for servers that are told theirs.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use uuid::Uuid;

/// The kernel gives out none of these itself (`net.ipv4.ip_local_port_range`), so none is taken again before its server
/// has started, or between a server's end and its next start.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port that nothing listens on.
pub(super) fn free() -> u16 {
    // Counts from somewhere else in each run.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let [high, low, ..] = Uuid::new_v4().into_bytes();
        AtomicU16::new(u16::from_be_bytes([high, low]))
    });
    loop {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
