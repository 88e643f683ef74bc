//! The groups of this process, each with a thread of its own, which ends with the last seat.

use super::group::{Group, Seat};
use crate::backend::{self, Notify, ProcessEvent};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Groups of this process. A forked child has none of their threads, and a lock that another thread of its parent had
/// would never be unlocked there: so each depth of forks has a list of its own.
static GROUPS: [Mutex<Vec<Arc<Group>>>; DEPTHS] = [const { Mutex::new(Vec::new()) }; DEPTHS];
const DEPTHS: usize = 16;

fn groups() -> std::sync::MutexGuard<'static, Vec<Arc<Group>>> {
    GROUPS[backend::fork_depth() % DEPTHS].lock().unwrap_or_else(PoisonError::into_inner)
}

/// A seat whose receiver is notified by a thread of this process.
///
/// # Errors
/// If the first thread, or one more, cannot be started.
pub(crate) fn seat(receiver: Arc<dyn Notify>) -> io::Result<Seat> {
    let mut groups = groups();
    if let Some(seat) = groups.iter().find_map(|group| group.seat(receiver.clone())) {
        return Ok(seat);
    }
    let group = Arc::new(Group::default());
    let seat = group.seat(receiver).ok_or_else(|| io::Error::other("a new group has no seat"))?;
    let serve = {
        let group = group.clone();
        move || serve(&group)
    };
    std::thread::Builder::new().name("shm2-wait".into()).spawn(serve)?;
    groups.push(group);
    Ok(seat)
}

fn serve(group: &Arc<Group>) {
    loop {
        let seen = group.event.value();
        if group.is_empty() {
            let mut groups = groups();
            // Nobody can take a seat while the list is locked.
            if group.is_empty() {
                groups.retain(|other| !Arc::ptr_eq(other, group));
                return;
            }
        }
        group.wait(seen, None);
    }
}
