//! Whether the region's name leads to it, as the last check has found.

use crate::backend::LostName;
use std::sync::atomic::{AtomicU8, Ordering};

/// The result of the last check.
#[derive(Debug, Default)]
pub(super) struct NameState(AtomicU8);

impl NameState {
    pub(super) fn lost(&self) -> Option<LostName> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            1 => Some(LostName::Removed),
            _ => Some(LostName::Replaced),
        }
    }

    /// Stores a result; true if it differs from the last one.
    pub(super) fn set(&self, lost: Option<LostName>) -> bool {
        let value = match lost {
            None => 0,
            Some(LostName::Removed) => 1,
            Some(LostName::Replaced) => 2,
        };
        self.0.swap(value, Ordering::AcqRel) != value
    }
}
