//! Passing the signals of an event on, to a thread that waits for many consumers at once.

use crate::sync::{Ordering, fence};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

/// Gets told that something may have changed. Called on any thread, also with locks of this crate's callers held: an
/// implementation must not wait.
pub(crate) trait Notify: Send + Sync {
    fn notify(&self);
}

/// Where the signals of one event go in addition.
#[derive(Default)]
pub(crate) struct Forward {
    is_set: AtomicBool,
    to: Mutex<Option<Arc<dyn Notify>>>,
}

impl Forward {
    /// Replaces the receiver. A signal that comes at the same time reaches it, or what it signals is visible to the
    /// caller after this.
    pub(crate) fn set(&self, to: Option<Arc<dyn Notify>>) {
        let is_set = to.is_some();
        let before = std::mem::replace(&mut *self.to.lock().unwrap_or_else(PoisonError::into_inner), to);
        self.is_set.store(is_set, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        drop(before);
    }

    /// Called after the event's value has changed.
    pub(super) fn notify(&self) {
        fence(Ordering::SeqCst);
        if !self.is_set.load(Ordering::Relaxed) {
            return;
        }
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(to) = to {
            to.notify();
        }
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("is_set", &self.is_set).finish()
    }
}
