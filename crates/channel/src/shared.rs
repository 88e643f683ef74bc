//! What sender and receiver have in common: the memory, made or checked, and waiting.
//!
//! # Safety
//! A ring is attached to a mapping that is at least as large as the ring, was checked against the seals (nobody can make
//! the memory smaller), and lives longer than the ring: both are fields of the same struct, the ring first.

use super::{ChannelError, Element, HugePages, StepError};
use crate::blob::MemoryError;
use crate::sys::{Mapping, Seals, create_memory, demand_seals, huge_pages, memory_bytes, seal};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Mapped memory of a channel, and the bytes of it that the ring has.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) memory: OwnedFd,
    pub(crate) mapping: Mapping,
    pub(crate) bytes: usize,
}

/// Bytes for a ring of so many elements.
fn needed<T>(capacity: usize) -> Result<usize, ChannelError> {
    let element = size_of::<T>();
    let bytes = shm2_ring::channel_bufsize::<T>(capacity).filter(|bytes| isize::try_from(*bytes).is_ok());
    bytes.filter(|_| capacity > 0 && element > 0).ok_or(ChannelError::Capacity { capacity, element })
}

fn system(what: &'static str, bytes: u64) -> impl FnOnce(io::Error) -> ChannelError {
    move |source| MemoryError::System { what, bytes, source }.into()
}

impl Shared {
    pub(crate) fn create<T>(capacity: usize, huge: Option<HugePages>) -> Result<Self, ChannelError> {
        Self::create_bytes(needed::<T>(capacity)?, huge)
    }

    pub(crate) fn create_bytes(bytes: usize, huge: Option<HugePages>) -> Result<Self, ChannelError> {
        let (memory, whole) = create_memory("shm2-channel", bytes as u64, huge.map(HugePages::log))
            .map_err(system("make", bytes as u64))?;
        seal(&memory, Seals::Size).map_err(system("seal", whole))?;
        let mapping = Mapping::shared(&memory, whole as usize).map_err(system("map", whole))?;
        mapping.populate(bytes);
        Ok(Self { memory, mapping, bytes })
    }

    pub(crate) fn open<T>(capacity: usize, memory: OwnedFd, allow_huge: bool) -> Result<Self, ChannelError> {
        Self::open_bytes(capacity, needed::<T>(capacity)?, memory, allow_huge)
    }

    /// Memory from a peer: its seals and its real size are looked at before it is mapped. It is not filled with pages:
    /// those that its maker did not touch would be charged to this process.
    pub(crate) fn open_bytes(
        capacity: usize,
        needed: usize,
        memory: OwnedFd,
        allow_huge: bool,
    ) -> Result<Self, ChannelError> {
        if let Some(missing) = demand_seals(&memory, Seals::Size).map_err(system("look at", 0))? {
            return Err(MemoryError::NotSealed { missing }.into());
        }
        let bytes = memory_bytes(&memory).map_err(system("look at", 0))?;
        if bytes < needed as u64 {
            return Err(ChannelError::TooSmall { capacity, needed: needed as u64, bytes });
        }
        let page = huge_pages(&memory).map_err(system("look at", bytes))?;
        if page.is_some() && !allow_huge {
            return Err(MemoryError::HugePages.into());
        }
        // Huge pages can be mapped whole only.
        let length = (needed as u64).checked_next_multiple_of(page.unwrap_or(1)).filter(|length| *length <= bytes);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(ChannelError::TooSmall { capacity, needed: needed as u64, bytes })?;
        let mapping = Mapping::shared(&memory, length).map_err(system("map", bytes))?;
        Ok(Self { memory, mapping, bytes: needed })
    }

    pub(crate) fn address(&self) -> *mut u8 {
        self.mapping.base().as_ptr()
    }

    /// Keeps the memory from being swapped out.
    pub(crate) fn lock(&self) -> Result<(), ChannelError> {
        self.mapping
            .lock()
            .map_err(|source| ChannelError::System { what: "lock the memory (see RLIMIT_MEMLOCK)", source })
    }
}

/// Longest sleep before a look at the other side's count without a signal: a hostile peer may send none.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many elements there are to read: at least `count`, or 0 and the receiver asked for a signal.
pub(crate) fn readable<T: Element>(ring: &mut shm2_ring::Receiver<'_, T>, count: usize) -> Result<usize, StepError> {
    let are_there = ring.peek(count)?.is_some();
    Ok(if are_there { ring.readable()? } else { 0 })
}

/// How many slots are free: at least `count`, or 0 and the sender asked for a signal.
pub(crate) fn writable<T: Element>(ring: &mut shm2_ring::Sender<'_, T>, count: usize) -> Result<usize, StepError> {
    let are_there = ring.reserve(count)?.is_some();
    Ok(if are_there { ring.writable()? } else { 0 })
}

/// Waits until `ready` says how many there are, at least `count`. `wait` sleeps for at most so long, and returns whether
/// the other side's end was seen. The last look comes after that: what it left is still to be had.
pub(crate) fn block_until(
    count: usize,
    timeout: Option<Duration>,
    mut ready: impl FnMut() -> Result<usize, StepError>,
    mut wait: impl FnMut(Duration) -> Result<bool, StepError>,
) -> Result<usize, StepError> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (mut is_over, mut is_late) = (false, false);
    loop {
        let there = ready()?;
        if there >= count {
            return Ok(there);
        }
        if is_over {
            return Err(StepError::PeerGone);
        }
        if is_late {
            return Err(StepError::TimedOut);
        }
        let left = deadline.map_or(LOOK_EVERY, |deadline| deadline.saturating_duration_since(Instant::now()));
        // Without any time left there is one look at what has come, all the same.
        is_late = left.is_zero();
        is_over = wait(left.min(LOOK_EVERY))?;
    }
}
