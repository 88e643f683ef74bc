//! What a consumer has for which another thread waits.

use crate::backend::ProducerWatch;
#[cfg(all(target_os = "linux", not(miri)))]
use crate::backend::Readiness;
use crate::waiter::Seat;
#[cfg(all(target_os = "linux", not(miri)))]
use std::sync::Arc;

/// The seat of such a consumer, and what it has beside it.
pub(super) struct Notified {
    pub(super) seat: Seat,
    /// Reports the next producer while the consumer is detached.
    pub(super) producer_watch: ProducerWatch,
    #[cfg(all(target_os = "linux", not(miri)))]
    pub(super) readiness: Option<Arc<Readiness>>,
}

impl Notified {
    pub(super) fn new(seat: Seat) -> Self {
        Self {
            seat,
            producer_watch: ProducerWatch::default(),
            #[cfg(all(target_os = "linux", not(miri)))]
            readiness: None,
        }
    }
}
