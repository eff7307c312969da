//! Ports for servers that cannot choose their own.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use uuid::Uuid;

/// Outside of the kernel's range for automatic ports (`net.ipv4.ip_local_port_range`), so a port
/// stays free until its server starts and while it restarts.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port without a listener.
pub(super) fn free() -> u16 {
    // Each run starts elsewhere.
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
