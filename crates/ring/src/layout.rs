//! Bytes of a ring. All words are little-endian where two machines could meet; on one they are the machine's own.
//!
//! | offset | type | name | meaning |
//! |---|---|---|---|
//! | 0 | u64 | written | elements that were sent so far; the sender writes it |
//! | 128 | u64 | read | elements that were taken so far; the receiver writes it |
//! | 256 | u32 | receiver_waits | 1: the receiver asks for a signal. It sets it, the sender takes it back |
//! | 384 | u32 | sender_waits | 1: the sender asks for a signal. It sets it, the receiver takes it back |
//! | 512 | T | elements | `capacity` of them; number `n` since the start stands at `n mod capacity` |
//!
//! Memory of zeros is an empty ring. The counts are never reset; nobody lives to see 2^64 elements. Each word has 128 bytes of its own,
//! because CPUs fetch lines in pairs.

use crate::sync::{AtomicU32, AtomicU64};

/// The words that both sides use.
#[repr(C)]
pub(crate) struct Words {
    pub(crate) written: AtomicU64,
    pad0: [u64; 15],
    pub(crate) read: AtomicU64,
    pad1: [u64; 15],
    pub(crate) receiver_waits: AtomicU32,
    pad2: [u32; 31],
    pub(crate) sender_waits: AtomicU32,
    pad3: [u32; 31],
}

/// Bytes before the first element.
pub const ELEMENTS_OFFSET: usize = 512;

/// Bytes of memory for a ring of `capacity` elements. `None` when that is more than memory can be.
///
/// ```
/// assert_eq!(shm2_ring::channel_bufsize::<u16>(100), Some(512 + 200));
/// ```
pub const fn channel_bufsize<T>(capacity: usize) -> Option<usize> {
    match capacity.checked_mul(size_of::<T>()) {
        Some(elements) => elements.checked_add(ELEMENTS_OFFSET),
        None => None,
    }
}

#[cfg(not(loom))]
mod assertions {
    use super::*;
    use core::mem::offset_of;

    const _: () = assert!(offset_of!(Words, written) == 0);
    const _: () = assert!(offset_of!(Words, read) == 128);
    const _: () = assert!(offset_of!(Words, receiver_waits) == 256);
    const _: () = assert!(offset_of!(Words, sender_waits) == 384);
    const _: () = assert!(size_of::<Words>() == ELEMENTS_OFFSET);
    const _: () = assert!(align_of::<Words>() == 8);
}
