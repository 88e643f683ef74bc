//! Layout of a ring in memory. All words have the machine's byte order: both sides run on one machine.
//!
//! | offset | type | name | meaning |
//! |---|---|---|---|
//! | 0 | u64 | written | elements sent so far; written by the sender |
//! | 128 | u64 | read | elements taken so far; written by the receiver |
//! | 256 | u32 | receiver_waits | request word of the receiver: 0 none, 1 a signal is requested, 2 it polls |
//! | 384 | u32 | sender_waits | request word of the sender, with the same values |
//! | 512 | T | elements | `capacity` of them; element number `n` since the start is at index `n mod capacity` |
//!
//! A request word is set by its own side; the other side resets a 1 to 0 when it answers with a signal.
//!
//! Memory of zeros is an empty ring. The counts are never reset: at 10^9 elements a second, 2^64 elements take 584
//! years. Each word has 128 bytes of its own, because CPUs prefetch cache lines in pairs.

use crate::sync::{AtomicU32, AtomicU64};

#[cfg(not(target_has_atomic = "64"))]
compile_error!("the counts are 64-bit words that two sides share: targets without 64-bit atomics are not supported");

/// The words that both sides access. The padding is atomic, too: the other side can write it, and a reference covers
/// it.
#[repr(C)]
pub(crate) struct Words {
    pub(crate) written: AtomicU64,
    pad0: [AtomicU64; 15],
    pub(crate) read: AtomicU64,
    pad1: [AtomicU64; 15],
    pub(crate) receiver_waits: AtomicU32,
    pad2: [AtomicU32; 31],
    pub(crate) sender_waits: AtomicU32,
    pad3: [AtomicU32; 31],
}

/// Offset of the first element in bytes.
pub const ELEMENTS_OFFSET: usize = 512;

/// Size in bytes of the memory for a ring of `capacity` elements of type `T`. `None` when it exceeds `usize::MAX`.
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
