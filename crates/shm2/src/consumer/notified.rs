//! What a consumer has for which another thread waits.

use super::absent::LastLook;
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
    pub(super) last_look: LastLook,
    /// The seat's source is the file at the path.
    pub(super) is_absent: bool,
    #[cfg(all(target_os = "linux", not(miri)))]
    pub(super) readiness: Option<Arc<Readiness>>,
}

impl Notified {
    pub(super) fn new(seat: Seat) -> Self {
        Self {
            seat,
            producer_watch: ProducerWatch::default(),
            last_look: LastLook::default(),
            is_absent: false,
            #[cfg(all(target_os = "linux", not(miri)))]
            readiness: None,
        }
    }
}
