//! Operating-system code, and nowhere else: making and opening regions, locks that tell who lives, sleeping and
//! waking, clocks. Each system's folder offers the same names; `heap` is for Miri.
//!
//! `region` chooses between the system's own kind of region and `device`, memory that another kernel may share.

#[cfg(miri)]
mod heap;
#[cfg(not(miri))]
pub(crate) mod ivshmem;
#[cfg(all(target_os = "linux", not(miri)))]
mod linux;
mod poll;
#[cfg(not(miri))]
mod region;
#[cfg(all(windows, not(miri)))]
mod windows;

/// FNV-1a, 64 bits.
#[cfg(not(miri))]
fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(miri)]
pub(crate) use heap::*;
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) use linux::*;
pub(crate) use poll::Poll;
#[cfg(not(miri))]
pub(crate) use region::{OpenRegion, OwnedRegion};
#[cfg(all(windows, not(miri)))]
pub(crate) use windows::*;

#[cfg(not(any(target_os = "linux", windows, miri)))]
compile_error!("there are backends for Linux and for Windows");
