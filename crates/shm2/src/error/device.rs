//! Why the memory of an ivshmem device could not be used.

use crate::layout;
use crate::name::ivshmem::EXAMPLES;
use std::io;

/// Why a device could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device, or none that the name means.
    #[error(
        "no ivshmem device of this name is here, found: {found}; add -device ivshmem-plain to the virtual machine, \
         install its driver, or name one that was found"
    )]
    NotHere {
        /// The devices that are there, or `none`.
        found: String,
    },
    /// The name means more than one.
    #[error("several ivshmem devices are meant: {found}; name one: {EXAMPLES}")]
    Several {
        /// The devices that it means.
        found: String,
    },
    /// A name of another operating system.
    #[error("{what} names no device on {os}: use {EXAMPLES}", os = std::env::consts::OS)]
    WrongSystem {
        /// What the name is.
        what: &'static str,
    },
    /// Memory that cannot be cached in this way.
    #[error("{path} cannot be mapped with cache={mode}: use {possible}")]
    Cache {
        /// The device.
        path: String,
        /// What was asked for.
        mode: &'static str,
        /// What can be had.
        possible: &'static str,
    },
    /// Something else stands there.
    #[error(
        "{path} is {what}: write ivshmem:///dev/shm/FILE, ivshmem:///dev/kvmfr0 or a device's folder below \
         /sys/bus/pci/devices"
    )]
    NotADevice {
        /// Where.
        path: String,
        /// What stands there.
        what: &'static str,
    },
    /// The virtual machine may only read it.
    #[error("the device is read-only: a producer needs one without readonly=on (QEMU), a consumer takes snapshots")]
    ReadOnly,
    /// No right to open it.
    #[error(
        "permission denied for {path}: give this user the right to it (Linux: a udev rule that changes owner and mode of its files), or run \
         this program as one who has it"
    )]
    Denied {
        /// Where.
        path: String,
    },
    /// Another process has it.
    #[error(
        "{path} is in use by another program, and its driver lets one program map it at a time: close the other, or \
         let one pass the frames on: shm2src shm-path=ivshmem://0 ! shm2sink shm-path=winshm://Local/NAME"
    )]
    InUse {
        /// Where.
        path: String,
    },
    /// Less memory than a region takes.
    #[error(
        "the ivshmem device has {bytes} bytes of memory, a region takes {min} or more: give it a larger one by \
         -object memory-backend-file,size=64M,...",
        min = layout::MIN_REGION
    )]
    TooSmall {
        /// Its bytes.
        bytes: u64,
    },
    /// The driver said what cannot be.
    #[error("the ivshmem driver gave {found} as {what}, expected was {expected}: install its newest version")]
    Answer {
        /// Of what.
        what: &'static str,
        /// What was expected.
        expected: u64,
        /// What it gave.
        found: u64,
    },
    /// Anything else from the system.
    #[error("cannot {what} {path}: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// Where.
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
