//! Byte-range locks that belong to an open file description (`F_OFD_*`): they end with its last close, so also with
//! `kill -9`, and they work across PID and mount namespaces.
//!
//! The bytes stand far behind any file's end. A write lock needs a descriptor open for writing; a probe for a *read*
//! lock conflicts with write locks only, so a reader's lock can never look like a living producer.
//!
//! # Safety
//! Each call passes a live descriptor and a fully initialised `flock` that outlives the call.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

const BASE: i64 = 0x4000_0000_0000_0000;

/// A byte of the region file that means something when it is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Byte {
    /// Write-locked by the producer as long as it lives.
    Liveness,
    /// Write-locked while a region's name is taken over or removed.
    Takeover,
    /// Read-locked by each snapshot consumer.
    Presence,
    /// Write-locked by the consumer that owns this page.
    Page(usize),
}

impl Byte {
    fn position(self) -> i64 {
        BASE + match self {
            Byte::Liveness => 0,
            Byte::Takeover => 1,
            Byte::Presence => 2,
            Byte::Page(index) => 64 + index as i64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

fn request(byte: Byte, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte.position(),
        l_len: 1,
        l_pid: 0,
    }
}

fn kind_number(kind: Kind) -> libc::c_int {
    match kind {
        Kind::Read => libc::F_RDLCK,
        Kind::Write => libc::F_WRLCK,
    }
}

/// Takes the lock without waiting; false when another description holds a conflicting one.
pub(crate) fn try_lock(fd: impl AsFd, byte: Byte, kind: Kind) -> io::Result<bool> {
    let flock = request(byte, kind_number(kind));
    // SAFETY: see the head of this file.
    let r = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &flock) };
    if r == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Gives a lock back; a failure means that there was none.
pub(crate) fn unlock(fd: impl AsFd, byte: Byte) {
    let flock = request(byte, libc::F_UNLCK);
    // SAFETY: see the head of this file.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &flock) };
}

/// Whether another description holds a lock that conflicts with `kind`.
pub(crate) fn is_locked(fd: impl AsFd, byte: Byte, kind: Kind) -> io::Result<bool> {
    let mut flock = request(byte, kind_number(kind));
    // SAFETY: see the head of this file.
    let r = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &mut flock) };
    if r == 0 { Ok(flock.l_type != libc::F_UNLCK as libc::c_short) } else { Err(io::Error::last_os_error()) }
}
