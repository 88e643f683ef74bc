//! Whether somebody on another host reads a region, and what they ask for.

use shm2::consumer::Canceller;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Set by callbacks of zenoh, waited for by the region's thread.
#[derive(Debug, Default)]
pub struct Demand {
    state: Mutex<State>,
    changed: Condvar,
    keyframe: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    is_matching: bool,
    ended: Option<Instant>,
    /// Of the consumer that reads now.
    canceller: Option<Canceller>,
}

impl Demand {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a subscriber now.
    pub fn set_matching(&self, is_matching: bool) {
        self.change(|state| state.is_matching = is_matching);
    }

    /// The region's thread has to end.
    pub fn end(&self) {
        self.change(|state| {
            state.ended.get_or_insert_with(Instant::now);
        });
    }

    /// When the thread was told to end.
    pub fn ended(&self) -> Option<Instant> {
        self.lock().ended
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if let Some(canceller) = &state.canceller {
            canceller.set(state.ended.is_some() || !state.is_matching);
        }
        self.changed.notify_all();
    }

    /// Sleeps until somebody reads; false at the end.
    pub fn wait(&self) -> bool {
        let state = self.lock();
        let state = self.changed.wait_while(state, |state| !state.is_matching && state.ended.is_none());
        state.unwrap_or_else(PoisonError::into_inner).ended.is_none()
    }

    /// Sleeps for `time`, or until nobody reads.
    pub fn pause(&self, time: Duration) {
        let state = self.lock();
        let _ = self.changed.wait_timeout_while(state, time, |state| state.is_matching && state.ended.is_none());
    }

    /// Whether somebody reads.
    pub fn is_wanted(&self) -> bool {
        let state = self.lock();
        state.is_matching && state.ended.is_none()
    }

    /// From now on the end of the demand ends a wait of this consumer.
    pub fn cancels(&self, canceller: Canceller) {
        self.change(|state| state.canceller = Some(canceller));
    }

    /// A reader cannot decode.
    pub fn request_keyframe(&self) {
        self.keyframe.store(true, Ordering::Relaxed);
    }

    /// Whether a keyframe was asked for since the last call.
    pub fn take_keyframe_request(&self) -> bool {
        self.keyframe.swap(false, Ordering::Relaxed)
    }
}
