//! Why the memory of an ivshmem device cannot be used.

use crate::layout;
use crate::name::ivshmem::EXAMPLES;
use std::io;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no device, or none that the name refers to.
    #[error(
        "no ivshmem device of this name is here, found: {found}; add -device ivshmem-plain to the virtual machine, \
         install its driver, or name one that was found"
    )]
    NotHere {
        /// The devices of this machine, or `none`.
        found: String,
    },
    /// The name refers to several devices.
    #[error("several ivshmem devices are meant: {found}; name one: {EXAMPLES}")]
    Several {
        /// The devices that the name refers to.
        found: String,
    },
    /// The name has a form of another operating system.
    #[error("{what} names no device on {os}: use {EXAMPLES}", os = std::env::consts::OS)]
    WrongSystem {
        /// The form of the name.
        what: &'static str,
    },
    /// The device's memory cannot be cached in this way.
    #[error("{path} cannot be mapped with cache={mode}: use {possible}")]
    Cache {
        /// The device.
        path: String,
        /// The requested mode.
        mode: &'static str,
        /// The possible modes.
        possible: &'static str,
    },
    /// The path leads to something that is not a device.
    #[error(
        "{path} is {what}: write ivshmem:///dev/shm/FILE, ivshmem:///dev/kvmfr0 or a device's folder below \
         /sys/bus/pci/devices"
    )]
    NotADevice {
        /// Path of the device.
        path: String,
        /// What the path leads to.
        what: &'static str,
    },
    /// The virtual machine can only read the memory.
    #[error("the device is read-only: a producer needs one without readonly=on (QEMU), a consumer takes snapshots")]
    ReadOnly,
    /// This user may not open the device.
    #[error(
        "permission denied for {path}: give this user access to it (Linux: a udev rule that changes owner and mode of \
         its files), or run this program as a user that has access"
    )]
    Denied {
        /// Path of the device.
        path: String,
    },
    /// Another process uses the device.
    #[error(
        "{path} is in use by another program, and its driver lets one program map it at a time: close the other, or \
         let one pass the frames on: shm2src shm-path=ivshmem://0 ! shm2sink shm-path=winshm://Local/NAME"
    )]
    InUse {
        /// Path of the device.
        path: String,
    },
    /// The device's memory is smaller than the smallest region.
    #[error(
        "the ivshmem device has {bytes} bytes of memory, a region takes {min} or more: give it a larger one by \
         -object memory-backend-file,size=64M,...",
        min = layout::MIN_REGION
    )]
    TooSmall {
        /// Size of the device's memory.
        bytes: u64,
    },
    /// The driver returned an impossible value.
    #[error("the ivshmem driver gave {found} as {what}, expected was {expected}: install its newest version")]
    Answer {
        /// Name of the value.
        what: &'static str,
        /// The expected value.
        expected: u64,
        /// The returned value.
        found: u64,
    },
    /// Any other error of the system.
    #[error("cannot {what} {path}: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// Path of the device.
        path: String,
        /// The system's own error.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_value_and_the_remedy() {
        let table = [
            (DeviceError::NotHere { found: "none".into() }, ["none", "-device ivshmem-plain"]),
            (DeviceError::Several { found: "0: a, 1: b".into() }, ["0: a, 1: b", "ivshmem://?size=64M"]),
            (DeviceError::WrongSystem { what: "a thing" }, ["a thing names no device", "ivshmem://0"]),
            (DeviceError::InUse { path: "P".into() }, ["P is in use", "shm2sink shm-path=winshm://Local/NAME"]),
            (DeviceError::Denied { path: "P".into() }, ["for P", "udev"]),
            (DeviceError::TooSmall { bytes: 4096 }, ["has 4096", "4849664"]),
            (DeviceError::Answer { what: "x", expected: 8, found: 9 }, ["gave 9 as x", "was 8"]),
        ];
        for (error, parts) in table {
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
