//! All code that depends on the operating system: creating and opening regions, locks that show which peers are alive,
//! sleeping and waking, clocks.
//!
//! | module | contents |
//! |---|---|
//! | `contract` | the traits that a platform implements, with what each method promises |
//! | `linux`, `windows` | the platforms |
//! | `heap` | the platform for Miri, inside one process |
//! | `ivshmem` | regions in the memory of a virtual machine's device, on either system |
//! | `region` | a native region or a device's, chosen once |
//! | `changed_names` | what a watch on a folder reports |
//! | `forward` | passes the signals of an event on |
//! | `poll`, `cadence` | waiting where no other process can wake, and the intervals of its looks |

mod cadence;
mod changed_names;
mod contract;
mod forward;
#[cfg(miri)]
mod heap;
#[cfg(not(miri))]
pub(crate) mod ivshmem;
#[cfg(all(target_os = "linux", not(miri)))]
mod linux;
mod poll;
mod region;
#[cfg(all(windows, not(miri)))]
mod windows;

#[cfg(miri)]
use heap::Heap as System;
#[cfg(all(target_os = "linux", not(miri)))]
use linux::Linux as System;
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) use linux::Readiness;
#[cfg(all(windows, not(miri)))]
use windows::Windows as System;

#[cfg(not(any(target_os = "linux", windows, miri)))]
compile_error!("shm2 supports Linux and Windows");

use crate::error::CreateError;
use crate::name::Spec;
use crate::sync::AtomicU32;
pub(crate) use cadence::{Cadence, Published};
pub(crate) use changed_names::{Changed, ChangedNames};
pub(crate) use contract::LOOK_AT_WORDS;
pub use contract::LostName;
pub(crate) use contract::{
    AwaitProducer, ChangeWatch, ConsumerRegion, Identity, Keep, LeftoverFile, MappedBytes, Platform, ProcessEvent,
    ProducerRegion, Stamp, Wake,
};
pub(crate) use forward::{Forward, Notify};
pub(crate) use poll::Poll;
pub(crate) use region::{OpenRegion, OwnedRegion};
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Event = <System as Platform>::Event;
pub(crate) type Mapping = <System as Platform>::Mapping;
pub(crate) type ProducerWatch = <System as Platform>::ProducerWatch;
pub(crate) type Watch = <System as Platform>::Watch;

/// See [`Platform::place_of`].
pub(crate) fn place_of(spec: &Spec) -> Option<(String, (u32, u32))> {
    System::place_of(spec)
}

/// See [`Platform::watch_folder`].
pub(crate) fn watch_folder(path: &Path, event: &Arc<Event>, changed: &Arc<ChangedNames>) -> Option<Watch> {
    System::watch_folder(path, event, changed)
}

/// See [`Platform::watch_listed`].
pub(crate) fn watch_listed(path: &Path, event: &Arc<Event>, changed: &Arc<ChangedNames>) -> Option<Watch> {
    System::watch_listed(path, event, changed)
}

/// See [`Platform::stamp_of`].
pub(crate) fn stamp_of(path: &Path) -> Option<Stamp> {
    System::stamp_of(path)
}

/// See [`Platform::leftover_at`].
pub(crate) fn leftover_at(path: &Path) -> Option<LeftoverFile> {
    System::leftover_at(path)
}

/// See [`Platform::remove_leftover`].
pub(crate) fn remove_leftover(path: &Path, identity: Identity) -> Result<bool, CreateError> {
    System::remove_leftover(path, identity)
}

/// See [`Platform::MOST_WORDS`].
pub(crate) const MOST_WORDS: usize = System::MOST_WORDS;
/// See [`Platform::WAITS_ON_WORDS`].
pub(crate) const WAITS_ON_WORDS: bool = System::WAITS_ON_WORDS;

/// See [`Platform::wait_many`].
pub(crate) fn wait_many(
    words: &[(NonNull<AtomicU32>, u32)],
    event: &Event,
    seen: u32,
    timeout: Option<Duration>,
) -> Option<usize> {
    System::wait_many(words, event, seen, timeout)
}

/// See [`Platform::monotonic_ns`].
#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    System::monotonic_ns()
}

/// See [`Platform::clock_name`].
pub(crate) fn clock_name() -> u64 {
    System::clock_name()
}

/// See [`Platform::realtime_ns`].
pub(crate) fn realtime_ns() -> u64 {
    System::realtime_ns()
}

/// See [`Platform::random_nonzero`].
pub(crate) fn random_nonzero() -> u64 {
    System::random_nonzero()
}

/// See [`Platform::process_id`].
pub(crate) fn process_id() -> u32 {
    System::process_id()
}

/// See [`Platform::fork_depth`].
pub(crate) fn fork_depth() -> usize {
    System::fork_depth()
}

/// Size of a mapping of `bytes` bytes. An error that says the size if it does not fit into the address space: a region
/// can be larger than that of a 32-bit program.
pub(crate) fn mapping_bytes(bytes: u64) -> io::Result<usize> {
    // An offset inside a mapping fits into an `isize`, which pointer arithmetic demands.
    let fitting = usize::try_from(bytes).ok().filter(|bytes| isize::try_from(*bytes).is_ok());
    fitting.ok_or_else(|| {
        let text = format!("{bytes} bytes do not fit into the address space of this program");
        io::Error::new(io::ErrorKind::OutOfMemory, text)
    })
}

/// FNV-1a, 64 bits.
#[cfg(not(miri))]
fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_does_not_fit_into_the_address_space_is_an_error_that_says_it() {
        assert_eq!(mapping_bytes(5 << 20).unwrap(), 5 << 20);
        assert_eq!(mapping_bytes(isize::MAX as u64).unwrap(), isize::MAX as usize);
        for bytes in [isize::MAX as u64 + 1, u64::MAX] {
            let text = mapping_bytes(bytes).unwrap_err().to_string();
            assert_eq!(text, format!("{bytes} bytes do not fit into the address space of this program"));
        }
    }
}
