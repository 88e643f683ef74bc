//! Byte-range locks that belong to an open file description (`F_OFD_*`). They end with its last close, so also when the
//! process is killed, and they work across PID and mount namespaces.
//!
//! The locked bytes are far beyond the end of any file. A write lock needs a descriptor that is open for writing. A
//! probe for a *read* lock conflicts with write locks only, so the lock of a process that can only read never looks
//! like a live producer.
//!
//! # Safety
//! Each call passes a live descriptor and a fully initialised `flock` that outlives the call.

#![expect(unsafe_code, reason = "fcntl with F_OFD_* commands")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

const BASE: i64 = 0x4000_0000_0000_0000;

/// A byte of the region file whose lock has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Byte {
    /// Write-locked by the live producer.
    Liveness,
    /// Write-locked while the region's name is taken over or removed.
    Takeover,
    /// Read-locked by each snapshot consumer.
    Presence,
    /// Read-locked by each snapshot consumer that requests a keyframe.
    Keyframe,
    /// Write-locked by the consumer that owns this page.
    Page(usize),
}

impl Byte {
    fn position(self) -> i64 {
        BASE + match self {
            Byte::Liveness => 0,
            Byte::Takeover => 1,
            Byte::Presence => 2,
            Byte::Keyframe => 3,
            Byte::Page(index) => 64 + index as i64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

#[cfg(target_pointer_width = "64")]
type Request = libc::flock;
/// The positions have 64 bits in a 32-bit program, too.
#[cfg(not(target_pointer_width = "64"))]
type Request = libc::flock64;

/// Executes a command. Returns 0, or -1 with the error in `errno`.
fn execute(fd: BorrowedFd, command: libc::c_int, request: &mut Request) -> libc::c_int {
    let (fd, request) = (fd.as_raw_fd(), &raw mut *request);
    // SAFETY: see the head of this file.
    #[cfg(target_pointer_width = "64")]
    return unsafe { libc::fcntl(fd, command, request) };
    // SAFETY: as above. The `fcntl` of 32-bit glibc would take positions of 32 bits.
    #[cfg(not(target_pointer_width = "64"))]
    return unsafe { libc::syscall(libc::SYS_fcntl64, fd, command, request) } as libc::c_int;
}

fn request(byte: Byte, kind: libc::c_int) -> Request {
    Request {
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

/// Takes the lock and does not wait. False if another file description holds a conflicting lock.
pub(super) fn try_lock(fd: impl AsFd, byte: Byte, kind: Kind) -> io::Result<bool> {
    let r = execute(fd.as_fd(), libc::F_OFD_SETLK, &mut request(byte, kind_number(kind)));
    if r == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    // POSIX also permits EACCES for a conflict. On Linux it means that a security policy forbids locks.
    if error.raw_os_error() == Some(libc::EAGAIN) { Ok(false) } else { Err(error) }
}

/// Ends a lock. A failure means that there was none.
pub(super) fn unlock(fd: impl AsFd, byte: Byte) {
    execute(fd.as_fd(), libc::F_OFD_SETLK, &mut request(byte, libc::F_UNLCK));
}

/// Whether another file description holds a lock that conflicts with `kind`.
pub(super) fn is_locked(fd: impl AsFd, byte: Byte, kind: Kind) -> io::Result<bool> {
    let mut flock = request(byte, kind_number(kind));
    let r = execute(fd.as_fd(), libc::F_OFD_GETLK, &mut flock);
    if r == 0 { Ok(flock.l_type != libc::F_UNLCK as libc::c_short) } else { Err(io::Error::last_os_error()) }
}
