//! The one question to the module kvmfr (of Looking Glass): how large its memory is.
//!
//! # Safety
//! The call passes a live descriptor and no memory.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// `_IO('u', 0x44)`: returns the size in bytes.
const GET_SIZE: libc::c_ulong = 0x7544;

pub(super) fn bytes(fd: &OwnedFd) -> io::Result<u64> {
    // SAFETY: see the head of this file. A driver that does not know the request answers with an error.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), GET_SIZE as _) };
    // Sizes from 2 GiB on look negative; only -1 is an error.
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(u64::from(answer as u32)) }
}
