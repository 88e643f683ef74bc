//! One open device: its size, its mapping, and the meaning of the driver's errors.

use super::driver::Driver;
use super::ioctl::{self, CacheMode, MapAnswer, MapRequest};
use crate::error::DeviceError;
use crate::layout::{MAX_REGION, MIN_REGION};
use std::io;
use std::ptr::NonNull;
use std::time::Duration;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DEVICE_ALREADY_ATTACHED, ERROR_NOT_READY, ERROR_SHARING_VIOLATION,
};

/// Interval between requests to a device that is not ready: one of revision 0 waits for its memory from the host, and
/// the driver has no event for that.
const RETRY_AFTER: Duration = Duration::from_millis(50);
const RETRIES: u32 = 20;

/// Windows maps no memory of a process below this address.
const LOWEST_ADDRESS: usize = 65_536;
/// The driver maps whole pages.
const PAGE: usize = 4096;

/// An open device.
pub(super) struct DeviceHandle<D: Driver> {
    driver: D,
    handle: D::Handle,
    path: String,
}

impl<D: Driver> DeviceHandle<D> {
    pub(super) fn open(driver: &D, path: &str) -> Result<Self, DeviceError> {
        let handle = driver.open(path).map_err(|source| failure("open", path, source))?;
        Ok(Self { driver: driver.clone(), handle, path: path.into() })
    }

    /// Bytes of the device's memory, according to the driver.
    pub(super) fn bytes(&self) -> Result<u64, DeviceError> {
        let mut answer = [0; ioctl::SIZE_ANSWER];
        let written = retry_until_ready(|| self.control(ioctl::REQUEST_SIZE, &[], &mut answer))
            .map_err(|source| failure("ask for the size of", &self.path, source))?;
        expect("the length of its answer to REQUEST_SIZE", answer.len(), written)?;
        Ok(u64::from_ne_bytes(answer))
    }

    /// Maps all of it.
    pub(super) fn map(self, mode: CacheMode) -> Result<DeviceMapping<D>, DeviceError> {
        let bytes = check_size(self.bytes()?)?;
        let mut answer = [0; ioctl::MAP_ANSWER];
        let written = retry_until_ready(|| self.request_mapping(mode, &mut answer))
            .map_err(|source| failure("map the memory of", &self.path, source))?;
        // The mapping exists from here on, and is ended even if the driver's answer is refused.
        let handle = MappedHandle(self);
        expect("the length of its answer to REQUEST_MMAP", answer.len(), written)?;
        let base = checked_base(MapAnswer::from_bytes(&answer), bytes)?;
        Ok(DeviceMapping { handle, base: Base(base), bytes })
    }

    /// Sends the request of current drivers first. The first driver took no input, so the request is then sent without.
    fn request_mapping(&self, mode: CacheMode, answer: &mut [u8]) -> io::Result<usize> {
        let request = MapRequest::new(mode).to_bytes();
        match self.control(ioctl::REQUEST_MMAP, &request, answer) {
            Err(error) if ioctl::is_about_form(&error) => self.control(ioctl::REQUEST_MMAP, &[], answer),
            other => other,
        }
    }

    fn control(&self, code: u32, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        self.driver.control(&self.handle, code, input, output)
    }
}

/// A device's memory in this process.
pub(super) struct DeviceMapping<D: Driver> {
    handle: MappedHandle<D>,
    base: Base,
    bytes: u64,
}

impl<D: Driver> DeviceMapping<D> {
    pub(super) fn path(&self) -> &str {
        &self.handle.0.path
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base.0
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Ends the mapping before the handle is closed.
struct MappedHandle<D: Driver>(DeviceHandle<D>);

impl<D: Driver> Drop for MappedHandle<D> {
    fn drop(&mut self) {
        // If the driver refuses, closing the handle still ends the mapping.
        let _ = self.0.control(ioctl::RELEASE_MMAP, &[], &mut []);
    }
}

/// The first mapped byte.
struct Base(NonNull<u8>);

// SAFETY: an address that belongs to the whole process; no code here reads the bytes.
#[expect(unsafe_code, reason = "an address is not a reference")]
unsafe impl Send for Base {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "an address is not a reference")]
unsafe impl Sync for Base {}

fn check_size(bytes: u64) -> Result<u64, DeviceError> {
    let most = MAX_REGION.min(isize::MAX as u64);
    if bytes > most {
        return Err(DeviceError::Answer { what: "the size of the memory, at most", expected: most, found: bytes });
    }
    if bytes < MIN_REGION { Err(DeviceError::TooSmall { bytes }) } else { Ok(bytes) }
}

fn checked_base(answer: MapAnswer, bytes: u64) -> Result<NonNull<u8>, DeviceError> {
    if answer.bytes != bytes {
        return Err(DeviceError::Answer { what: "the size of the mapping", expected: bytes, found: answer.bytes });
    }
    expect("the mapping's address modulo the page size", 0, answer.address % PAGE)?;
    let base = NonNull::new(std::ptr::with_exposed_provenance_mut(answer.address));
    base.filter(|_| answer.address >= LOWEST_ADDRESS).ok_or(DeviceError::Answer {
        what: "the mapping's address, at least",
        expected: LOWEST_ADDRESS as u64,
        found: answer.address as u64,
    })
}

fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), DeviceError> {
    if expected == found {
        return Ok(());
    }
    Err(DeviceError::Answer { what, expected: expected as u64, found: found as u64 })
}

fn failure(what: &'static str, path: &str, source: io::Error) -> DeviceError {
    let path = path.to_owned();
    match ioctl::code(&source) {
        Some(ERROR_ACCESS_DENIED) => DeviceError::Denied { path },
        Some(ERROR_DEVICE_ALREADY_ATTACHED | ERROR_SHARING_VIOLATION) => DeviceError::InUse { path },
        _ => DeviceError::System { what, path, source },
    }
}

/// Repeats a request for a second while the device is not ready.
fn retry_until_ready<T>(mut request: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..RETRIES {
        match request() {
            Err(error) if ioctl::code(&error) == Some(ERROR_NOT_READY) => std::thread::sleep(RETRY_AFTER),
            other => return other,
        }
    }
    request()
}
