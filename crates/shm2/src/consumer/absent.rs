//! A region without a producer, for a thread that waits for many consumers.
//!
//! Where watches report each producer that starts, only a path that begins to lead elsewhere, by a mount or a renamed
//! directory, must be looked for. The thread does that by the file's identity and times, so that the program is not woken.

use crate::backend;
use crate::sync::AtomicU32;
use crate::waiter::Source;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// Interval of the looks.
const LOOK_EVERY: Duration = Duration::from_millis(900);
/// Time after a change within which the program looks itself: a producer that begins changes the file first.
const FRESH: Duration = Duration::from_secs(3);
/// Interval of the program's looks after that.
const SELDOM: Duration = Duration::from_secs(30);

/// The file at a path; its value changes with its identity and times.
#[derive(Debug)]
pub(super) struct Absent(pub(super) PathBuf);

impl Source for Absent {
    fn address(&self) -> Option<NonNull<AtomicU32>> {
        None
    }

    fn value(&self) -> Option<u32> {
        let mut hasher = DefaultHasher::new();
        backend::stamp_of(&self.0).hash(&mut hasher);
        Some(hasher.finish() as u32)
    }

    fn interval(&self, _waited: Duration) -> Option<Duration> {
        Some(LOOK_EVERY)
    }
}

/// What the last look found, and since when.
#[derive(Debug, Default)]
pub(super) struct LastLook(Option<(u32, Instant)>);

impl LastLook {
    /// Notes a value; the time until the program must look itself.
    pub(super) fn note(&mut self, value: u32, usual: Duration) -> Duration {
        let now = Instant::now();
        let since = self.0.filter(|(last, _)| *last == value).map_or(now, |(_, since)| since);
        self.0 = Some((value, since));
        if now.duration_since(since) < FRESH { usual } else { SELDOM }
    }
}
