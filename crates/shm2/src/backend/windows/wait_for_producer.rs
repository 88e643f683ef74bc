//! Waiting until a producer appears at a name: its arrival event stays set from a producer's start until a consumer
//! resets it.

use super::kernel_objects::{create_event, reset};
use super::object_names::ObjectNames;
use super::security::SecurityDescriptor;
use crate::backend::ivshmem::{DeviceAccess, DeviceMemory};
use crate::backend::{AwaitProducer, Event, ProcessEvent};
use crate::name::{Spec, Target};
use std::os::windows::io::OwnedHandle;
use std::sync::Arc;
use std::time::Duration;

/// Interval between looks without an arrival event.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Interval with one: of several waiting consumers, one may reset the event at the moment in which it is set for
/// another.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Interval of a caller that waits for many consumers at once.
const LOOK_WITHOUT_WAIT: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct ProducerWatch {
    arrival: Option<OwnedHandle>,
    /// Keeps the device mapped during the wait: most drivers map for one process at a time, and another could take it.
    device: Option<DeviceMemory>,
    /// True if the last `arm` reset the event and asked its caller to look once more.
    was_reset: bool,
}

impl AwaitProducer for ProducerWatch {
    fn arm(&mut self, spec: &Spec, _event: &Arc<Event>) -> bool {
        if let Target::Device(device, cache) = spec.target() {
            if self.device.is_none() {
                self.device = DeviceMemory::open(device, *cache, true).ok();
            }
            return false;
        }
        if std::mem::take(&mut self.was_reset) {
            // The caller looked after the last reset and found no producer.
            return false;
        }
        if self.arrival.is_none() {
            // The first consumer makes the event. It only asks others to look, so everyone may set it.
            let everyone = SecurityDescriptor::for_objects(0o666).ok();
            self.arrival = create_event(Some(&ObjectNames::of(spec).arrival()), true, everyone.as_ref()).ok();
        }
        self.arrival.iter().for_each(reset);
        self.was_reset = self.arrival.is_some();
        self.was_reset
    }

    fn interval(&self) -> Duration {
        // The arrival event is waited for by `wait` alone.
        LOOK_WITHOUT_WAIT
    }

    fn wait(&self, event: &Event, seen: u32, timeout: Option<Duration>) {
        match &self.arrival {
            Some(arrival) => {
                let limit = timeout.map_or(LOOK_AGAIN, |t| t.min(LOOK_AGAIN));
                // The caller looks again, however the wait ended.
                let _ = event.wait_with(seen, &[arrival], Some(limit));
            }
            None => {
                event.wait(seen, Some(timeout.map_or(LOOK_EVERY, |t| t.min(LOOK_EVERY))));
            }
        }
    }
}
