//! How a system opens and maps the memory of a device.

use crate::backend::{Identity, Mapping};
use crate::error::{CreateError, DeviceError};
use crate::name::ivshmem::{Cache, Device};
use std::fmt;
use std::io;
use std::path::Path;

/// The memory of a device, open in this process. Implemented once for each operating system, by `DeviceMemory`.
pub(in crate::backend) trait DeviceAccess: Sized + Clone + fmt::Debug {
    /// Names and bytes of all devices, in the order of [`Device::Index`]. 0 bytes stand for an unknown size.
    fn list() -> Result<Vec<(Device, u64)>, DeviceError>;

    /// Opens the one device that `device` means.
    fn open(device: &Device, cache: Cache, writable: bool) -> Result<Self, DeviceError>;

    /// Bytes of the memory.
    fn bytes(&self) -> u64;

    /// The same for every process that opens this memory.
    fn identity(&self) -> Identity;

    /// Whether the system lets this process write. A device may drop what is written without an error, as QEMU's
    /// `readonly=on` does.
    fn is_writable(&self) -> bool;

    /// An error if a producer must not overwrite what is in the memory. A device is there for regions alone; a plain
    /// file may hold anything.
    fn check_adoptable(&self, path: &Path) -> Result<(), CreateError>;

    /// Maps a range. An error if it is not inside.
    fn map(&self, offset: u64, bytes: usize, writable: bool) -> io::Result<Mapping>;
}
