//! Regions in memory that another kernel may share: a virtual machine's ivshmem device, or a file that is used in the
//! same way.
//!
//! No lock and no wake-up crosses kernels. Each peer shows by its heartbeat that it is alive, and waiting is polling.
//!
//! | module | contents |
//! |---|---|
//! | this one | the two region traits over a device's memory, and the list of devices |
//! | `access` | the trait by which a system opens and maps a device |
//! | `linux`, `kvmfr` | the memory on Linux: sysfs, UIO, kvmfr, a plain file |
//! | `windows` | the memory on Windows: the driver of virtio-win |

mod access;
#[cfg(target_os = "linux")]
mod kvmfr;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
use linux::DeviceMemory;
#[cfg(windows)]
pub(super) use windows::DeviceMemory;

use super::poll::Poll;
use super::{ConsumerRegion, Event, Identity, Mapping, ProcessEvent, ProducerRegion, Wake, Watch, mapping_bytes};
use crate::error::{AttachError, CreateError, DeviceError};
use crate::layout;
use crate::mapped::Memory;
use crate::name::ivshmem::{Cache, Device};
use crate::protocol;
use crate::sync::{AtomicU32, Ordering};
pub(super) use access::DeviceAccess;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A device that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Its name: a PCI address on Linux, an instance id on Windows.
    pub device: Device,
    /// Bytes of its memory; 0 if unknown.
    pub bytes: u64,
}

/// All devices, in the order of [`Device::Index`].
///
/// # Errors
/// If the system cannot list its devices.
pub fn all() -> Result<Vec<Found>, DeviceError> {
    Ok(DeviceMemory::list()?.into_iter().map(|(device, bytes)| Found { device, bytes }).collect())
}

/// A device's memory that this process produces into.
pub(crate) struct OwnedDevice {
    path: PathBuf,
    // Keeps the device open.
    _memory: DeviceMemory,
}

impl OwnedDevice {
    pub(super) fn create<T>(
        path: &Path,
        device: &Device,
        cache: Cache,
        begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self, T), CreateError> {
        let failed = |problem| CreateError::Device { path: path.into(), problem };
        let memory = DeviceMemory::open(device, cache, true).map_err(failed)?;
        layout::arena_bytes(memory.bytes()).ok_or_else(|| failed(DeviceError::TooSmall { bytes: memory.bytes() }))?;
        memory.check_adoptable(path)?;
        let map = mapping_bytes(memory.bytes()).and_then(|bytes| memory.map(0, bytes, true));
        let mapping = map.map_err(|source| CreateError::System { what: "map", path: path.into(), source })?;
        let begun = begin(mapping, &detach_lock_readers)?;
        Ok((Self { path: path.into(), _memory: memory }, begun))
    }
}

impl ProducerRegion for OwnedDevice {
    fn path(&self) -> &Path {
        &self.path
    }

    fn has_locks(&self) -> bool {
        false
    }

    fn try_lock_page(&self, _index: usize) -> bool {
        false
    }

    fn unlock_page(&self, _index: usize) {}

    fn has_snapshots(&self) -> bool {
        false
    }

    fn notify_watchers(&self) {}

    fn remove_name(&self) -> bool {
        false
    }

    fn end_generation(&self) {}

    fn wake(&self, _word: &AtomicU32, _pages: u64) {}

    fn wait_for_space(&self, words: &[(&AtomicU32, u32)], timeout: Duration) {
        // Relaxed: the caller reads the pages again.
        let news = || words.iter().any(|(word, expected)| word.load(Ordering::Relaxed) != *expected);
        let event = Event::default();
        Poll::default().wait(&event, event.value(), Some(timeout), None, &news);
    }

    fn watch(&self, _event: &Arc<Event>) -> Option<Watch> {
        None
    }
}

/// Turns the pages of consumers with locks, which read the previous generation, from reading to holding: such a
/// consumer reads no more, but may still hold frames.
fn detach_lock_readers(memory: &Memory) {
    let pages = (0..layout::PAGES).map(|index| &memory.page(index).claimed);
    for claimed in pages.take_while(|claimed| protocol::is_used(claimed)) {
        protocol::take_page(claimed, layout::READING, layout::HOLDING);
    }
}

/// Bytes that are copied to measure the read speed.
const MEASURED: usize = 256 * 1024;

/// A device's memory that a consumer has opened.
#[derive(Debug)]
pub(crate) struct OpenDevice {
    path: PathBuf,
    memory: DeviceMemory,
    whole: Memory,
}

impl OpenDevice {
    pub(super) fn open(path: &Path, device: &Device, cache: Cache) -> Result<Self, AttachError> {
        let failed = |problem| AttachError::Device { path: path.into(), problem };
        // A device that can only be read is enough for snapshots.
        let memory = DeviceMemory::open(device, cache, true).or_else(|error| match error {
            DeviceError::Denied { .. } => DeviceMemory::open(device, cache, false),
            error => Err(error),
        });
        let memory = memory.map_err(failed)?;
        if memory.bytes() < layout::MIN_REGION {
            return Err(failed(DeviceError::TooSmall { bytes: memory.bytes() }));
        }
        let bytes = mapping_bytes(memory.bytes());
        let bytes = bytes.map_err(|source| AttachError::System { what: "map", path: path.into(), source })?;
        let whole = map(&memory, path, 0, bytes, false)?;
        Ok(Self { path: path.into(), memory, whole: Memory::new(whole) })
    }
}

impl ConsumerRegion for OpenDevice {
    fn path(&self) -> &Path {
        &self.path
    }

    fn has_locks(&self) -> bool {
        false
    }

    fn identity(&self) -> Identity {
        self.memory.identity()
    }

    fn bytes(&self) -> u64 {
        self.whole.bytes()
    }

    fn backed_bytes(&self) -> u64 {
        self.whole.bytes()
    }

    fn producer_lives(&self) -> bool {
        true
    }

    fn try_claim(&self, _index: usize) -> io::Result<bool> {
        Ok(false)
    }

    fn unclaim(&self, _index: usize) {}

    fn show_presence(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn notify_watchers(&self) {}

    fn map(&self, offset: u64, bytes: usize, writable: bool) -> Result<Mapping, AttachError> {
        if writable && !self.memory.is_writable() {
            return Err(AttachError::Denied { path: self.path.clone() });
        }
        map(&self.memory, &self.path, offset, bytes, writable)
    }

    /// A plain file may be truncated.
    fn is_whole(&self) -> bool {
        !self.whole.is_broken()
    }

    fn wait(
        &self,
        _word: NonNull<AtomicU32>,
        _expected: u32,
        (event, seen): (&Event, u32),
        timeout: Option<Duration>,
    ) -> Wake {
        event.wait(seen, timeout)
    }

    fn read_exact(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let copied = self.whole.copy_out(offset, buffer) && self.is_whole();
        if copied { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Measures one copy, which takes some milliseconds at most.
    fn read_speed(&self) -> Option<u64> {
        let mut bytes = vec![0; MEASURED];
        let begun = Instant::now();
        // Every region is longer than this: it has the header and the ring.
        let _ = self.whole.copy_out(0, &mut bytes);
        let taken = begun.elapsed().as_nanos().max(1);
        std::hint::black_box(&bytes);
        Some((MEASURED as u128 * 1_000_000_000 / taken) as u64)
    }

    fn wake_producer(&self, _space: &AtomicU32) {}

    fn watch(&self, _event: &Arc<Event>) -> Option<Watch> {
        None
    }
}

fn map(memory: &DeviceMemory, path: &Path, offset: u64, bytes: usize, writable: bool) -> Result<Mapping, AttachError> {
    let failed = |source| AttachError::System { what: "map", path: path.into(), source };
    memory.map(offset, bytes, writable).map_err(failed)
}
