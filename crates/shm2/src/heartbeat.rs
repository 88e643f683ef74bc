//! Heartbeats: how a process shows that it is alive to peers that its kernel does not know, on the other side of a
//! virtual machine's memory.
//!
//! One thread per process changes the heartbeat words of all its producers and consumers, several times in each lease
//! time. The thread ends with the last of them. A second thread makes checks that may wait for a file system. A [`HeartbeatMonitor`] judges the word of a peer by the observer's own
//! clock.

use crate::backend;
use crate::sync::{AtomicU64, Ordering};
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Heartbeats in each lease time.
const BEATS: u32 = 8;
/// Longest interval, whatever the lease time: an attaching peer waits for a heartbeat.
const LONGEST_INTERVAL: Duration = Duration::from_millis(250);
/// Interval for a producer or consumer that needs one soon.
const SHORT_INTERVAL: Duration = Duration::from_millis(25);

/// A producer or consumer that has a heartbeat.
pub(crate) trait Heartbeat: Send + Sync {
    /// Changes the heartbeat word, unless the word belongs to another process by now. Must not wait for user code,
    /// because one thread calls this for all. True if the next call must come within [`SHORT_INTERVAL`].
    fn beat(&self) -> bool;
}

/// Changes a heartbeat word. Its value is never 0, which means that there is no heartbeat.
pub(crate) fn advance(word: &AtomicU64) {
    // Relaxed: observers only compare the value with an earlier one.
    let next = word.load(Ordering::Relaxed).wrapping_add(1).max(1);
    word.store(next, Ordering::Relaxed);
}

/// Calls `heartbeat` several times in each `lease`, until it is dropped. An error means that no thread could be
/// started.
pub(crate) fn start(heartbeat: Weak<dyn Heartbeat>, lease: Duration) -> io::Result<()> {
    HEARTBEATS.start(heartbeat, (lease / BEATS).min(LONGEST_INTERVAL))
}

/// Calls `check` at this interval, until it is dropped, on a thread for checks that may take long. An error means that
/// no thread could be started.
pub(crate) fn start_checks(check: Weak<dyn Heartbeat>, every: Duration) -> io::Result<()> {
    CHECKS.start(check, every)
}

/// The state of a process's thread.
struct HeartbeatThread {
    /// With the interval of each.
    heartbeats: Vec<(Weak<dyn Heartbeat>, Duration)>,
    is_running: bool,
}

/// Depths of forking that have states of their own.
const DEPTHS: usize = 16;

/// A thread of this process, with one state for each depth of forking: a forked child does not have its parent's thread,
/// and a lock that was held at the fork stays locked in the child.
struct Caller {
    name: &'static str,
    threads: [Mutex<HeartbeatThread>; DEPTHS],
    changed: [Condvar; DEPTHS],
}

static HEARTBEATS: Caller = Caller::new("shm2-heartbeat");
static CHECKS: Caller = Caller::new("shm2-check");

fn slot() -> usize {
    backend::fork_depth() % DEPTHS
}

impl Caller {
    const fn new(name: &'static str) -> Self {
        let threads = [const { Mutex::new(HeartbeatThread { heartbeats: Vec::new(), is_running: false }) }; DEPTHS];
        Self { name, threads, changed: [const { Condvar::new() }; DEPTHS] }
    }

    fn thread(&self) -> MutexGuard<'_, HeartbeatThread> {
        self.threads[slot()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&'static self, heartbeat: Weak<dyn Heartbeat>, interval: Duration) -> io::Result<()> {
        let mut thread = self.thread();
        if !thread.is_running {
            std::thread::Builder::new().name(self.name.into()).spawn(|| self.run())?;
            thread.is_running = true;
        }
        thread.heartbeats.push((heartbeat, interval));
        self.changed[slot()].notify_all();
        Ok(())
    }

    fn run(&self) {
        let mut thread = self.thread();
        loop {
            thread.heartbeats.retain(|(heartbeat, _)| heartbeat.strong_count() > 0);
            let Some(interval) = thread.heartbeats.iter().map(|(_, interval)| *interval).min() else {
                thread.is_running = false;
                return;
            };
            let alive: Vec<_> = thread.heartbeats.iter().filter_map(|(heartbeat, _)| heartbeat.upgrade()).collect();
            // Unlocked: a value that is dropped here, because its last other owner is gone, may lock the list.
            drop(thread);
            let is_urgent = alive.into_iter().fold(false, |is_urgent, heartbeat| heartbeat.beat() | is_urgent);
            let interval = if is_urgent { interval.min(SHORT_INTERVAL) } else { interval };
            let changed = self.changed[slot()].wait_timeout(self.thread(), interval);
            thread = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Judges whether a peer is alive, by its heartbeat word and the observer's own clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeartbeatMonitor {
    value: u64,
    last_look: Instant,
    /// Time observed without a change of the value.
    silence: Duration,
}

impl HeartbeatMonitor {
    /// Begins with the word's present value.
    pub(crate) fn new(value: u64) -> Self {
        Self { value, last_look: Instant::now(), silence: Duration::ZERO }
    }

    /// Whether the word, which has `value` now, has changed within `lease`.
    pub(crate) fn is_alive(&mut self, value: u64, lease: Duration) -> bool {
        if value != self.value {
            *self = Self::new(value);
            return true;
        }
        let now = Instant::now();
        // Half a lease at most: a longer time between two looks may be a suspension of this machine and its peer alike.
        self.silence += now.duration_since(self.last_look).min(lease / 2);
        self.last_look = now;
        self.silence < lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Counter(Arc<AtomicU64>);

    impl Heartbeat for Counter {
        fn beat(&self) -> bool {
            advance(&self.0);
            false
        }
    }

    /// Waits until `is_true`, however slow the machine.
    fn wait_until(is_true: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_true() {
            assert!(Instant::now() < deadline, "not within a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_heartbeat_continues_until_its_owner_is_dropped() {
        let word = Arc::new(AtomicU64::new(0));
        let mut monitor = HeartbeatMonitor::new(0);
        let lease = Duration::from_millis(200);
        let heartbeat: Arc<dyn Heartbeat> = Arc::new(Counter(word.clone()));
        start(Arc::downgrade(&heartbeat), lease).expect("a thread");
        let mut value = 0;
        for _ in 0..5 {
            wait_until(|| word.load(Ordering::Relaxed) != value);
            value = word.load(Ordering::Relaxed);
            assert!(monitor.is_alive(value, lease), "a value that has changed");
        }
        drop(heartbeat);
        // A beat that has begun ends first.
        wait_until(|| Arc::strong_count(&word) == 1);
        let last = word.load(Ordering::Relaxed);
        monitor.is_alive(last, lease);
        for _ in 0..3 {
            std::thread::sleep(lease);
            monitor.is_alive(word.load(Ordering::Relaxed), lease);
        }
        assert!(!monitor.is_alive(last, lease), "the same value for several lease times");
    }
}
