//! The memory of an ivshmem device in a Linux guest.
//!
//! A device is found in `/sys/bus/pci/devices` by its vendor and device number. Its memory is BAR 2: the file
//! `resource2`, or `resource2_wc`, which is mapped write-combining. The kernel module kvmfr provides it as
//! `/dev/kvmfrN`, UIO as the largest map of `/dev/uioN`. A regular file is used as a whole. Sources:
//! docs/specs/ivshmem-spec.rst of QEMU, Documentation/ABI/testing/sysfs-bus-pci of Linux.

use super::access::DeviceAccess;
use super::kvmfr;
use crate::backend::linux::existing::check_content;
use crate::backend::{Identity, Mapping, mapping_bytes};
use crate::error::{CreateError, DeviceError};
use crate::name::ivshmem::{Cache, Device};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DEVICES: &str = "/sys/bus/pci/devices";
/// Vendor and device number, as sysfs writes them.
const IVSHMEM: (&str, &str) = ("0x1af4", "0x1110");

/// A device's memory, open.
#[derive(Debug, Clone)]
pub(super) struct DeviceMemory {
    fd: Arc<OwnedFd>,
    name: String,
    bytes: u64,
    /// Number of the map, for UIO, which maps a map only as a whole.
    uio: Option<u64>,
    writable: bool,
    /// A regular file in place of a device.
    is_file: bool,
}

impl DeviceAccess for DeviceMemory {
    fn list() -> Result<Vec<(Device, u64)>, DeviceError> {
        let named = |found: PciDevice| {
            let address = found.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (Device::Address(address), found.bytes)
        };
        Ok(all().into_iter().map(named).collect())
    }

    fn open(device: &Device, cache: Cache, writable: bool) -> Result<Self, DeviceError> {
        match device {
            Device::File(path) if path.is_dir() => open_folder(path, cache, writable),
            Device::File(path) if cache != Cache::Best => {
                let (path, mode) = (path.display().to_string(), cache.name().unwrap_or_default());
                Err(DeviceError::Cache { path, mode, possible: "a file's name alone" })
            }
            Device::File(path) => open_file(path, writable),
            Device::Address(address) => open_folder(&Path::new(DEVICES).join(address), cache, writable),
            device => choose(device).and_then(|folder| open_folder(&folder, cache, writable)),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn identity(&self) -> Identity {
        Identity::of_device(&self.name)
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn check_adoptable(&self, path: &Path) -> Result<(), CreateError> {
        if self.is_file { check_content(&self.fd, self.bytes, path) } else { Ok(()) }
    }

    fn map(&self, offset: u64, bytes: usize, writable: bool) -> io::Result<Mapping> {
        if offset.checked_add(bytes as u64).is_none_or(|end| end > self.bytes) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let Some(map) = self.uio else { return Mapping::new(&*self.fd, offset, bytes, writable) };
        let at = map * rustix::param::page_size() as u64;
        let whole = Mapping::new(&*self.fd, at, mapping_bytes(self.bytes)?, writable)?;
        whole.part(offset, bytes).ok_or(io::ErrorKind::InvalidInput.into())
    }
}

/// An ivshmem device: its folder in sysfs and the size of its memory.
struct PciDevice {
    folder: PathBuf,
    bytes: u64,
}

/// All devices, in the order of their addresses.
fn all() -> Vec<PciDevice> {
    let folders = fs::read_dir(DEVICES).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<_> = folders
        .filter(|folder| is_ivshmem(folder))
        .map(|folder| PciDevice { bytes: fs::metadata(folder.join("resource2")).map_or(0, |m| m.len()), folder })
        .collect();
    all.sort_by(|a, b| a.folder.cmp(&b.folder));
    all
}

fn is_ivshmem(folder: &Path) -> bool {
    let reads = |file, value| fs::read_to_string(folder.join(file)).is_ok_and(|text| text.trim() == value);
    reads("vendor", IVSHMEM.0) && reads("device", IVSHMEM.1)
}

fn choose(device: &Device) -> Result<PathBuf, DeviceError> {
    let all = all();
    let found = || {
        let name = |f: &PciDevice| f.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let one = |f: &PciDevice| format!("{} ({} MiB)", name(f), f.bytes >> 20);
        let list: Vec<_> = all.iter().map(one).collect();
        if list.is_empty() { "none".to_owned() } else { list.join(", ") }
    };
    let mut fitting = all.iter().enumerate().filter(|(index, f)| match device {
        Device::Index(wanted) => *index == *wanted as usize,
        Device::Size(bytes) => f.bytes == *bytes,
        _ => true,
    });
    match (fitting.next(), fitting.next()) {
        (Some((_, one)), None) => Ok(one.folder.clone()),
        (None, _) => Err(DeviceError::NotHere { found: found() }),
        _ => Err(DeviceError::Several { found: found() }),
    }
}

fn open_file(path: &Path, writable: bool) -> Result<DeviceMemory, DeviceError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(number) = name.strip_prefix("uio").filter(|_| path.starts_with("/dev")) {
        return open_uio(path, number, writable);
    }
    // Not opened: the writer of a pipe would get a reader.
    if fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo() || file.file_type().is_socket()) {
        return Err(not_a_device(path, "a pipe or a socket"));
    }
    let fd = open_any(path, writable)?;
    let stat = fstat(&fd).map_err(|e| system("look at", path, e.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let bytes = match kind {
        FileType::RegularFile => stat.st_size as u64,
        FileType::CharacterDevice => kvmfr::bytes(&fd).map_err(|e| system("ask for the size of", path, e))?,
        _ => return Err(system("use", path, io::ErrorKind::Unsupported.into())),
    };
    let is_file = kind == FileType::RegularFile && !path.starts_with("/sys");
    Ok(DeviceMemory { is_file, ..memory(fd, path, bytes, writable) })
}

/// Opens the memory of the device with this folder in sysfs.
fn open_folder(folder: &Path, cache: Cache, writable: bool) -> Result<DeviceMemory, DeviceError> {
    if !folder.starts_with(DEVICES) && !is_ivshmem(folder) {
        return Err(not_a_device(folder, "a directory of no ivshmem device"));
    }
    if !is_ivshmem(folder) {
        let found: Vec<_> = all().iter().map(|found| found.folder.display().to_string()).collect();
        let found = if found.is_empty() { "none".into() } else { found.join(", ") };
        return Err(DeviceError::NotHere { found });
    }
    enable(folder);
    let (combined, plain) = (folder.join("resource2_wc"), folder.join("resource2"));
    let possible = if combined.exists() { "combined or none, or kvmfr" } else { "none, or kvmfr" };
    let refused = |mode| Err(DeviceError::Cache { path: folder.display().to_string(), mode, possible });
    let path = match cache {
        Cache::Full => return refused("full"),
        Cache::Combined if !combined.exists() => return refused("combined"),
        Cache::Best if !combined.exists() => plain,
        Cache::Best | Cache::Combined => combined,
        Cache::None => plain,
    };
    let fd = open_any(&path, writable)?;
    let bytes = fstat(&fd).map_err(|e| system("look at", &path, e.into()))?.st_size as u64;
    Ok(memory(fd, folder, bytes, writable))
}

/// Switches the device's memory on. Without a driver it may be off, and reads return zeros. A process without the right
/// to do so relies on the system, for example on a rule of udev.
fn enable(folder: &Path) {
    let is_on = fs::read_to_string(folder.join("enable")).is_ok_and(|text| text.trim() != "0");
    if !is_on {
        let _ = fs::write(folder.join("enable"), "1");
    }
}

/// Opens a UIO device. Its largest map is the shared memory. An offset of n pages means map n.
fn open_uio(path: &Path, number: &str, writable: bool) -> Result<DeviceMemory, DeviceError> {
    let maps = PathBuf::from(format!("/sys/class/uio/uio{number}/maps"));
    let size = |map: &Path| {
        let text = fs::read_to_string(map.join("size")).unwrap_or_default();
        u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap_or(0)
    };
    let largest = (0..5u64).map(|i| (size(&maps.join(format!("map{i}"))), i)).max();
    let without = || not_a_device(path, "no UIO device with a map");
    let (bytes, index) = largest.filter(|(bytes, _)| *bytes > 0).ok_or_else(without)?;
    let fd = open_any(path, writable)?;
    Ok(DeviceMemory { uio: Some(index), ..memory(fd, path, bytes, writable) })
}

fn memory(fd: OwnedFd, path: &Path, bytes: u64, writable: bool) -> DeviceMemory {
    let name = fs::canonicalize(path).unwrap_or_else(|_| path.into()).display().to_string();
    DeviceMemory { fd: Arc::new(fd), name, bytes, uio: None, writable, is_file: false }
}

fn open_any(path: &Path, writable: bool) -> Result<OwnedFd, DeviceError> {
    let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    open(path, flags, Mode::empty()).map_err(|e| match e {
        Errno::NOENT => not_a_device(path, "not there"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => DeviceError::Denied { path: path.display().to_string() },
        e => system("open", path, e.into()),
    })
}

fn not_a_device(path: &Path, what: &'static str) -> DeviceError {
    DeviceError::NotADevice { path: path.display().to_string(), what }
}

fn system(what: &'static str, path: &Path, source: io::Error) -> DeviceError {
    DeviceError::System { what, path: path.display().to_string(), source }
}
