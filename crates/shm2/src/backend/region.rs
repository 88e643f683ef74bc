//! Which kind of region: the system's own, or a device's memory. Chosen once, when a region is opened.

use super::ivshmem::{OpenDevice, OwnedDevice};
use super::{Event, Identity, Mapping, Wake, Watch, native};
use crate::error::{AttachError, CreateError};
use crate::mapped::Memory;
use crate::name::{Place, Spec};
use crate::sync::AtomicU32;
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// A region that this process produces.
pub(crate) enum OwnedRegion {
    Native(native::OwnedRegion),
    Device(OwnedDevice),
}

/// A region opened by a consumer. Dropping it gives up every lock held through it.
#[derive(Debug)]
pub(crate) enum OpenRegion {
    Native(native::OpenRegion),
    Device(OpenDevice),
}

macro_rules! each {
    ($self:ident, $region:ident => $call:expr) => {
        match $self {
            Self::Native($region) => $call,
            Self::Device($region) => $call,
        }
    };
}

impl OwnedRegion {
    /// Makes the region; `begin` writes its header before anybody can see it, and keeps the mapping. With `keep`, memory
    /// that is there is used, with its own size; `begin` then clears the pages of dead consumers by the function that it
    /// gets, when it has come to that.
    pub(crate) fn create<T>(
        spec: &Spec,
        bytes: u64,
        perms: u32,
        keep: bool,
        begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self, T), CreateError> {
        match spec.place() {
            Place::Device(device, cache) => {
                OwnedDevice::create(spec.path(), device, *cache, begin).map(|(region, t)| (Self::Device(region), t))
            }
            _ => native::OwnedRegion::create(spec, bytes, perms, keep, begin).map(|(r, t)| (Self::Native(r), t)),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        each!(self, region => region.path())
    }

    /// Whether locks tell who lives. Where they do not, only heartbeats do.
    pub(crate) fn has_locks(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// Takes the lock of a consumer page: true means that no consumer lives there. Give it back with `unlock_page`, on the
    /// same thread.
    pub(crate) fn try_lock_page(&self, index: usize) -> bool {
        each!(self, region => region.try_lock_page(index))
    }

    pub(crate) fn unlock_page(&self, index: usize) {
        each!(self, region => region.unlock_page(index))
    }

    /// Whether any snapshot consumer is there.
    pub(crate) fn has_snapshots(&self) -> bool {
        each!(self, region => region.has_snapshots())
    }

    /// Makes every watcher of the region look around.
    pub(crate) fn notify_watchers(&self) {
        each!(self, region => region.notify_watchers())
    }

    /// Removes the name if it still leads to this region and is not to be kept. False when it may lead there still.
    pub(crate) fn remove_name(&self) -> bool {
        each!(self, region => region.remove_name())
    }

    /// Shows everybody that this producer is no more.
    pub(crate) fn end_generation(&self) {
        each!(self, region => region.end_generation())
    }

    /// Wakes consumers that sleep on the region's wake word, which has just changed. Bit i of `pages`: the consumer of
    /// page i is among them; snapshot consumers always are.
    pub(crate) fn wake(&self, word: &AtomicU32, pages: u64) {
        each!(self, region => region.wake(word, pages))
    }

    /// Sleeps until one of the words by which consumers tell of room differs from its expected value.
    pub(crate) fn wait_for_space(&self, words: &[(&AtomicU32, u32)], timeout: Duration) {
        each!(self, region => region.wait_for_space(words, timeout))
    }

    /// Signals `event` when a consumer comes, leaves or dies; `None` where nothing tells.
    pub(crate) fn watch(&self, event: &Arc<Event>) -> Option<Watch> {
        each!(self, region => region.watch(event))
    }
}

impl OpenRegion {
    /// Opens the region, for writing when the consumer is to lease.
    pub(crate) fn open(spec: &Spec, writable: bool) -> Result<Self, AttachError> {
        match spec.place() {
            Place::Device(device, cache) => OpenDevice::open(spec.path(), device, *cache).map(Self::Device),
            _ => native::OpenRegion::open(spec, writable).map(Self::Native),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        each!(self, region => region.path())
    }

    /// Whether locks tell who lives.
    pub(crate) fn has_locks(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// Which memory it is.
    pub(crate) fn identity(&self) -> Identity {
        each!(self, region => region.identity())
    }

    /// Its size when it was opened.
    pub(crate) fn bytes(&self) -> u64 {
        each!(self, region => region.bytes())
    }

    /// Bytes of it that take memory; a region's arena is reserved, so less than that is a lie about its size.
    pub(crate) fn backed_bytes(&self) -> u64 {
        each!(self, region => region.backed_bytes())
    }

    /// Whether the region's producer lives, as far as locks tell. A failing probe counts as life: the next one tells.
    pub(crate) fn producer_lives(&self) -> bool {
        each!(self, region => region.producer_lives())
    }

    /// Takes consumer page `index` if nobody has it.
    pub(crate) fn try_claim(&self, index: usize) -> io::Result<bool> {
        each!(self, region => region.try_claim(index))
    }

    /// Gives consumer page `index` up.
    pub(crate) fn unclaim(&self, index: usize) {
        each!(self, region => region.unclaim(index))
    }

    /// Shows the producer that a snapshot consumer is there.
    pub(crate) fn show_presence(&self) -> io::Result<bool> {
        each!(self, region => region.show_presence())
    }

    /// Makes every watcher of the region look around.
    pub(crate) fn notify_watchers(&self) {
        each!(self, region => region.notify_watchers())
    }

    pub(crate) fn map(&self, offset: u64, bytes: usize, writable: bool) -> Result<Mapping, AttachError> {
        each!(self, region => region.map(offset, bytes, writable))
    }

    /// Whether the memory is as long as it was. The system shortens a file first and drops its pages then, so what was
    /// read before the answer yes was no page that is gone.
    pub(crate) fn is_whole(&self) -> bool {
        each!(self, region => region.is_whole())
    }

    /// Reads exactly `buffer.len()` bytes; memory that ends before is an error, not a signal.
    pub(crate) fn read_exact(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        each!(self, region => region.read_exact(buffer, offset))
    }

    /// Sleeps until the region's wake word differs from `expected`, the event from `seen`, or the time is over. Only where
    /// locks tell who lives: elsewhere nobody can wake, and [`Poll`](super::Poll) is for waiting.
    pub(crate) fn wait(
        &self,
        word: NonNull<AtomicU32>,
        expected: u32,
        (event, seen): (&Event, u32),
        timeout: Option<Duration>,
    ) -> Wake {
        match self {
            Self::Native(region) => region.wait(word, expected, (event, seen), timeout),
            Self::Device(_) => event.wait(seen, timeout),
        }
    }

    /// How fast a device's memory is read, in bytes a second: it may be mapped without a cache.
    pub(crate) fn read_speed(&self) -> Option<u64> {
        match self {
            Self::Native(_) => None,
            Self::Device(region) => Some(region.read_speed()),
        }
    }

    /// Wakes a producer that waits for space: the word of this consumer's page has just changed.
    pub(crate) fn wake_producer(&self, space: &AtomicU32) {
        each!(self, region => region.wake_producer(space))
    }

    /// Signals `event` when the region's producer may be gone; `None` where nothing tells.
    pub(crate) fn watch(&self, event: &Arc<Event>) -> Option<Watch> {
        each!(self, region => region.watch(event))
    }
}
