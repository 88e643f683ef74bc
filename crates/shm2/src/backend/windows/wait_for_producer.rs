//! Waiting for a producer at a name: for its bell, an event that stays set once a producer came.

use super::access::Access;
use super::object_names::ObjectNames;
use super::objects::{create_event, reset};
use crate::backend::ivshmem::DeviceMemory;
use crate::backend::{AwaitProducer, Event, ProcessEvent};
use crate::name::{Place, Spec};
use std::os::windows::io::OwnedHandle;
use std::sync::Arc;
use std::time::Duration;

/// How often to look where nothing tells.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Of several consumers that wait, one may reset the bell in the moment in which it rings for another.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Tells when a producer may have come.
#[derive(Default)]
pub(crate) struct ProducerWatch {
    bell: Option<OwnedHandle>,
    /// Mapped as long as somebody waits, so that other programs do not get it in between.
    device: Option<DeviceMemory>,
    told: bool,
}

impl AwaitProducer for ProducerWatch {
    fn arm(&mut self, spec: &Spec, _event: &Arc<Event>) -> bool {
        if let Place::Device(device, cache) = spec.place() {
            if self.device.is_none() {
                self.device = DeviceMemory::open(device, *cache, true).ok();
            }
            return false;
        }
        if self.told {
            // It was looked after the last reset, in vain.
            self.told = false;
            return false;
        }
        if self.bell.is_none() {
            // Whoever comes first makes it. It only says that somebody should look, so everyone may ring.
            let everyone = Access::to_objects(0o666).ok();
            self.bell = create_event(Some(&ObjectNames::of(spec).bell()), true, everyone.as_ref()).ok();
        }
        self.bell.iter().for_each(reset);
        self.told = self.bell.is_some();
        self.told
    }

    fn wait(&self, event: &Event, seen: u32, timeout: Option<Duration>) {
        match &self.bell {
            Some(bell) => {
                let limit = timeout.map_or(LOOK_AGAIN, |t| t.min(LOOK_AGAIN));
                // However it ends, the caller looks.
                let _ = event.wait_with(seen, &[bell], Some(limit));
            }
            None => {
                event.wait(seen, Some(timeout.map_or(LOOK_EVERY, |t| t.min(LOOK_EVERY))));
            }
        }
    }
}
