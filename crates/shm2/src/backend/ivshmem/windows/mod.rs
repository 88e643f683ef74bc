//! The memory of an ivshmem device in a Windows guest, as the rest of the backend wants it.

mod driver;
#[cfg(test)]
mod fake;
mod handle;
mod ioctl;
mod port;
mod registry;
mod setup;
#[cfg(test)]
mod tests;

use crate::backend::Identity;
use crate::backend::windows::mapping::Mapping;
use crate::error::CreateError;
use crate::error::DeviceError;
use crate::name::ivshmem::{Cache, Device};
use std::io;
use std::path::Path;
use std::ptr::NonNull;

/// Instance ids and bytes of all devices.
pub(crate) fn devices() -> Result<Vec<(Device, u64)>, DeviceError> {
    let all = handle::list()?.into_iter();
    Ok(all.map(|(instance, _, bytes)| (Device::Instance(instance), bytes)).collect())
}

/// A device's memory, mapped once for the whole process.
#[derive(Debug, Clone)]
pub(crate) struct DeviceMemory(handle::DeviceMemory);

impl DeviceMemory {
    /// The driver maps for reading and writing only.
    pub(crate) fn open(device: &Device, cache: Cache, _writable: bool) -> Result<Self, DeviceError> {
        handle::DeviceMemory::open(device, cache).map(Self)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::of_device(&self.0.name().to_lowercase())
    }

    pub(crate) fn is_writable(&self) -> bool {
        true
    }

    /// A device is there for regions, whatever stood in it.
    pub(crate) fn check_adoptable(&self, _path: &Path) -> Result<(), CreateError> {
        Ok(())
    }

    pub(in crate::backend) fn base(&self) -> NonNull<u8> {
        self.0.base()
    }

    pub(crate) fn map(&self, offset: u64, bytes: usize, _writable: bool) -> io::Result<Mapping> {
        Mapping::of_device(self, offset, bytes).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}
