//! Choosing a device, and mapping it once for the whole process.

use super::device_handle::{DeviceHandle, DeviceMapping};
use super::driver::{Driver, Interface};
use super::ioctl::CacheMode;
use super::process_table::{ProcessTable, TableEntry};
use super::system_driver::SystemDriver;
use crate::error::DeviceError;
use crate::name::ivshmem::{Cache, Device, binary};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock};

/// The devices of this process.
static DEVICES: LazyLock<Devices<SystemDriver>> = LazyLock::new(|| Devices::new(SystemDriver));

/// Instance id, interface path and bytes of all devices, in the order of [`Device::Index`]. 0 bytes stand for an
/// unknown size.
pub(crate) fn list() -> Result<Vec<(String, String, u64)>, DeviceError> {
    DEVICES.list()
}

/// A device's memory, mapped until the last clone is dropped.
pub(crate) struct SharedMapping<D: Driver = SystemDriver>(Arc<Mapped<D>>);

impl SharedMapping {
    /// Maps the device, or shares the mapping that this process has already, with the cache mode that its first user
    /// chose.
    pub(crate) fn open(device: &Device, cache: Cache) -> Result<Self, DeviceError> {
        DEVICES.open_with(device, cache)
    }
}

impl<D: Driver> SharedMapping<D> {
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

impl<D: Driver> Clone for SharedMapping<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Driver> fmt::Debug for SharedMapping<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMapping")
            .field("name", &self.name())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

struct Mapped<D: Driver> {
    mapping: DeviceMapping<D>,
    // After `mapping`: fields are dropped in the order of declaration, and the entry must outlive the mapping.
    _entry: TableEntry<Mapped<D>>,
}

/// The devices of one system, as one process sees them.
pub(super) struct Devices<D: Driver> {
    driver: D,
    table: Arc<ProcessTable<Mapped<D>>>,
}

impl<D: Driver> Devices<D> {
    pub(super) fn new(driver: D) -> Self {
        Self { driver, table: Arc::new(ProcessTable::new()) }
    }

    #[cfg(test)]
    pub(super) fn open(&self, device: &Device) -> Result<SharedMapping<D>, DeviceError> {
        self.open_with(device, Cache::Best)
    }

    pub(super) fn open_with(&self, device: &Device, cache: Cache) -> Result<SharedMapping<D>, DeviceError> {
        let chosen = self.choose(device)?;
        let mapped = self.table.share(chosen.key(), |entry| {
            let mapping = DeviceHandle::open(&self.driver, &chosen.path)?.map(CacheMode::of(cache))?;
            Ok(Mapped { mapping, _entry: entry })
        })?;
        Ok(SharedMapping(mapped))
    }

    pub(super) fn list(&self) -> Result<Vec<(String, String, u64)>, DeviceError> {
        let described = |one: Interface| {
            let bytes = self.bytes(&one).unwrap_or(0);
            (one.instance, one.path, bytes)
        };
        Ok(self.sorted()?.into_iter().map(described).collect())
    }

    fn choose(&self, device: &Device) -> Result<Interface, DeviceError> {
        refuse_linux_names(device)?;
        let all = self.sorted()?;
        let fits = |(index, one): &(usize, &Interface)| self.matches(device, *index, one);
        let fitting: Vec<(usize, &Interface)> = all.iter().enumerate().filter(fits).collect();
        match fitting.as_slice() {
            [(_, one)] => Ok((*one).clone()),
            [] => Err(DeviceError::NotHere { found: self.describe(all.iter().enumerate()) }),
            several => Err(DeviceError::Several { found: self.describe(several.iter().copied()) }),
        }
    }

    fn matches(&self, device: &Device, index: usize, one: &Interface) -> bool {
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
        DeviceHandle::open(&self.driver, &one.path)?.bytes()
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

/// Names that mean a device on Linux only.
fn refuse_linux_names(device: &Device) -> Result<(), DeviceError> {
    match device {
        Device::Address(_) => Err(DeviceError::WrongSystem { what: "a PCI address" }),
        Device::File(_) => Err(DeviceError::WrongSystem { what: "a file" }),
        _ => Ok(()),
    }
}
