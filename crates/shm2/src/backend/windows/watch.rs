//! A producer's watch for consumers that attach, detach or die: a thread that waits for the event that consumers set,
//! and for the mutexes of the attached consumers.

use super::generation_objects::Objects;
use super::kernel_objects::{MAX_WAITED, create_event, set, unlock, wait};
use crate::backend::{ChangeWatch, Event, ProcessEvent};
use std::os::windows::io::OwnedHandle;
use std::sync::Arc;

/// Holds the event that ends the thread, if there is one.
#[derive(Debug)]
pub(crate) struct Watch(Option<Arc<OwnedHandle>>);

impl Watch {
    /// The watch of a consumer, whose waits include the producer's mutex: no thread is needed.
    pub(super) fn without_thread() -> Self {
        Self(None)
    }

    /// Watches the consumers of a producer. `None` if the thread or its event cannot be made.
    pub(super) fn of_consumers(objects: &Arc<Objects>, event: &Arc<Event>) -> Option<Self> {
        let stop = Arc::new(create_event(None, false, None).ok()?);
        let (stopped, objects, event) = (stop.clone(), objects.clone(), event.clone());
        let run = move || {
            while wait_for_change(&stopped, &objects) {
                event.signal();
            }
        };
        std::thread::Builder::new().name("shm2-watch".into()).spawn(run).ok()?;
        Some(Self(Some(stop)))
    }
}

impl ChangeWatch for Watch {
    fn is_alive(&self) -> bool {
        true
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.iter().for_each(|stop| set(stop));
    }
}

/// False if the thread is to end. Of more than 62 consumers the last ones are not waited for; the producer's own
/// regular probes find them.
fn wait_for_change(stop: &OwnedHandle, objects: &Objects) -> bool {
    let present = objects.present(objects.pages.iter().chain(&objects.snapshots)).map(|(_, mutex)| mutex);
    let awaited: Vec<_> = [stop, &objects.changed].into_iter().chain(present).take(MAX_WAITED).collect();
    match wait(&awaited, None) {
        Some(0) | None => false,
        Some(1) => true,
        Some(index) => {
            // The wait has locked the mutex of a consumer that is gone.
            unlock(awaited[index]);
            true
        }
    }
}
