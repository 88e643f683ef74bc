//! Socket options that rustix does not provide.
//!
//! # Safety
//! Each call gets the address and the size of a local variable of the option's type (linux/socket.h).

#![expect(unsafe_code, reason = "setsockopt and getsockopt, see the head of this file")]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// `SO_PASSRIGHTS` of asm-generic/socket.h, from Linux 6.16 on.
const SO_PASSRIGHTS: c_int = 83;

/// Makes the kernel refuse descriptors on this socket: closing a descriptor that the peer chose can block for as long
/// as the peer likes. Older kernels ignore the option; there `close_elsewhere` closes them.
pub(crate) fn refuse_descriptors(socket: impl AsFd) {
    let no: c_int = 0;
    let (value, length) = ((&raw const no).cast::<c_void>(), size_of::<c_int>() as libc::socklen_t);
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: an int that exists during the call. The result does not matter, see above.
    let _ = unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, SO_PASSRIGHTS, value, length) };
}

/// Process, user and group of the peer, from the kernel. The process is 0 when it is outside this PID namespace.
pub(crate) fn peer_of(socket: impl AsFd) -> io::Result<(i32, u32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (value, socket) = ((&raw mut peer).cast::<c_void>(), socket.as_fd().as_raw_fd());
    // SAFETY: a structure of the option's type that exists during the call, and its size.
    let done = unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, value, &raw mut length) };
    if done == 0 { Ok((peer.pid, peer.uid, peer.gid)) } else { Err(io::Error::last_os_error()) }
}
