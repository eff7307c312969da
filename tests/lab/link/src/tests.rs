//! Tests of packets and queues.

use super::*;

/// A buffer from the device: TCP with 52 bytes of headers and `payload` bytes in segments of
/// `segment_size`.
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
fn every_segment_counts_its_headers() {
    assert_eq!(
        on_the_wire(&segmented(3 * 1448 + 1, 1448)),
        (4, 3 * 1448 + 1 + 4 * 52)
    );
}

#[test]
fn packet_without_tcp_counts_once() {
    assert_eq!(on_the_wire(&[0; VNET_HEADER + 84]), (1, 84));
}

#[test]
fn packets_queue_and_are_delayed_by_half_the_round_trip() {
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
fn packets_beyond_the_queue_are_dropped() {
    let mut direction = Direction::new("out");
    let start = direction.wire_free_at;
    for _ in 0..3 {
        direction.accept(&[0; VNET_HEADER + 1250], start, &settings(2500));
    }
    assert_eq!((direction.line.len(), direction.dropped_segments), (2, 1));
}

/// A buffer with a TCP packet between these ports and addresses.
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
fn forgotten_connections_lose_packets_in_both_directions() {
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
        "packets without a connection are kept"
    );
}

#[test]
fn losses_match_the_configured_share() {
    let mut faults = Faults::default();
    let lost = (0..10_000).filter(|_| faults.is_unlucky(3)).count();
    assert!((250..350).contains(&lost), "{lost}");
}
