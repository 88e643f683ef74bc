//! The order of handlers of SIGBUS.
//!
//! The crate `shm2` installs a handler with the first region, which turns the truncation of a region into an error.
//! Python's `faulthandler` installs one that reports a crash and ends the process. Whichever is installed later is asked
//! first. If that is `faulthandler`, the handler of this file goes on top of it, at the next use of a region: it asks
//! the one of `shm2` first, and the one below for all other faults.
//!
//! # Safety
//! The handler makes only system calls that are async-signal-safe, and reads only atomics.

#![expect(unsafe_code, reason = "a signal handler")]

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

/// Address of the handler of the crate `shm2`; 0 before the first region.
static OURS: AtomicUsize = AtomicUsize::new(0);
/// Address and flags of the handler that was on top of it.
static OTHER: (AtomicUsize, AtomicI32) = (AtomicUsize::new(0), AtomicI32::new(0));
/// A fault that is no region's was passed on once.
static IS_PASSED_ON: AtomicBool = AtomicBool::new(false);

/// Called when a region has just been mapped: the handler that is installed is that of the crate `shm2`.
pub fn remember() {
    if OURS.load(Ordering::Relaxed) == 0 {
        let found = current().sa_sigaction;
        if found != libc::SIG_DFL && found != libc::SIG_IGN {
            OURS.store(found, Ordering::Release);
        }
    }
}

/// Called before memory of a region is used.
pub fn ensure() {
    let ours = OURS.load(Ordering::Acquire);
    let found = current();
    if ours == 0 || found.sa_sigaction == ours || found.sa_sigaction == on_bus_error as *const () as usize {
        return;
    }
    OTHER.0.store(found.sa_sigaction, Ordering::Relaxed);
    OTHER.1.store(found.sa_flags, Ordering::Release);
    IS_PASSED_ON.store(false, Ordering::Relaxed);
    install(on_bus_error as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART);
}

fn current() -> libc::sigaction {
    // SAFETY: plain data, for which zeros are valid, and a query that changes nothing.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut found);
        found
    }
}

/// Makes a handler that was found installed, or the one of this file, the one that is asked first.
fn install(handler: usize, flags: i32) {
    // SAFETY: plain data; the handler is a function of the type that the flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGBUS, &action, null_mut());
    }
}

/// Whether the signal waits for the end of this handler.
fn is_pending() -> bool {
    // SAFETY: plain data, for which zeros are valid.
    unsafe {
        let mut pending: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&mut pending);
        libc::sigismember(&pending, libc::SIGBUS) == 1
    }
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`.
    let is_fault = unsafe { (*info).si_code } > 0;
    if is_fault {
        let ours = OURS.load(Ordering::Acquire);
        // SAFETY: this address was found installed as the handler of the crate `shm2`, which is of this type.
        let ours: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(ours) };
        ours(signal, info, context);
        if current().sa_sigaction == on_bus_error as *const () as usize {
            return;
        }
        // It has restored what was before it: the fault is no region's. The access is repeated after the return. If it has
        // called a handler that was before it, which reported the fault and raised the signal again, nothing is left.
        IS_PASSED_ON.fetch_or(is_pending(), Ordering::AcqRel);
    }
    if IS_PASSED_ON.swap(true, Ordering::AcqRel) {
        install(libc::SIG_DFL, 0);
    } else {
        install(OTHER.0.load(Ordering::Relaxed), OTHER.1.load(Ordering::Acquire));
    }
    if !is_fault {
        // SAFETY: sends this very signal again.
        unsafe { libc::raise(signal) };
    }
}
