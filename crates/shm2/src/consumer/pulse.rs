//! Whether a region's heart beats.

use super::header::Checked;
use crate::error::AttachError;
use crate::layout::Header;
use crate::sync::Ordering;
use std::path::Path;

/// What a consumer without locks saw of a region's heart: it attaches only after it saw a beat.
#[derive(Debug, Default)]
pub(super) struct Pulse(Option<(u64, u64)>);

impl Pulse {
    pub(super) fn must_beat(&mut self, header: &Header, checked: &Checked, path: &Path) -> Result<(), AttachError> {
        if checked.lease.is_none() {
            return Err(AttachError::NoHeartbeat { path: path.into() });
        }
        // Relaxed: only its change counts.
        let now = (checked.generation, header.heartbeat.load(Ordering::Relaxed));
        match self.0.replace(now) {
            Some((generation, beat)) if generation == now.0 && beat != now.1 => Ok(()),
            _ => Err(AttachError::NoProducer { path: path.into() }),
        }
    }
}
