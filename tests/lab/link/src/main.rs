//! A network link in user space, for kernels without netem.
//!
//! `link --rtt-ms 50 --mbit 1000 --queue-bytes 6250000` makes the device `link0` in the network namespace where it is
//! started, the far end, goes to a new namespace of its own, the near end, makes `link0` there too, and carries packets
//! between the two. Each direction first waits for its turn at the given rate, behind at most `--queue-bytes` (what
//! comes on top is dropped, as a router drops it), and then for half of the round-trip time. It prints `ready` once
//! both devices exist, and its counters as one line of JSON when it gets SIGTERM or SIGINT. Addresses and MTU are the
//! caller's to set, with `ip`; `/proc/PID/ns/net` is the way into the near end, which is gone when the link ends.
//!
//! What goes wrong with a line, no end is told of it:
//! - `--loss-percent 2` loses so many packets of each direction, always the same ones of a run.
//! - SIGUSR1 cuts the line, and the next one mends it.
//! - SIGUSR2 has it forget every connection that it has carried so far, as a router does that is started anew: their
//!   packets are lost from then on, those of new connections are not.
//!
//! The devices carry TCP segmentation offload as a real network card does: the kernel hands over up to 64 KiB at
//! once together with the size of the segments it stands for. The rate is charged for every segment with its own
//! headers, so that TCP meets the same link as without the offload, and one core is spared 80,000 packets a second.

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

/// `struct virtio_net_hdr`, which comes before each packet (`linux/virtio_net.h`).
const VNET_HEADER: usize = 10;
/// Its number among the protocols over IPv4.
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

/// What the line does to packets beside carrying them.
#[derive(Default)]
struct Faults {
    carried: HashSet<Connection>,
    forgotten: HashSet<Connection>,
    /// State of the generator that says which packets are lost.
    random: u64,
}

/// The two ends of a TCP connection, address and port, the lower one first.
type Connection = [[u8; 6]; 2];

impl Faults {
    /// Takes note of a packet, and says whether the line loses it.
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

/// Whose a buffer from the device is, when that is TCP over IPv4.
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

/// One direction: packets wait in `line` until the moment they come out at the other end.
struct Direction {
    name: &'static str,
    line: VecDeque<(Instant, Vec<u8>)>,
    /// When the last packet accepted has left the queue for the wire.
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

    /// Takes in everything that waits at `from`, if anything does.
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

    /// Hands out everything whose time has come.
    fn drain(&mut self, to: &mut File) {
        let now = Instant::now();
        while self.line.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, packet)) = self.line.pop_front()
                && to.write(&packet).is_err()
            {
                // The other end's stack did not take it: lost, as on any link.
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

/// How many IP packets a buffer from the device stands for, and their bytes, headers included.
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

/// Makes the device in the namespace where we are. It stays there while the file is open, wherever we go.
///
/// Without `is_offloaded` each buffer is one packet, so that one packet can be lost.
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
mod tests {
    use super::*;

    /// A buffer as the device gives it: TCP with 52 bytes of headers and `payload` bytes in segments of `segment_size`.
    fn segmented(payload: usize, segment_size: u16) -> Vec<u8> {
        let mut buffer = vec![0; VNET_HEADER + 52 + payload];
        buffer[1] = 1;
        buffer[4..6].copy_from_slice(&segment_size.to_ne_bytes());
        buffer[6..8].copy_from_slice(&20_u16.to_ne_bytes());
        buffer[VNET_HEADER + 20 + 12] = 8 << 4;
        buffer
    }

    fn settings(queue_bytes: u64) -> Settings {
        Settings {
            rtt: Duration::from_millis(50),
            bits_per_second: 1_000_000_000,
            queue_bytes,
            loss_percent: 0,
        }
    }

    #[test]
    fn each_segment_pays_for_its_own_headers() {
        assert_eq!(
            on_the_wire(&segmented(3 * 1448 + 1, 1448)),
            (4, 3 * 1448 + 1 + 4 * 52)
        );
    }

    #[test]
    fn a_packet_that_is_no_tcp_counts_once() {
        assert_eq!(on_the_wire(&[0; VNET_HEADER + 84]), (1, 84));
    }

    #[test]
    fn packets_wait_for_their_turn_and_then_for_half_of_the_round_trip() {
        let mut direction = Direction::new("out");
        let start = direction.wire_free_at;
        for _ in 0..2 {
            direction.accept(&[0; VNET_HEADER + 1250], start, &settings(2500));
        }
        let due: Vec<_> = direction
            .line
            .iter()
            .map(|(due, _)| (*due - start).as_micros())
            .collect();
        assert_eq!(due, [25_010, 25_020]);
    }

    #[test]
    fn what_the_queue_cannot_hold_is_dropped() {
        let mut direction = Direction::new("out");
        let start = direction.wire_free_at;
        for _ in 0..3 {
            direction.accept(&[0; VNET_HEADER + 1250], start, &settings(2500));
        }
        assert_eq!((direction.line.len(), direction.dropped_segments), (2, 1));
    }

    /// A buffer with a packet of TCP from one port to another, from one address to another.
    fn of_connection(from: (u8, u16), to: (u8, u16)) -> Vec<u8> {
        let mut buffer = segmented(100, 1448);
        buffer[VNET_HEADER] = 0x45;
        buffer[VNET_HEADER + 9] = TCP;
        for (at, (address, port)) in [(0, from), (1, to)] {
            buffer[VNET_HEADER + 15 + at * 4] = address;
            buffer[VNET_HEADER + 20 + at * 2..][..2].copy_from_slice(&port.to_be_bytes());
        }
        buffer
    }

    #[test]
    fn a_line_forgets_the_connections_of_before_in_both_directions() {
        let (mut faults, settings) = (Faults::default(), settings(1));
        let (old, back) = (
            of_connection((1, 5000), (2, 80)),
            of_connection((2, 80), (1, 5000)),
        );
        assert!(!faults.lose(&old, &settings) && !faults.lose(&back, &settings));
        FORGET.store(true, Ordering::Relaxed);
        assert!(faults.lose(&old, &settings) && faults.lose(&back, &settings));
        let new = of_connection((1, 5001), (2, 80));
        assert!(!faults.lose(&new, &settings) && faults.lose(&old, &settings));
        assert!(
            !faults.lose(&[0; VNET_HEADER + 84], &settings),
            "what is no connection has nothing to forget"
        );
    }

    #[test]
    fn as_many_packets_are_lost_as_was_asked_for() {
        let mut faults = Faults::default();
        let lost = (0..10_000).filter(|_| faults.is_unlucky(3)).count();
        assert!((250..350).contains(&lost), "{lost}");
    }
}
