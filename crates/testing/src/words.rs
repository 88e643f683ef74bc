//! The words of a region, for tests that overwrite them: tables of `docs/protocol.md`, and values for a word.

use crate::Rng;
#[cfg(unix)]
use std::{fs::File, os::unix::fs::FileExt};

/// A word of a region: name, offset from the start of its section, size in bytes.
pub type Word = (&'static str, u64, usize);

/// Words of the header (section 2).
pub const HEADER: &[Word] = &[
    ("magic", 0, 8),
    ("version", 8, 4),
    ("header_bytes", 12, 4),
    ("region_bytes", 16, 8),
    ("generation", 24, 8),
    ("ring_offset", 32, 8),
    ("pages_offset", 40, 8),
    ("arena_offset", 48, 8),
    ("arena_bytes", 56, 8),
    ("cells", 64, 4),
    ("cell_bytes", 68, 4),
    ("pages", 72, 4),
    ("page_stride", 76, 4),
    ("max_leases", 80, 4),
    ("history", 84, 4),
    ("full_policy", 88, 4),
    ("producer_pid", 92, 4),
    ("created_ns", 96, 8),
    ("first_sequence", 104, 8),
    ("lease_ms", 112, 4),
    ("kept", 116, 4),
    ("head", 128, 8),
    ("oldest", 256, 8),
    ("wake", 384, 4),
    ("state", 512, 4),
    ("producer_waits", 516, 4),
    ("beacon_sequence", 640, 8),
    ("beacon_monotonic_ns", 648, 8),
    ("beacon_realtime_ns", 656, 8),
    ("beacon_head", 664, 8),
    ("heartbeat", 672, 8),
    ("caps_sequence", 680, 8),
    ("caps_offset", 688, 8),
    ("caps_length", 696, 4),
    ("caps_id", 700, 4),
    ("caps_blob", 704, 8),
    ("dropped_oldest", 768, 8),
    ("dropped_newest", 776, 8),
    ("dropped_too_large", 784, 8),
];

/// Words of a ring cell (section 3).
pub const CELL: &[Word] = &[
    ("sequence", 0, 8),
    ("offset", 8, 8),
    ("length", 16, 8),
    ("flags", 24, 4),
    ("kind", 28, 4),
    ("pts", 32, 8),
    ("duration", 40, 8),
    ("time", 48, 8),
    ("caps_length", 56, 4),
    ("caps_id", 60, 4),
    ("published", 64, 8),
    ("dts", 72, 8),
    ("media_offset", 80, 8),
    ("media_offset_end", 88, 8),
    ("caps_offset", 96, 8),
    ("meta_offset", 104, 8),
    ("meta_length", 112, 4),
    ("stream_length", 116, 4),
    ("latency", 120, 8),
];

/// Words of a consumer page (section 4).
pub const PAGE: &[Word] = &[
    ("cursor", 0, 8),
    ("lease_count", 8, 4),
    ("claimed", 12, 4),
    ("generation", 24, 8),
    ("lease 0 sequence", 32, 8),
    ("lease 0 offset", 40, 8),
    ("lease 0 length", 48, 8),
    ("lease 1 sequence", 64, 8),
    ("lease 7 sequence", 256, 8),
    ("lease 63 sequence", 2048, 8),
    ("ticket", 2112, 4),
    ("space", 2176, 4),
    ("pid", 2240, 4),
    ("claims", 2244, 4),
    ("attached_ns", 2248, 8),
    ("received", 2256, 8),
    ("missed", 2264, 8),
    ("copied", 2280, 8),
    ("heartbeat", 2288, 8),
    ("keyframe_requests", 2296, 4),
];

/// Values to overwrite the word `now` with: 0, 1, all ones, one more, one less, half the range, two random numbers.
pub fn wrong_values(now: u64, rng: &mut Rng) -> [u64; 8] {
    [0, 1, u64::MAX, now.wrapping_add(1), now.wrapping_sub(1), 1 << 63, rng.u64(..), rng.u64(..) >> 40]
}

/// The word of `bytes` bytes at `offset`.
///
/// # Panics
/// When the file cannot be read there.
#[cfg(unix)]
pub fn read(file: &File, offset: u64, bytes: usize) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word[..bytes], offset).unwrap();
    u64::from_le_bytes(word)
}

/// Writes the lowest `bytes` bytes of `value` at `offset`.
///
/// # Panics
/// When the file cannot be written.
#[cfg(unix)]
pub fn write(file: &File, offset: u64, bytes: usize, value: u64) {
    file.write_all_at(&value.to_le_bytes()[..bytes], offset).unwrap();
}

/// Overwrites one of the `words` of the section at `base` with a wrong value; restores it at once in half of the cases.
///
/// # Panics
/// When `words` is empty, or the file cannot be read or written.
#[cfg(unix)]
pub fn corrupt_one(file: &File, base: u64, words: &[Word], rng: &mut Rng) {
    let (_, offset, bytes) = *rng.choice(words).unwrap();
    let now = read(file, base + offset, bytes);
    let value = *rng.choice(&wrong_values(now, &mut rng.clone())).unwrap();
    write(file, base + offset, bytes, value);
    if rng.bool() {
        write(file, base + offset, bytes, now);
    }
}
