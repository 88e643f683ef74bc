//! Checks once a second that the region's name still leads to it. A program may remove or move the file, its directory
//! or its mount while the producer is alive: then new consumers cannot find the region.

use super::lifecycle::Phase;
use super::shared::Shared;
use crate::backend::{ProcessEvent, ProducerRegion};
use crate::heartbeat::{self, Heartbeat};
use std::sync::{Arc, Weak};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);

/// Called at intervals. Owned by the producer's shared state, and ends with it.
struct Checker(Weak<Shared>);

impl Heartbeat for Checker {
    fn beat(&self) -> bool {
        if let Some(shared) = self.0.upgrade() {
            shared.check_name();
        }
        false
    }
}

impl Shared {
    /// Starts the checks. Without a thread, there are none.
    pub(super) fn start_name_checks(self: &Arc<Self>) {
        if self.settings.shared_by_kernels {
            return;
        }
        let checker = self.checker.get_or_init(|| Arc::new(Checker(Arc::downgrade(self))));
        let _ = heartbeat::start_checks(Arc::downgrade(checker), EVERY);
    }

    fn check_name(&self) {
        let is_open = self.memory.is_here() && self.phase() == Phase::Open;
        if is_open && self.name.set(self.region.check_name()) {
            self.event.signal();
        }
    }
}
