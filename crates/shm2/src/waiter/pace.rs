//! How much of a processor the threads of this process spend on going to sleep.
//!
//! A sleep on many words costs about half a microsecond for each of them. With some hundred words that change some
//! thousand times a second, that would take a whole processor. So such sleeps take [`PACE`] times their cost from the time
//! that passes; when they have taken more than passed, by [`BURST`], the thread naps instead and then looks at the values,
//! which costs a hundredth. Frames are then up to a millisecond late, and several are taken at once.

use crate::backend;
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// What a sleep costs for each word, times 20: a twentieth of one processor is spent, by all threads of the process.
const PACE: u64 = 20 * 500;
/// How much more may be spent at once, on the same scale: nanoseconds.
const BURST: u64 = 20_000_000;
/// Longest nap.
const LONGEST: u64 = 1_000_000;

/// The time of the monotonic clock at which the sleeps so far are paid for.
static PAID: AtomicU64 = AtomicU64::new(0);

/// The time to nap before a sleep on so many words may begin; `None` if it may begin now, which counts it.
pub(super) fn nap_before(words: usize) -> Option<Duration> {
    let (now, cost) = (backend::monotonic_ns(), PACE * words as u64);
    // Relaxed: a count, which orders nothing.
    let spend = |paid: u64| (paid <= now + BURST).then(|| paid.max(now) + cost);
    let refused = PAID.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).err()?;
    Some(Duration::from_nanos((refused - now - BURST).min(LONGEST)))
}
