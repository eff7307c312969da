//! A network link in user space, for kernels without netem.
//!
//! `link --rtt-ms 50 --mbit 1000 --queue-bytes 6250000` creates the device `link0` in its current
//! network namespace, the far end, moves to a new namespace, the near end, creates `link0` there
//! too, and carries packets between the two. Each direction queues packets at the given rate, drops
//! those beyond `--queue-bytes`, and delays the rest by half the round-trip time. It prints `ready`
//! once both devices exist, and its counters as one line of JSON on SIGTERM or SIGINT. The caller
//! sets addresses and MTU with `ip`; `/proc/PID/ns/net` leads to the near end, which vanishes with
//! the link.
//!
//! Neither end is told about failures of the line:
//! - `--loss-percent 2` loses this share of packets per direction, reproducibly.
//! - SIGUSR1 cuts the line; another SIGUSR1 restores it.
//! - SIGUSR2 drops all packets of connections seen so far, as after a router's restart. New
//!   connections work.
//!
//! The devices carry TCP segmentation offload like a real network card: the kernel passes up to 64
//! KiB at once, with the size of the segments. The rate counts every segment with its headers, so
//! TCP meets the same link as without the offload, at 80,000 packets per second less work.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::time::TimeSpec;

/// `struct virtio_net_hdr`, which precedes each packet (`linux/virtio_net.h`).
const VNET_HEADER: usize = 10;
/// The protocol number over IPv4.
const TCP: u8 = 6;
/// Largest IPv4 packet.
const LARGEST_PACKET: usize = 65_535;
const DEVICE: &[u8] = b"link0";

/// Features of `TUNSETOFFLOAD` (`linux/if_tun.h`): checksums, and segmentation of TCP over IPv4.
const TUN_F_CSUM: libc::c_ulong = 0x01;
const TUN_F_TSO4: libc::c_ulong = 0x02;

nix::ioctl_write_ptr_bad!(tunsetiff, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_write_int_bad!(tunsetoffload, libc::TUNSETOFFLOAD);

static STOP: AtomicBool = AtomicBool::new(false);
static CUT: AtomicBool = AtomicBool::new(false);
static FORGET: AtomicBool = AtomicBool::new(false);

struct Settings {
    rtt: Duration,
    bits_per_second: u64,
    queue_bytes: u64,
    loss_percent: u64,
}

/// Failures of the line.
#[derive(Default)]
struct Faults {
    carried: HashSet<Connection>,
    forgotten: HashSet<Connection>,
    /// State of the random generator of losses.
    random: u64,
}

/// Both ends of a TCP connection, address and port, the lower one first.
type Connection = [[u8; 6]; 2];

impl Faults {
    /// Records a packet, and returns whether the line loses it.
    fn lose(&mut self, packet: &[u8], settings: &Settings) -> bool {
        if FORGET.swap(false, Ordering::Relaxed) {
            self.forgotten.extend(self.carried.drain());
        }
        if CUT.load(Ordering::Relaxed) || self.is_unlucky(settings.loss_percent) {
            return true;
        }
        let Some(connection) = connection_of(packet) else {
            return false;
        };
        if self.forgotten.contains(&connection) {
            return true;
        }
        self.carried.insert(connection);
        false
    }

    /// The generator is `SplitMix64`.
    fn is_unlucky(&mut self, percent: u64) -> bool {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 100 < percent
    }
}

/// The connection of a buffer from the device, if it is TCP over IPv4.
fn connection_of(buffer: &[u8]) -> Option<Connection> {
    let packet = buffer.get(VNET_HEADER..)?;
    let (version, header_length) = (packet.first()? >> 4, usize::from(packet[0] & 0xf) * 4);
    let ports = packet.get(header_length..header_length + 4)?;
    if version != 4 || packet.get(9) != Some(&TCP) {
        return None;
    }
    let end = |address: &[u8], port: &[u8]| {
        [
            address[0], address[1], address[2], address[3], port[0], port[1],
        ]
    };
    let mut ends = [
        end(&packet[12..16], &ports[..2]),
        end(&packet[16..20], &ports[2..]),
    ];
    ends.sort_unstable();
    Some(ends)
}

/// One direction: packets wait in `line` for their arrival time.
struct Direction {
    name: &'static str,
    line: VecDeque<(Instant, Vec<u8>)>,
    /// Departure time of the last accepted packet.
    wire_free_at: Instant,
    segments: u64,
    wire_bytes: u64,
    dropped_segments: u64,
    longest_queue_bytes: u64,
}

impl Direction {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            line: VecDeque::new(),
            wire_free_at: Instant::now(),
            segments: 0,
            wire_bytes: 0,
            dropped_segments: 0,
            longest_queue_bytes: 0,
        }
    }

    fn accept(&mut self, packet: &[u8], now: Instant, settings: &Settings) {
        let (segments, wire_bytes) = on_the_wire(packet);
        let wait = self.wire_free_at.saturating_duration_since(now);
        let queued_bytes = bytes_in(wait, settings.bits_per_second);
        if queued_bytes + wire_bytes > settings.queue_bytes {
            self.dropped_segments += segments;
            return;
        }
        self.longest_queue_bytes = self.longest_queue_bytes.max(queued_bytes + wire_bytes);
        self.segments += segments;
        self.wire_bytes += wire_bytes;
        self.wire_free_at = now + wait + time_for(wire_bytes, settings.bits_per_second);
        self.line
            .push_back((self.wire_free_at + settings.rtt / 2, packet.to_vec()));
    }

    /// Accepts all packets waiting at `from`.
    fn fill(
        &mut self,
        from: &mut File,
        buffer: &mut [u8],
        settings: &Settings,
        faults: &mut Faults,
    ) -> io::Result<()> {
        loop {
            match from.read(buffer) {
                Ok(length) if faults.lose(&buffer[..length], settings) => {
                    self.dropped_segments += on_the_wire(&buffer[..length]).0;
                }
                Ok(length) => self.accept(&buffer[..length], Instant::now(), settings),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The device is not up yet.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Delivers all packets that are due.
    fn drain(&mut self, to: &mut File) {
        let now = Instant::now();
        while self.line.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, packet)) = self.line.pop_front()
                && to.write(&packet).is_err()
            {
                // Refused by the other end's stack: lost, as on any link.
                self.dropped_segments += on_the_wire(&packet).0;
            }
        }
    }

    fn counters(&self) -> String {
        format!(
            r#""{}": {{"segments": {}, "wire_bytes": {}, "dropped_segments": {}, "longest_queue_bytes": {}}}"#,
            self.name,
            self.segments,
            self.wire_bytes,
            self.dropped_segments,
            self.longest_queue_bytes
        )
    }
}

/// Number of IP packets in a buffer from the device, and their bytes, headers included.
fn on_the_wire(buffer: &[u8]) -> (u64, u64) {
    let (header, packet) = buffer.split_at(VNET_HEADER.min(buffer.len()));
    let whole = (1, packet.len() as u64);
    if header.len() < VNET_HEADER {
        return whole;
    }
    let field = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let (segment_size, tcp_at) = (field(4), field(6));
    let is_segmented = header[1] != 0 && segment_size != 0;
    let Some(data_offset) = packet.get(tcp_at + 12).filter(|_| is_segmented) else {
        return whole;
    };
    let headers = tcp_at + usize::from(data_offset >> 4) * 4;
    let segments = packet
        .len()
        .saturating_sub(headers)
        .div_ceil(segment_size)
        .max(1);
    (
        segments as u64,
        (packet.len() + (segments - 1) * headers) as u64,
    )
}

fn time_for(bytes: u64, bits_per_second: u64) -> Duration {
    Duration::from_nanos(bytes * 8 * 1_000_000_000 / bits_per_second)
}

fn bytes_in(time: Duration, bits_per_second: u64) -> u64 {
    let bits = time.as_nanos() * u128::from(bits_per_second) / 1_000_000_000;
    u64::try_from(bits / 8).unwrap_or(u64::MAX)
}

/// Creates the device in the current namespace. It stays there while the file is open.
///
/// Without `is_offloaded`, each buffer is one packet, so that one packet can be lost.
fn device(is_offloaded: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: `ifreq` is plain integers and a union of them, for which zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    let offloads = if is_offloaded {
        TUN_F_CSUM | TUN_F_TSO4
    } else {
        0
    };
    let offloads = libc::c_int::try_from(offloads).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the kernel reads one `ifreq` and one integer.
    unsafe {
        tunsetiff(file.as_raw_fd(), &raw const request)?;
        tunsetoffload(file.as_raw_fd(), offloads)?;
    }
    Ok(file)
}

fn carry(settings: &Settings) -> io::Result<()> {
    let is_offloaded = settings.loss_percent == 0;
    let mut far = device(is_offloaded)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let mut near = device(is_offloaded)?;
    let (mut out, mut back) = (Direction::new("near_to_far"), Direction::new("far_to_near"));
    let (mut buffer, mut faults) = (vec![0; VNET_HEADER + LARGEST_PACKET], Faults::default());
    println!("ready");
    while !STOP.load(Ordering::Relaxed) {
        out.fill(&mut near, &mut buffer, settings, &mut faults)?;
        back.fill(&mut far, &mut buffer, settings, &mut faults)?;
        out.drain(&mut far);
        back.drain(&mut near);

        let next = [out.line.front(), back.line.front()]
            .into_iter()
            .flatten()
            .map(|(due, _)| *due)
            .min();
        let wait = next.map_or(Duration::from_secs(1), |due| {
            due.saturating_duration_since(Instant::now())
        });
        let mut devices = [
            PollFd::new(near.as_fd(), PollFlags::POLLIN),
            PollFd::new(far.as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut devices, Some(TimeSpec::from_duration(wait)), None) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    println!("{{{}, {}}}", out.counters(), back.counters());
    Ok(())
}

fn settings() -> Result<Settings, String> {
    let mut arguments = std::env::args_os().skip(1);
    let (mut rtt_ms, mut mbit, mut queue_bytes, mut loss_percent) = (50, 1000, 6_250_000, 0);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .and_then(|value| value.to_str()?.parse::<u64>().ok())
            .ok_or_else(|| format!("{} needs a whole number", name.display()))?;
        match name.to_str() {
            Some("--rtt-ms") => rtt_ms = value,
            Some("--mbit") => mbit = value.max(1),
            Some("--queue-bytes") => queue_bytes = value,
            Some("--loss-percent") => loss_percent = value,
            _ => return Err(format!("no such option: {}", name.display())),
        }
    }
    let rtt = Duration::from_millis(rtt_ms);
    Ok(Settings {
        rtt,
        bits_per_second: mbit * 1_000_000,
        queue_bytes,
        loss_percent,
    })
}

extern "C" fn on_signal(number: libc::c_int) {
    match number {
        libc::SIGUSR1 => drop(CUT.fetch_not(Ordering::Relaxed)),
        libc::SIGUSR2 => FORGET.store(true, Ordering::Relaxed),
        _ => STOP.store(true, Ordering::Relaxed),
    }
}

fn main() -> std::process::ExitCode {
    let settings = match settings() {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!(
                "{problem}\nusage: link [--rtt-ms 50] [--mbit 1000] [--queue-bytes 6250000] [--loss-percent 0]"
            );
            return 2.into();
        }
    };
    let action = SigAction::new(
        SigHandler::Handler(on_signal),
        SaFlags::empty(),
        SigSet::empty(),
    );
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        // SAFETY: the handler only changes an atomic, which is safe at any moment.
        if let Err(error) = unsafe { sigaction(signal, &action) } {
            eprintln!("cannot handle {signal}: {error}");
            return 1.into();
        }
    }
    match carry(&settings) {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("the link broke: {error}");
            1.into()
        }
    }
}

#[cfg(test)]
mod tests;
