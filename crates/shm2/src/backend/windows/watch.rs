//! A producer's thread that tells when a consumer comes, leaves or dies: it waits for the event that consumers set, and for
//! the mutexes of those who are there.

use super::create::Objects;
use super::objects::{MOST_WAITED, create_event, release, set, wait};
use crate::backend::{ChangeWatch, Event, ProcessEvent};
use std::os::windows::io::OwnedHandle;
use std::sync::Arc;

/// Ends the watch when dropped.
#[derive(Debug)]
pub(crate) struct Watch(Option<Arc<OwnedHandle>>);

impl Watch {
    /// Where something else tells.
    pub(super) fn none() -> Self {
        Self(None)
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

/// `None` when there is no thread to be had.
pub(super) fn watch_consumers(objects: &Arc<Objects>, event: &Arc<Event>) -> Option<Watch> {
    let stop = Arc::new(create_event(None, false, None).ok()?);
    let (stopped, objects, event) = (stop.clone(), objects.clone(), event.clone());
    let run = move || {
        while look(&stopped, &objects) {
            event.signal();
        }
    };
    std::thread::Builder::new().name("shm2-watch".into()).spawn(run).ok()?;
    Some(Watch(Some(stop)))
}

/// Waits for a change; false when it is to stop. Of more than 62 consumers the last ones are only looked after by the
/// producer's own regular probes.
fn look(stop: &OwnedHandle, objects: &Objects) -> bool {
    let present = objects.present(objects.pages.iter().chain(&objects.snapshots)).map(|(_, life)| life);
    let awaited: Vec<_> = [stop, &objects.look].into_iter().chain(present).take(MOST_WAITED).collect();
    match wait(&awaited, None) {
        Some(0) | None => false,
        Some(1) => true,
        Some(left) => {
            release(awaited[left]);
            true
        }
    }
}
