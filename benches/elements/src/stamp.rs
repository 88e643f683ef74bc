//! What the sender writes into the first bytes of a frame.

use figures::now_ns;

/// Nanoseconds of the monotonic clock, and whether the frame is measured.
pub(crate) const BYTES: usize = 16;

/// Writes the time now.
pub(crate) fn write(bytes: &mut [u8], is_measured: bool) {
    bytes[8..BYTES].copy_from_slice(&u64::from(is_measured).to_ne_bytes());
    bytes[..8].copy_from_slice(&now_ns().to_ne_bytes());
}

/// The time, if the frame is measured.
pub(crate) fn read(bytes: &[u8]) -> Option<u64> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    word(0).filter(|_| word(8) == Some(1))
}
