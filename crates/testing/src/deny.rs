//! System calls that fail in a child process, as under a security policy (seccomp, AppArmor) or on an old kernel.
//!
//! # Safety
//! Between fork and exec only `prctl` is called, with a filter that was built before the fork and that the closure owns.

#![expect(unsafe_code, reason = "a seccomp filter is installed in the child, before its program starts")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A system call that fails, or that kills the process.
#[derive(Debug, Clone, Copy)]
pub struct Deny {
    /// Number of the system call, such as `libc::SYS_linkat`.
    pub call: libc::c_long,
    /// If set, only calls whose argument of this index has all of these bits.
    pub argument: Option<(u32, u32)>,
    /// The error of the call. `None` kills the process by SIGSYS.
    pub error: Option<i32>,
}

impl Deny {
    /// Every call of this number fails with this error.
    pub fn all(call: libc::c_long, error: i32) -> Self {
        Self { call, argument: None, error: Some(error) }
    }

    /// Every call of this number kills the process.
    pub fn by_death(call: libc::c_long) -> Self {
        Self { call, argument: None, error: None }
    }

    /// Opening a file without a name (`O_TMPFILE`) fails with this error.
    pub fn unnamed_files(error: i32) -> Vec<Self> {
        // Without `O_DIRECTORY`, which is a part of `O_TMPFILE`.
        const TMPFILE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
        let open = |call, index| Self { call, argument: Some((index, TMPFILE)), error: Some(error) };
        vec![
            #[cfg(target_arch = "x86_64")]
            open(libc::SYS_open, 1),
            open(libc::SYS_openat, 2),
        ]
    }

    fn filter(&self) -> Vec<libc::sock_filter> {
        let arguments = std::mem::offset_of!(libc::seccomp_data, args) as u32;
        let end = match self.error {
            Some(error) => libc::SECCOMP_RET_ERRNO | error as u32,
            None => libc::SECCOMP_RET_KILL_PROCESS,
        };
        let mut filter = vec![load(std::mem::offset_of!(libc::seccomp_data, nr) as u32)];
        match self.argument {
            None => filter.push(jump_unless(self.call as u32, 1)),
            Some((index, bits)) => {
                filter.push(jump_unless(self.call as u32, 4));
                filter.push(load(arguments + 8 * index));
                filter.push(step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, bits));
                filter.push(jump_unless(bits, 1));
            }
        }
        filter.push(step(libc::BPF_RET | libc::BPF_K, end));
        filter
    }
}

fn step(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn load(offset: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

/// Skips `steps` unless the loaded value is `k`.
fn jump_unless(k: u32, steps: u8) -> libc::sock_filter {
    libc::sock_filter { jf: steps, ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k) }
}

/// Lets these calls fail in the program that `command` starts.
pub fn deny(command: &mut Command, calls: &[Deny]) {
    let mut filter: Vec<_> = calls.iter().flat_map(Deny::filter).collect();
    filter.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the filter is alive and has `len` entries; the kernel copies it and does not write to it.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: see the head of this file: the closure only makes system calls, and allocates nothing.
    unsafe { command.pre_exec(install) };
}
