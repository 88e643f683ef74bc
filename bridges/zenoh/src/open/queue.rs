//! Samples between zenoh's threads and the thread of the local region: bounded by number and bytes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zenoh::sample::Sample;

/// What happens to a sample that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The oldest are dropped.
    DropOldest,
    /// The network waits.
    Wait,
}

/// A queue with one receiver.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    full: Full,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    samples: VecDeque<Sample>,
    bytes: usize,
    dropped: u64,
    is_open: bool,
}

impl Queue {
    /// A queue for `most` samples with `most_bytes` together; one sample always fits.
    pub fn new(full: Full, most: usize, most_bytes: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), full, most, most_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples are taken from now on, or no longer: then those in it are dropped, and nobody waits.
    pub fn set_open(&self, is_open: bool) {
        let mut state = self.lock();
        state.is_open = is_open;
        if !is_open {
            (state.samples, state.bytes) = (VecDeque::new(), 0);
        }
        self.changed.notify_all();
    }

    /// Adds a sample.
    pub fn push(&self, sample: Sample) {
        let bytes = bytes_of(&sample);
        let is_full = |state: &State| {
            !state.samples.is_empty() && (state.samples.len() >= self.most || state.bytes + bytes > self.most_bytes)
        };
        let mut state = self.lock();
        if self.full == Full::Wait {
            let waits = |state: &mut State| state.is_open && is_full(state);
            state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.is_open {
            return;
        }
        while is_full(&state) {
            let oldest = state.samples.pop_front();
            state.bytes -= oldest.as_ref().map_or(0, bytes_of);
            state.dropped += 1;
        }
        state.bytes += bytes;
        state.samples.push_back(sample);
        self.changed.notify_all();
    }

    /// The oldest sample; waits for one up to `time`.
    pub fn pop(&self, time: Duration) -> Option<Sample> {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, time, |state| state.samples.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let sample = state.samples.pop_front()?;
        state.bytes -= bytes_of(&sample);
        self.changed.notify_all();
        Some(sample)
    }

    /// Samples that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }
}

fn bytes_of(sample: &Sample) -> usize {
    sample.payload().len() + sample.attachment().map_or(0, |bytes| bytes.len())
}
