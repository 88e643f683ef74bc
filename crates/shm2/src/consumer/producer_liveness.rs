//! Whether a region's heart beats.

use super::header::Checked;
use crate::error::AttachError;
use std::path::Path;

/// What a consumer without locks saw of a region's heart: it attaches only after it saw a beat.
#[derive(Debug, Default)]
pub(super) struct Pulse(Option<(u64, u64)>);

impl Pulse {
    /// `heartbeat` is what the header shows now.
    pub(super) fn await_first_heartbeat(
        &mut self,
        heartbeat: u64,
        checked: &Checked,
        path: &Path,
    ) -> Result<(), AttachError> {
        let now = (checked.generation, heartbeat);
        match self.0 {
            // It stays, for another way to attach if this one fails.
            Some((generation, beat)) if generation == now.0 && beat != now.1 => Ok(()),
            _ => {
                self.0 = Some(now);
                Err(AttachError::NoProducer { path: path.into() })
            }
        }
    }
}
