//! How another thread wakes a consumer, or cancels its waiting.

use crate::backend::{Event, ProcessEvent};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by a consumer and its cancellers.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) event: Arc<Event>,
    pub(super) cancelled: AtomicBool,
}

/// Cancels a consumer's waiting calls from another thread. Made by
/// [`Consumer::canceller`](super::Consumer::canceller).
#[derive(Debug, Clone)]
pub struct Canceller(pub(super) Arc<Signals>);

impl Canceller {
    /// While true, calls that would wait return [`ReceiveError::Cancelled`](crate::ReceiveError::Cancelled) at once.
    pub fn set(&self, cancelled: bool) {
        self.0.cancelled.store(cancelled, Ordering::Release);
        self.0.event.signal();
    }

    /// Whether waiting calls are cancelled now.
    pub fn is_set(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }
}
