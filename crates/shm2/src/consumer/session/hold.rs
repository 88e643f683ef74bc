//! The hold on a frame that a consumer reads in place.

use super::Session;
use crate::kill_points::point;
use crate::mapped::Memory;
use crate::protocol;
use crate::sync::Ordering;
use std::sync::Arc;

/// One lease entry in use; ends the lease when dropped, on any thread, without waiting for anything.
#[derive(Debug)]
pub(in crate::consumer) struct LeaseGuard {
    pub(super) session: Arc<Session>,
    pub(super) slot: usize,
    pub(super) sequence: u64,
    /// What it counts of the share; the cell's word, checked or not.
    pub(super) bytes: u64,
}

impl LeaseGuard {
    pub(in crate::consumer) fn memory(&self) -> &Memory {
        &self.session.memory
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        let session = &self.session;
        session.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if !session.memory.is_here() {
            return;
        }
        let entry = &session.page.words().leases[self.slot].sequence;
        match session.is_by_heartbeat() {
            true => protocol::release_if_mine(entry, session.signed(self.sequence)),
            // After a wipe the page may be another's.
            false if session.is_other_generation() => protocol::release_if_mine(entry, self.sequence),
            false => protocol::release(entry),
        }
        point!("release.cleared");
        session.in_use.fetch_and(!(1 << self.slot), Ordering::Release);
        session.signal_space();
    }
}
