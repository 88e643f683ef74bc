//! The request to the kernel module kvmfr (of Looking Glass) for the size of its memory.
//!
//! # Safety
//! The call passes a live descriptor and no memory.

#![expect(unsafe_code, reason = "ioctl")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// `_IO('u', 0x44)`: returns the size in bytes.
const GET_SIZE: libc::c_ulong = 0x7544;

pub(super) fn bytes(fd: &OwnedFd) -> io::Result<u64> {
    // SAFETY: see the head of this file. A driver that does not know the request returns an error.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), GET_SIZE as _) };
    // Sizes of 2 GiB and more are negative numbers; only -1 is an error.
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(u64::from(answer as u32)) }
}
