//! The memory of an ivshmem device inside a Windows guest, mapped by the driver `ivshmem.sys` of virtio-win.
//!
//! [`Devices`] chooses a device and opens it: the driver tells the size, then maps the memory into this process. What it
//! answers is checked, although it is part of the kernel, as there are several versions of it. All users in this process
//! share one mapping (see [`registry`]); another process gets [`DeviceError::InUse`] from the versions that allow one
//! process only. The memory is given out as address and length; the host writes it at any time, so it is looked at
//! through `crate::mapped` alone.
//!
//! | file | part |
//! |---|---|
//! | `ioctl.rs` | codes and layouts of the driver's requests |
//! | `driver.rs` | the system's calls as a trait |
//! | `setup.rs` | those calls on the real system |
//! | `port.rs` | one open device and its mapping |
//! | `registry.rs` | sharing in this process |
//! | `fake.rs`, `tests.rs` | a driver for tests, and the tests |

use super::driver::{Driver, Interface};
use super::ioctl::CacheMode;
use super::port::{Mapping, Port};
use super::registry::{Place, Registry};
use super::setup::System;
use crate::error::DeviceError;
use crate::name::ivshmem::{Cache, Device, binary};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock};

/// The devices of this process.
static DEVICES: LazyLock<Devices<System>> = LazyLock::new(|| Devices::new(System));

/// Instance id, interface path and bytes of all devices, in the order of [`Device::Index`]. A device that does not tell
/// its size has 0 bytes.
pub(crate) fn list() -> Result<Vec<(String, String, u64)>, DeviceError> {
    DEVICES.list()
}

/// A device's memory, mapped until the last clone is gone.
pub(crate) struct DeviceMemory<D: Driver = System>(Arc<Mapped<D>>);

impl DeviceMemory {
    /// Maps the device, or shares the mapping that this process has.
    /// Whoever comes first chooses how it is cached.
    pub(crate) fn open(device: &Device, cache: Cache) -> Result<Self, DeviceError> {
        DEVICES.open_with(device, cache)
    }
}

impl<D: Driver> DeviceMemory<D> {
    /// Bytes mapped.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.mapping.bytes()
    }

    /// The device's interface path.
    pub(crate) fn name(&self) -> &str {
        self.0.mapping.path()
    }

    /// First byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.0.mapping.base()
    }
}

impl<D: Driver> Clone for DeviceMemory<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Driver> fmt::Debug for DeviceMemory<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceMemory").field("name", &self.name()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

struct Mapped<D: Driver> {
    mapping: Mapping<D>,
    // Behind `mapping`: fields are dropped in this order, and the entry must outlive the mapping.
    _place: Place<Mapped<D>>,
}

/// The devices of one system, as one process sees them.
pub(super) struct Devices<D: Driver> {
    driver: D,
    registry: Arc<Registry<Mapped<D>>>,
}

impl<D: Driver> Devices<D> {
    pub(super) fn new(driver: D) -> Self {
        Self { driver, registry: Arc::new(Registry::new()) }
    }

    #[cfg(test)]
    pub(super) fn open(&self, device: &Device) -> Result<DeviceMemory<D>, DeviceError> {
        self.open_with(device, Cache::Best)
    }

    pub(super) fn open_with(&self, device: &Device, cache: Cache) -> Result<DeviceMemory<D>, DeviceError> {
        let chosen = self.choose(device)?;
        let mapped = self.registry.share(chosen.key(), |place| {
            let mapping = Port::open(&self.driver, &chosen.path)?.map(CacheMode::of(cache))?;
            Ok(Mapped { mapping, _place: place })
        })?;
        Ok(DeviceMemory(mapped))
    }

    pub(super) fn list(&self) -> Result<Vec<(String, String, u64)>, DeviceError> {
        let described = |one: Interface| {
            let bytes = self.bytes(&one).unwrap_or(0);
            (one.instance, one.path, bytes)
        };
        Ok(self.sorted()?.into_iter().map(described).collect())
    }

    fn choose(&self, device: &Device) -> Result<Interface, DeviceError> {
        refuse_foreign(device)?;
        let all = self.sorted()?;
        let fits = |(index, one): &(usize, &Interface)| self.is_meant(device, *index, one);
        let fitting: Vec<(usize, &Interface)> = all.iter().enumerate().filter(fits).collect();
        match fitting.as_slice() {
            [(_, one)] => Ok((*one).clone()),
            [] => Err(DeviceError::NotHere { found: self.describe(all.iter().enumerate()) }),
            several => Err(DeviceError::Several { found: self.describe(several.iter().copied()) }),
        }
    }

    fn is_meant(&self, device: &Device, index: usize, one: &Interface) -> bool {
        match device {
            Device::Only => true,
            Device::Index(wanted) => usize::try_from(*wanted) == Ok(index),
            Device::Size(wanted) => self.bytes(one).is_ok_and(|bytes| bytes == *wanted),
            Device::Interface(path) => one.has_path(path),
            Device::Instance(id) => one.has_instance(id),
            Device::Address(_) | Device::File(_) => false,
        }
    }

    fn sorted(&self) -> Result<Vec<Interface>, DeviceError> {
        let mut all = self.driver.interfaces().map_err(|source| DeviceError::System {
            what: "list",
            path: "the ivshmem devices".into(),
            source,
        })?;
        all.sort_by_cached_key(Interface::order);
        Ok(all)
    }

    fn bytes(&self, one: &Interface) -> Result<u64, DeviceError> {
        Port::open(&self.driver, &one.path)?.bytes()
    }

    fn describe<'a>(&self, devices: impl Iterator<Item = (usize, &'a Interface)>) -> String {
        let line = |(index, one): (usize, &Interface)| match self.bytes(one) {
            Ok(bytes) => {
                let (count, unit) = binary(bytes);
                let unit = if unit.is_empty() { "bytes".into() } else { format!("{unit}iB") };
                format!("{index}: {} ({count} {unit})", one.instance)
            }
            Err(error) => format!("{index}: {} ({error})", one.instance),
        };
        let lines: Vec<String> = devices.map(line).collect();
        if lines.is_empty() { "none".into() } else { lines.join(", ") }
    }
}

/// ObjectNames that mean a device on Linux only.
fn refuse_foreign(device: &Device) -> Result<(), DeviceError> {
    match device {
        Device::Address(_) => Err(DeviceError::WrongSystem { what: "a PCI address" }),
        Device::File(_) => Err(DeviceError::WrongSystem { what: "a file" }),
        _ => Ok(()),
    }
}
