//! How much of a processor the threads of this process spend on going to sleep.
//!
//! A sleep on many words costs about half a microsecond for each of them. With some hundred words that change some
//! thousand times a second, that would take a whole processor. So such sleeps take [`PACE`] times their cost from the time
//! that passes; when they have taken more than passed, by [`BURST`], the thread looks at the values at intervals instead,
//! as long as it finds changes. Then frames are up to a millisecond late, and several are taken at once.

use crate::backend;
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// What a sleep costs for each word, times 20: a twentieth of one processor is spent, by all threads of the process.
const PACE: u64 = 20 * 500;
/// How much more may be spent at once, on the same scale: nanoseconds.
const BURST: u64 = 20_000_000;
/// Interval of the looks.
pub(super) const NAP: Duration = Duration::from_millis(1);
/// Looks in a row that find no change, after which a thread sleeps on the words again.
const LOOKS: u32 = 4;

/// The time of the monotonic clock at which the sleeps so far are paid for.
static PAID: AtomicU64 = AtomicU64::new(0);

/// How one thread waits.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Looks until it sleeps again; 0: it sleeps.
    looks: u32,
}

impl Pace {
    /// Whether the thread is to nap before it looks, instead of a sleep on so many words, which is counted.
    pub(super) fn naps(&mut self, words: usize) -> bool {
        if self.looks == 0 && !may_sleep(words) {
            self.looks = LOOKS;
        }
        self.looks > 0
    }

    /// The look after a whole nap found changes, or none.
    pub(super) fn looked(&mut self, found: bool) {
        self.looks = if found { LOOKS } else { self.looks.saturating_sub(1) };
    }
}

fn may_sleep(words: usize) -> bool {
    let (now, cost) = (backend::monotonic_ns(), PACE * words as u64);
    // Relaxed: a count, which orders nothing.
    let spend = |paid: u64| (paid <= now + BURST).then(|| paid.max(now) + cost);
    PAID.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
}
