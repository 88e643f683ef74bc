//! Options of sockets that rustix does not have.
//!
//! # Safety
//! Each call gets the address and the size of a local variable of the type that the option has (linux/socket.h).

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// `SO_PASSRIGHTS` of asm-generic/socket.h, from Linux 6.16 on.
const SO_PASSRIGHTS: c_int = 83;

/// Lets nobody pass descriptors by this socket: closing one that somebody else chose can wait for as long as he likes.
/// Older kernels do not know that; there they are closed elsewhere.
pub(crate) fn refuse_descriptors(socket: impl AsFd) {
    let no: c_int = 0;
    let (value, length) = ((&raw const no).cast::<c_void>(), size_of::<c_int>() as libc::socklen_t);
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: an int that lives during the call. Whether the kernel knows the option does not matter.
    let _ = unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, SO_PASSRIGHTS, value, length) };
}

/// Who is on the other end, as the kernel knows it: process (0 if it cannot be seen from here), user and group.
pub(crate) fn peer_of(socket: impl AsFd) -> io::Result<(i32, u32, u32)> {
    let mut who = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (value, socket) = ((&raw mut who).cast::<c_void>(), socket.as_fd().as_raw_fd());
    // SAFETY: a structure of the option's type that lives during the call, and its size.
    let done = unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, value, &raw mut length) };
    if done == 0 { Ok((who.pid, who.uid, who.gid)) } else { Err(io::Error::last_os_error()) }
}
