//! The seats for which one thread waits.

use super::Source;
use super::pace::{NAP, Pace};
use crate::backend::{self, Event, MOST_WORDS, Notify, ProcessEvent, Wake};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest sleep on wake words; see `consumer/sleep.rs`.
const LOOK: Duration = Duration::from_millis(970);
/// What one thread waits for.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Ends the sleep of the thread.
    pub(crate) event: Arc<Event>,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    all: Vec<Option<SeatState>>,
    taken: usize,
    /// End of the sleep under way.
    until: Option<Instant>,
    pace: Pace,
}

/// The state of one seat.
struct SeatState {
    receiver: Arc<dyn Notify>,
    source: Option<Arc<dyn Source>>,
    /// The source's value when the thread or the consumer last looked.
    expected: Option<u32>,
    is_armed: bool,
    /// The thread sleeps on the word. It does for one change more after the seat was disarmed, because the consumer
    /// usually arms it again before the next item.
    is_listed: bool,
    armed_since: Instant,
    deadline: Option<Instant>,
    /// Time of the next look at a source for which nothing wakes the thread.
    look_at: Option<Instant>,
}

impl std::fmt::Debug for SeatState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeatState").field("source", &self.source).field("is_armed", &self.is_armed).finish()
    }
}

impl SeatState {
    /// Disarms the seat; returns the receiver if it is to be notified.
    fn fire(&mut self) -> Option<Arc<dyn Notify>> {
        (self.deadline, self.look_at) = (None, None);
        std::mem::take(&mut self.is_armed).then(|| self.receiver.clone())
    }

    /// Looks at the source's value; the receiver if it changed.
    fn look(&mut self) -> Option<Arc<dyn Notify>> {
        let value = self.source.as_ref()?.value();
        if value.is_some() && value == self.expected {
            return None;
        }
        self.changed(value)
    }

    /// The source's value changed.
    fn changed(&mut self, value: Option<u32>) -> Option<Arc<dyn Notify>> {
        self.expected = value;
        self.is_listed = self.is_armed && value.is_some();
        self.fire()
    }

    /// When the source is to be looked at because nothing wakes the thread for it.
    fn next_look(&self, now: Instant) -> Option<Instant> {
        let waited = now.saturating_duration_since(self.armed_since);
        self.source.as_ref()?.interval(waited).and_then(|interval| now.checked_add(interval))
    }

    /// The receiver if the deadline has passed, or a look that was due found a change.
    fn due(&mut self, now: Instant) -> Option<Arc<dyn Notify>> {
        let has_passed = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if !self.is_armed {
            return None;
        }
        if has_passed(self.deadline) {
            return self.fire();
        }
        if !has_passed(self.look_at) {
            return None;
        }
        self.look_at = self.next_look(now);
        self.look()
    }
}

/// What the thread sleeps on, and the seats of the words.
struct Sleep {
    words: Vec<(std::ptr::NonNull<crate::sync::AtomicU32>, u32)>,
    seats: Vec<usize>,
    until: Option<Instant>,
    /// The values are looked at after a nap instead.
    naps: bool,
}

impl Group {
    /// A seat whose receiver is notified by the thread of this group; `None` if all are taken.
    pub(crate) fn seat(self: &Arc<Self>, receiver: Arc<dyn Notify>) -> Option<Seat> {
        let mut seats = self.lock();
        if seats.taken >= MOST_WORDS {
            return None;
        }
        let state = SeatState {
            receiver,
            source: None,
            expected: None,
            is_armed: false,
            is_listed: false,
            armed_since: Instant::now(),
            deadline: None,
            look_at: None,
        };
        seats.taken += 1;
        let free = seats.all.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            seats.all.push(None);
            seats.all.len() - 1
        });
        seats.all[index] = Some(state);
        Some(Seat { group: self.clone(), index, depth: backend::fork_depth() })
    }

    /// Whether no seat is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().taken == 0
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies receivers, or sleeps until there may be one to notify, until the event is signalled, or until `end`.
    /// `seen` is the event's value before the caller looked for what it signals.
    pub(crate) fn wait(&self, seen: u32, end: Option<Instant>) {
        let (due, sleep) = self.prepare(end);
        if !due.is_empty() {
            return due.iter().for_each(|receiver| receiver.notify());
        }
        let timeout = sleep.until.map(|until| until.saturating_duration_since(Instant::now()));
        if sleep.naps {
            let nap = timeout.map_or(NAP, |timeout| timeout.min(NAP));
            let is_whole = self.event.wait(seen, Some(nap)) == Wake::Timeout;
            let due = self.finish(None);
            if is_whole {
                self.lock().pace.looked(!due.is_empty());
            }
            return due.iter().for_each(|receiver| receiver.notify());
        }
        let woken = backend::wait_many(&sleep.words, &self.event, seen, timeout);
        let due = self.finish(woken.and_then(|index| sleep.seats.get(index).copied()));
        due.iter().for_each(|receiver| receiver.notify());
    }

    /// The receivers that are due now, or else what to sleep on.
    fn prepare(&self, end: Option<Instant>) -> (Vec<Arc<dyn Notify>>, Sleep) {
        let now = Instant::now();
        let mut seats = self.lock();
        let mut sleep = Sleep {
            words: Vec::with_capacity(seats.taken),
            seats: Vec::with_capacity(seats.taken),
            until: end,
            naps: false,
        };
        let mut due = Vec::new();
        for (index, seat) in seats.all.iter_mut().enumerate() {
            let Some(seat) = seat else { continue };
            due.extend(seat.due(now));
            let address = seat.source.as_ref().and_then(|source| source.address()).filter(|_| seat.is_listed);
            if let Some((address, expected)) = address.zip(seat.expected) {
                sleep.words.push((address, expected));
                sleep.seats.push(index);
            }
            let times = [seat.deadline, seat.look_at, sleep.until];
            sleep.until = times.into_iter().flatten().min();
        }
        if !sleep.words.is_empty() {
            sleep.until = [Some(now + LOOK), sleep.until].into_iter().flatten().min();
        }
        seats.until = sleep.until.or_else(|| now.checked_add(Duration::from_secs(u32::MAX.into())));
        if due.is_empty() {
            sleep.naps = !sleep.words.is_empty() && seats.pace.naps(sleep.words.len());
        }
        (due, sleep)
    }

    /// The receivers that are due after a sleep: that of the seat whose word ended it, or of all that changed.
    fn finish(&self, woken: Option<usize>) -> Vec<Arc<dyn Notify>> {
        let mut seats = self.lock();
        seats.until = None;
        if let Some(seat) = woken.and_then(|index| seats.all.get_mut(index)?.as_mut()) {
            let value = seat.source.as_ref().and_then(|source| source.value());
            return seat.changed(value).into_iter().collect();
        }
        // Those that nothing wakes have their own times.
        let listed = |seat: &&mut SeatState| (seat.is_listed || seat.is_armed) && seat.look_at.is_none();
        seats.all.iter_mut().flatten().filter(listed).filter_map(SeatState::look).collect()
    }
}

/// One seat, given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    group: Arc<Group>,
    index: usize,
    /// Number of forks before it was made: the thread of the group is in that process alone.
    depth: usize,
}

impl Seat {
    /// Changes the state, and drops what `change` returns without the lock.
    fn change<T>(&self, change: impl FnOnce(&mut SeatState, Option<Instant>) -> T) -> Option<T> {
        if self.depth != backend::fork_depth() {
            return None;
        }
        let mut seats = self.group.lock();
        let until = seats.until;
        seats.all.get_mut(self.index)?.as_mut().map(|seat| change(seat, until))
    }

    /// Replaces the source, and disarms the seat.
    pub(crate) fn set_source(&self, source: Option<Arc<dyn Source>>) {
        let before = self.change(|seat, until| {
            (seat.is_armed, seat.is_listed) = (false, false);
            (seat.deadline, seat.look_at) = (None, None);
            (std::mem::replace(&mut seat.source, source), until.is_some())
        });
        // The thread may sleep on a word whose memory ends now.
        if let Some((Some(_), true)) = before {
            self.group.event.signal();
        }
    }

    /// Notifies the receiver once: when the source's value differs from `expected`, or at the deadline.
    pub(crate) fn arm(&self, expected: Option<u32>, deadline: Option<Instant>) {
        let fired = self.change(|seat, until| {
            let was_listed = std::mem::replace(&mut seat.is_listed, seat.source.is_some());
            let before = std::mem::replace(&mut seat.expected, expected);
            (seat.is_armed, seat.deadline, seat.armed_since) = (true, deadline, Instant::now());
            seat.look_at = seat.next_look(seat.armed_since);
            if was_listed && is_later(before, expected) {
                return (seat.fire(), false);
            }
            let first = [deadline, seat.look_at].into_iter().flatten().min();
            let is_early = first.is_some_and(|first| until.is_some_and(|until| first < until));
            (None, until.is_some() && (is_early || was_listed != seat.is_listed))
        });
        match fired {
            Some((Some(receiver), _)) => receiver.notify(),
            Some((None, true)) => self.group.event.signal(),
            _ => {}
        }
    }
}

/// Whether the thread has seen a value that the source had after `expected`. The values are counters.
fn is_later(seen: Option<u32>, expected: Option<u32>) -> bool {
    seen.zip(expected).is_some_and(|(seen, expected)| (seen.wrapping_sub(expected) as i32) > 0)
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.depth != backend::fork_depth() {
            return;
        }
        let mut seats = self.group.lock();
        seats.taken -= 1;
        let state = seats.all.get_mut(self.index).and_then(Option::take);
        // The thread ends with the last seat, also if it is about to sleep.
        let must_look = seats.until.is_some() || seats.taken == 0;
        drop(seats);
        drop(state);
        if must_look {
            self.group.event.signal();
        }
    }
}
