//! A driver that behaves like `ivshmem.sys`. Several `Devices` over clones of one [`FakeDriver`] are several processes
//! of one machine.

use super::driver::{Driver, Interface};
use super::ioctl::{self, MAP_ANSWER, MapAnswer, SIZE_ANSWER};
use crate::sync::{AtomicU64, Ordering};
use std::io;
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DEVICE_ALREADY_ATTACHED, ERROR_FILE_NOT_FOUND, ERROR_INVALID_FUNCTION,
    ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER, ERROR_INVALID_USER_BUFFER, ERROR_NOT_READY,
};

/// Memory is aligned as Windows aligns mappings.
const ALIGNMENT: usize = 65_536;

/// Version of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Requires a cache mode.
    Current,
    /// Ignores the input.
    First,
    /// Refuses any input.
    Strict,
    /// Maps for several processes at the same time, as versions of 2025 do.
    Shared,
}

/// A wrong answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    ShortSize,
    ShortMapping,
    OtherSize,
    NullAddress,
    LowAddress,
    OddAddress,
}

/// A device, and how it answers.
pub(super) struct FakeDevice {
    pub(super) interface: Interface,
    pub(super) bytes: u64,
    pub(super) version: Version,
    pub(super) fault: Fault,
    /// Number of requests that find it not ready.
    pub(super) not_ready: u32,
    pub(super) denied: bool,
    memory: Arc<[AtomicU64]>,
    owners: Vec<u64>,
    /// The cache mode of the last mapping, if one was given.
    pub(super) cache_mode: Option<u8>,
    pub(super) mappings: usize,
    pub(super) unmappings: usize,
    pub(super) open_handles: usize,
}

impl FakeDevice {
    /// A device at a slot of bus 0, with `mib` MiB of memory.
    pub(super) fn new(slot: u32, mib: u64) -> Self {
        let id = format!("3&11583659&0&{:X}", slot << 3);
        let interface = Interface {
            path: format!(r"\\?\PCI#VEN_1AF4&DEV_1110&REV_01#{id}#{}", ioctl::INTERFACE_CLASS_TEXT),
            instance: format!(r"PCI\VEN_1AF4&DEV_1110&REV_01\{id}"),
            bus: 0,
            address: slot << 16,
        };
        let bytes = mib << 20;
        Self {
            interface,
            bytes,
            version: Version::Current,
            fault: Fault::None,
            not_ready: 0,
            denied: false,
            memory: (0..(bytes as usize + ALIGNMENT) / 8).map(|_| AtomicU64::new(0)).collect(),
            owners: Vec::new(),
            cache_mode: None,
            mappings: 0,
            unmappings: 0,
            open_handles: 0,
        }
    }

    /// The memory, as the host sees it.
    pub(super) fn memory(&self) -> &[AtomicU64] {
        let start = self.memory.as_ptr().addr();
        let skipped = (start.next_multiple_of(ALIGNMENT) - start) / 8;
        &self.memory[skipped..skipped + self.bytes as usize / 8]
    }

    pub(super) fn is_mapped(&self) -> bool {
        !self.owners.is_empty()
    }

    fn control(&mut self, handle: u64, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize, u32> {
        if self.not_ready > 0 {
            self.not_ready -= 1;
            return Err(ERROR_NOT_READY);
        }
        match code {
            ioctl::REQUEST_SIZE => self.size(output),
            ioctl::REQUEST_MMAP => self.map(handle, input, output),
            ioctl::RELEASE_MMAP => self.unmap(handle),
            _ => Err(ERROR_INVALID_FUNCTION),
        }
    }

    fn size(&self, output: &mut [u8]) -> Result<usize, u32> {
        let answer: &mut [u8; SIZE_ANSWER] = output.try_into().map_err(|_| ERROR_INVALID_USER_BUFFER)?;
        *answer = self.bytes.to_ne_bytes();
        Ok(if self.fault == Fault::ShortSize { 4 } else { SIZE_ANSWER })
    }

    fn map(&mut self, handle: u64, input: &[u8], output: &mut [u8]) -> Result<usize, u32> {
        if self.is_mapped() && (self.version != Version::Shared || self.owners.contains(&handle)) {
            return Err(ERROR_DEVICE_ALREADY_ATTACHED);
        }
        let cache_mode = self.checked_input(input)?;
        let answer: &mut [u8; MAP_ANSWER] = output.try_into().map_err(|_| ERROR_INVALID_USER_BUFFER)?;
        let memory = self.memory();
        // Exposed, because the address is passed as plain bytes.
        let (base, bytes) = (memory.as_ptr().expose_provenance(), self.bytes);
        let (address, bytes) = match self.fault {
            Fault::OtherSize => (base, bytes / 2),
            Fault::NullAddress => (0, bytes),
            Fault::LowAddress => (4096, bytes),
            Fault::OddAddress => (base + 64, bytes),
            _ => (base, bytes),
        };
        put(answer, offset_of!(MapAnswer, bytes), &bytes.to_ne_bytes());
        put(answer, offset_of!(MapAnswer, address), &address.to_ne_bytes());
        self.owners.push(handle);
        self.cache_mode = cache_mode;
        self.mappings += 1;
        Ok(if self.fault == Fault::ShortMapping { MAP_ANSWER - 8 } else { MAP_ANSWER })
    }

    fn checked_input(&self, input: &[u8]) -> Result<Option<u8>, u32> {
        match (self.version, input) {
            (Version::First, _) | (Version::Strict, []) => Ok(None),
            (Version::Strict, _) => Err(ERROR_INVALID_USER_BUFFER),
            (_, [mode @ 0..=2]) => Ok(Some(*mode)),
            (_, [_]) => Err(ERROR_INVALID_PARAMETER),
            _ => Err(ERROR_INVALID_USER_BUFFER),
        }
    }

    fn unmap(&mut self, handle: u64) -> Result<usize, u32> {
        if !self.is_mapped() {
            return Err(ERROR_INVALID_FUNCTION);
        }
        let Some(index) = self.owners.iter().position(|owner| *owner == handle) else {
            return Err(ERROR_INVALID_HANDLE);
        };
        self.owners.remove(index);
        self.unmappings += 1;
        Ok(0)
    }
}

fn put(answer: &mut [u8; MAP_ANSWER], offset: usize, bytes: &[u8]) {
    answer[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// A machine with its devices.
#[derive(Clone)]
pub(super) struct FakeDriver {
    devices: Arc<Mutex<Vec<FakeDevice>>>,
}

impl FakeDriver {
    pub(super) fn new(devices: impl IntoIterator<Item = FakeDevice>) -> Self {
        Self { devices: Arc::new(Mutex::new(devices.into_iter().collect())) }
    }

    /// Reads or changes a device from outside.
    pub(super) fn with<T>(&self, index: usize, look: impl FnOnce(&mut FakeDevice) -> T) -> T {
        look(&mut self.lock()[index])
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FakeDevice>> {
        self.devices.lock().unwrap()
    }
}

/// An open device.
pub(super) struct FakeHandle {
    machine: FakeDriver,
    index: usize,
    number: u64,
}

impl Driver for FakeDriver {
    type Handle = FakeHandle;

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        Ok(self.lock().iter().map(|device| device.interface.clone()).collect())
    }

    fn open(&self, path: &str) -> io::Result<FakeHandle> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut devices = self.lock();
        let found = devices.iter_mut().enumerate().find(|(_, device)| device.interface.path == path);
        let (index, device) = found.ok_or_else(|| error(ERROR_FILE_NOT_FOUND))?;
        if device.denied {
            return Err(error(ERROR_ACCESS_DENIED));
        }
        device.open_handles += 1;
        // Relaxed: only the numbers must differ.
        Ok(FakeHandle { machine: self.clone(), index, number: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    fn control(&self, handle: &FakeHandle, code: u32, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        if code == ioctl::RELEASE_MMAP {
            // The real driver needs a while as well. Other threads open the device meanwhile.
            std::thread::sleep(Duration::from_millis(1));
        }
        self.with(handle.index, |device| device.control(handle.number, code, input, output)).map_err(error)
    }
}

impl Drop for FakeHandle {
    fn drop(&mut self) {
        self.machine.with(self.index, |device| {
            device.open_handles -= 1;
            device.owners.retain(|owner| *owner != self.number);
        });
    }
}

fn error(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code as i32)
}
