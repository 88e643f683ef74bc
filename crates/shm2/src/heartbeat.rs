//! Signs of life for peers that no kernel watches: the other side of a virtual machine's memory. One thread per process
//! beats for all of its peers; it ends with the last of them.

use crate::backend;
use crate::sync::{AtomicU64, Ordering};
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Beats in each lease time.
const BEATS: u32 = 8;
/// However long the lease time: an attaching peer waits for a beat.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// For one that is restless.
const SHORT_PAUSE: Duration = Duration::from_millis(25);

/// Something that shows its life.
pub(crate) trait Beat: Send + Sync {
    /// Changes the word that others watch. True if it must be asked again soon.
    fn beat(&self) -> bool;
}

/// Changes a heartbeat word. It never becomes 0, which means that nobody beats.
pub(crate) fn advance(word: &AtomicU64) {
    // Relaxed: only its change counts.
    let next = word.load(Ordering::Relaxed).wrapping_add(1).max(1);
    word.store(next, Ordering::Relaxed);
}

struct Hearts {
    all: Vec<(Weak<dyn Beat>, Duration)>,
    runs: bool,
}

/// One for each depth of forking: a child has none of its parent's threads, and a lock that one of them held stays held.
static HEARTS: [Mutex<Hearts>; 16] = [const { Mutex::new(Hearts { all: Vec::new(), runs: false }) }; 16];
static CHANGED: [Condvar; 16] = [const { Condvar::new() }; 16];

fn here() -> usize {
    backend::fork_depth() % HEARTS.len()
}

fn hearts() -> MutexGuard<'static, Hearts> {
    HEARTS[here()].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Beats for `heart` until it is dropped, several times in each `lease`. An error means that no thread could be had.
pub(crate) fn keep_beating(heart: Weak<dyn Beat>, lease: Duration) -> io::Result<()> {
    let mut hearts = hearts();
    if !hearts.runs {
        std::thread::Builder::new().name("shm2-heartbeat".into()).spawn(run)?;
        hearts.runs = true;
    }
    hearts.all.push((heart, (lease / BEATS).min(LONGEST_PAUSE)));
    CHANGED[here()].notify_all();
    Ok(())
}

fn run() {
    let mut hearts = hearts();
    loop {
        hearts.all.retain(|(heart, _)| heart.strong_count() > 0);
        let Some(pause) = hearts.all.iter().map(|(_, pause)| *pause).min() else {
            hearts.runs = false;
            return;
        };
        let alive: Vec<_> = hearts.all.iter().filter_map(|(heart, _)| heart.upgrade()).collect();
        // What ends with its last owner here must not find the list locked.
        drop(hearts);
        let restless = alive.into_iter().fold(false, |restless, heart| heart.beat() | restless);
        let pause = if restless { pause.min(SHORT_PAUSE) } else { pause };
        let changed = CHANGED[here()].wait_timeout(self::hearts(), pause);
        hearts = changed.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// What an observer knows of one heart: by its own clock alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed {
    value: u64,
    looked: Instant,
    silent: Duration,
}

impl Observed {
    /// Begins to look.
    pub(crate) fn new(value: u64) -> Self {
        Self { value, looked: Instant::now(), silent: Duration::ZERO }
    }

    /// Whether the heart, which shows `value` now, has beaten within `lease`.
    pub(crate) fn is_alive(&mut self, value: u64, lease: Duration) -> bool {
        if value != self.value {
            *self = Self::new(value);
            return true;
        }
        let now = Instant::now();
        // A long time between two looks may be a pause of the observer, in which its peer was paused, too.
        self.silent += now.duration_since(self.looked).min(lease / 2);
        self.looked = now;
        self.silent < lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Heart(AtomicU64);

    impl Beat for Heart {
        fn beat(&self) -> bool {
            advance(&self.0);
            false
        }
    }

    #[test]
    fn a_heart_beats_until_it_is_dropped() {
        let heart = Arc::new(Heart(AtomicU64::new(0)));
        let mut seen = Observed::new(0);
        let lease = Duration::from_millis(200);
        let as_beat: Arc<dyn Beat> = heart.clone();
        keep_beating(Arc::downgrade(&as_beat), lease).expect("a thread");
        drop(as_beat);
        for _ in 0..10 {
            std::thread::sleep(lease / 4);
            assert!(seen.is_alive(heart.0.load(Ordering::Relaxed), lease));
        }
        let value = heart.0.load(Ordering::Relaxed);
        std::thread::sleep(lease * 2);
        seen.is_alive(value, lease);
        std::thread::sleep(lease);
        seen.is_alive(value, lease);
        std::thread::sleep(lease);
        assert!(!seen.is_alive(value, lease), "the same value for several lease times");
    }
}
