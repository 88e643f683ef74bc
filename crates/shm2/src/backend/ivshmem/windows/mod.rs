//! The memory of an ivshmem device in a Windows guest, mapped by the driver `ivshmem.sys` of virtio-win.
//!
//! The driver reports the size, then maps the memory into this process. Several versions of it are in use, so its
//! answers are checked, although it is part of the kernel. All users in this process share one mapping. Another process
//! gets [`DeviceError::InUse`] from the versions that map for one process only. The host writes the memory at any time,
//! so it is accessed through `crate::mapped` alone.
//!
//! | module | contents |
//! |---|---|
//! | `ioctl` | codes and layouts of the driver's requests |
//! | `driver` | the system calls that are needed, as a trait |
//! | `system_driver` | the trait on the real system |
//! | `device_handle` | one open device and its mapping |
//! | `process_table` | sharing of mappings in this process |
//! | `devices` | choosing a device by its name; joins the parts |
//! | `fake_driver`, `tests` | the trait as a fake for tests, and the tests |

mod device_handle;
mod devices;
mod driver;
#[cfg(test)]
mod fake_driver;
mod ioctl;
mod process_table;
mod system_driver;
#[cfg(test)]
mod tests;

use super::access::DeviceAccess;
use crate::backend::{Identity, Mapping};
use crate::error::{CreateError, DeviceError};
use crate::name::ivshmem::{Cache, Device};
use devices::SharedMapping;
use std::io;
use std::path::Path;
use std::ptr::NonNull;

/// A device's memory. All values in this process share one mapping.
#[derive(Debug, Clone)]
pub(in crate::backend) struct DeviceMemory(SharedMapping);

impl DeviceMemory {
    /// Address of the first byte.
    pub(in crate::backend) fn base(&self) -> NonNull<u8> {
        self.0.base()
    }
}

impl DeviceAccess for DeviceMemory {
    fn list() -> Result<Vec<(Device, u64)>, DeviceError> {
        let all = devices::list()?.into_iter();
        Ok(all.map(|(instance, _, bytes)| (Device::Instance(instance), bytes)).collect())
    }

    /// The driver maps for reading and writing only.
    fn open(device: &Device, cache: Cache, _writable: bool) -> Result<Self, DeviceError> {
        SharedMapping::open(device, cache).map(Self)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn identity(&self) -> Identity {
        // Windows does not distinguish upper and lower case in the path.
        Identity::of_device(&self.0.name().to_lowercase())
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn check_adoptable(&self, _path: &Path) -> Result<(), CreateError> {
        Ok(())
    }

    fn map(&self, offset: u64, bytes: usize, _writable: bool) -> io::Result<Mapping> {
        Mapping::of_device(self, offset, bytes).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}
