//! A descriptor that is readable while something is ready.

use crate::backend::Notify;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An eventfd whose counter is 0 or 1.
#[derive(Debug)]
pub(crate) struct Readiness {
    descriptor: OwnedFd,
    is_ready: Mutex<bool>,
}

impl Readiness {
    pub(crate) fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { descriptor, is_ready: Mutex::new(false) })
    }

    /// Makes the descriptor unreadable.
    pub(crate) fn clear(&self) {
        let mut is_ready = self.lock();
        if std::mem::take(&mut *is_ready) {
            // Empty if the program has read it against the rules.
            let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notify for Readiness {
    fn notify(&self) {
        let mut is_ready = self.lock();
        if !std::mem::replace(&mut *is_ready, true) {
            // A counter that the program has filled up is readable as well.
            let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
