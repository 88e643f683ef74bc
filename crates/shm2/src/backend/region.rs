//! A region of either kind: the platform's own, or the memory of a device. Chosen once, when the region is created or
//! opened.

use super::contract::{ConsumerRegion, Identity, Keep, LostName, Platform, ProducerRegion, Wake};
#[cfg(not(miri))]
use super::ivshmem::{OpenDevice, OwnedDevice};
use super::{Event, Mapping, System, Watch};
use crate::error::{AttachError, CreateError};
use crate::mapped::Memory;
use crate::name::Spec;
#[cfg(not(miri))]
use crate::name::Target;
use crate::sync::AtomicU32;
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// A region that this process produces.
pub(crate) enum OwnedRegion {
    Native(<System as Platform>::OwnedRegion),
    #[cfg(not(miri))]
    Device(OwnedDevice),
}

/// A region that a consumer has opened.
#[derive(Debug)]
pub(crate) enum OpenRegion {
    Native(<System as Platform>::OpenRegion),
    #[cfg(not(miri))]
    Device(OpenDevice),
}

impl OwnedRegion {
    /// Creates the region that `spec` names; see [`Platform::create_region`]. A device's memory is always used as it
    /// is, with its own size.
    pub(crate) fn create<T>(
        spec: &Spec,
        bytes: u64,
        perms: u32,
        keep: Keep,
        begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self, T), CreateError> {
        #[cfg(not(miri))]
        if let Target::Device(device, cache) = spec.target() {
            let created = OwnedDevice::create(spec.path(), device, *cache, begin);
            return created.map(|(region, begun)| (Self::Device(region), begun));
        }
        System::create_region(spec, bytes, perms, keep, begin).map(|(region, begun)| (Self::Native(region), begun))
    }
}

impl OpenRegion {
    /// Opens the region that `spec` names, for writing if the consumer is to lease.
    pub(crate) fn open(spec: &Spec, writable: bool) -> Result<Self, AttachError> {
        #[cfg(not(miri))]
        if let Target::Device(device, cache) = spec.target() {
            return OpenDevice::open(spec.path(), device, *cache).map(Self::Device);
        }
        System::open_region(spec, writable).map(Self::Native)
    }

    /// See [`Platform::open_listed`].
    pub(crate) fn open_listed(path: &Path) -> Result<Self, AttachError> {
        System::open_listed(path).map(Self::Native)
    }
}

macro_rules! dispatch {
    ($self:ident, $region:ident => $call:expr) => {
        match $self {
            Self::Native($region) => $call,
            #[cfg(not(miri))]
            Self::Device($region) => $call,
        }
    };
}

impl ProducerRegion for OwnedRegion {
    fn path(&self) -> &Path {
        dispatch!(self, region => region.path())
    }

    fn has_locks(&self) -> bool {
        dispatch!(self, region => region.has_locks())
    }

    fn try_lock_page(&self, index: usize) -> bool {
        dispatch!(self, region => region.try_lock_page(index))
    }

    fn unlock_page(&self, index: usize) {
        dispatch!(self, region => region.unlock_page(index))
    }

    fn has_page_owner(&self, index: usize) -> bool {
        dispatch!(self, region => region.has_page_owner(index))
    }

    fn has_snapshots(&self) -> bool {
        dispatch!(self, region => region.has_snapshots())
    }

    fn has_keyframe_request(&self) -> bool {
        dispatch!(self, region => region.has_keyframe_request())
    }

    fn notify_watchers(&self) {
        dispatch!(self, region => region.notify_watchers())
    }

    fn announce(&self) {
        dispatch!(self, region => region.announce());
    }

    fn remove_name(&self) -> bool {
        dispatch!(self, region => region.remove_name())
    }

    fn check_name(&self) -> Option<LostName> {
        dispatch!(self, region => region.check_name())
    }

    fn end_generation(&self) {
        dispatch!(self, region => region.end_generation())
    }

    fn wake(&self, word: &AtomicU32, pages: u64) {
        dispatch!(self, region => region.wake(word, pages))
    }

    fn wait_for_space(&self, words: &[(&AtomicU32, u32)], timeout: Duration) {
        dispatch!(self, region => region.wait_for_space(words, timeout))
    }

    fn watch(&self, event: &Arc<Event>) -> Option<Watch> {
        dispatch!(self, region => region.watch(event))
    }
}

impl ConsumerRegion for OpenRegion {
    fn path(&self) -> &Path {
        dispatch!(self, region => region.path())
    }

    fn has_locks(&self) -> bool {
        dispatch!(self, region => region.has_locks())
    }

    fn identity(&self) -> Identity {
        dispatch!(self, region => region.identity())
    }

    fn bytes(&self) -> u64 {
        dispatch!(self, region => region.bytes())
    }

    fn backed_bytes(&self) -> u64 {
        dispatch!(self, region => region.backed_bytes())
    }

    fn producer_lives(&self) -> bool {
        dispatch!(self, region => region.producer_lives())
    }

    fn try_claim(&self, index: usize) -> io::Result<bool> {
        dispatch!(self, region => region.try_claim(index))
    }

    fn unclaim(&self, index: usize) {
        dispatch!(self, region => region.unclaim(index))
    }

    fn show_presence(&self) -> io::Result<bool> {
        dispatch!(self, region => region.show_presence())
    }

    fn show_keyframe_request(&self, is_requested: bool) -> bool {
        dispatch!(self, region => region.show_keyframe_request(is_requested))
    }

    fn notify_watchers(&self) {
        dispatch!(self, region => region.notify_watchers())
    }

    fn map(&self, offset: u64, bytes: usize, writable: bool) -> Result<Mapping, AttachError> {
        dispatch!(self, region => region.map(offset, bytes, writable))
    }

    fn is_whole(&self) -> bool {
        dispatch!(self, region => region.is_whole())
    }

    fn read_exact(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        dispatch!(self, region => region.read_exact(buffer, offset))
    }

    fn wait(&self, word: NonNull<AtomicU32>, expected: u32, event: (&Event, u32), timeout: Option<Duration>) -> Wake {
        dispatch!(self, region => region.wait(word, expected, event, timeout))
    }

    fn read_speed(&self) -> Option<u64> {
        dispatch!(self, region => region.read_speed())
    }

    fn wake_producer(&self, space: &AtomicU32) {
        dispatch!(self, region => region.wake_producer(space))
    }

    fn watch(&self, event: &Arc<Event>) -> Option<Watch> {
        dispatch!(self, region => region.watch(event))
    }
}
