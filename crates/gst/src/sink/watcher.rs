//! One thread per region that observes its consumers: `consumers` counts them and frees what dead ones held.

use shm2::SendError;
use shm2::producer::Handle;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Longest time between two counts when no file watch reports a change.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);
/// A file watch reports a change before the locks of a dead process are free. The count is repeated after this time,
/// then after twice the time before, up to the last one.
const FIRST_REPEAT: Duration = Duration::from_millis(1);
const LAST_REPEAT: Duration = Duration::from_millis(250);

/// A thread that counts clients. Nothing waits for its end: it calls handlers of the application, which may themselves
/// wait for the thread that ends the watch.
pub(super) struct Watcher {
    handle: Handle,
    watch: Watch,
}

/// Whether a watch is to end, for the watching thread.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<AtomicBool>);

impl Watch {
    /// Whether the watch is to end: the region that is counted is not the element's any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Watcher {
    /// Calls `on_count` with the number of clients after each count, until it breaks or [`stop`](Self::stop) is called.
    pub(super) fn spawn(
        name: String,
        handle: Handle,
        on_count: impl FnMut(u32, &Watch) -> ControlFlow<()> + Send + 'static,
    ) -> io::Result<Self> {
        let watch = Watch::default();
        let (watched, in_thread) = (handle.clone(), watch.clone());
        std::thread::Builder::new().name(name).spawn(move || count(&watched, &in_thread, on_count))?;
        Ok(Self { handle, watch })
    }

    /// Whether `watch` is that of this thread.
    pub(super) fn has(&self, watch: &Watch) -> bool {
        self.watch.is(watch)
    }

    /// Lets the thread end, after the call of `on_count` that may be running.
    pub(super) fn stop(self) {
        self.watch.0.store(true, Ordering::Release);
        self.handle.signal();
    }
}

fn count(handle: &Handle, watch: &Watch, mut on_count: impl FnMut(u32, &Watch) -> ControlFlow<()>) {
    let mut repeat = None;
    loop {
        let seen = handle.changes();
        if watch.is_over() || on_count(clients(handle), watch).is_break() {
            return;
        }
        let has_changed = handle.wait_change(seen, Some(repeat.unwrap_or(IDLE_INTERVAL)));
        repeat = if has_changed { Some(FIRST_REPEAT) } else { repeat.map(|t| t * 2).filter(|t| *t <= LAST_REPEAT) };
    }
}

/// Attached consumers; all snapshot consumers count as one.
pub(super) fn clients(handle: &Handle) -> u32 {
    handle.consumers() as u32 + u32::from(handle.has_snapshot_consumers())
}

/// Whether a client is attached, for a thread that asks before each frame. A count is several system calls, so a client
/// that was seen is trusted until the file watch reports a change, or for a quarter of a second. After a change the count
/// is repeated.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// [`Handle::changes`] before the last count that found a client.
    seen: Option<u32>,
    counted_ns: u64,
    interval: Duration,
}

impl Presence {
    /// Blocks until a client is attached, or until `holds` is not 0 and `handle` is signalled. Calls `on_wait` before
    /// it waits. False if the region was closed.
    pub(super) fn wait(
        &mut self,
        handle: &Handle,
        holds: &AtomicU32,
        mut on_wait: impl FnMut(),
    ) -> Result<bool, SendError> {
        let mut has_waited = false;
        loop {
            let changes = handle.changes();
            if holds.load(Ordering::Acquire) > 0 {
                return Err(SendError::Cancelled);
            }
            if handle.is_closed() {
                return Ok(false);
            }
            if self.is_sure(changes, shm2::monotonic_ns(), || clients(handle)) {
                return Ok(true);
            }
            if !std::mem::replace(&mut has_waited, true) {
                on_wait();
            }
            handle.wait_change(changes, Some(LAST_REPEAT));
        }
    }

    /// Whether a client is attached; calls `count` only if that is not known.
    fn is_sure(&mut self, changes: u32, now_ns: u64, count: impl FnOnce() -> u32) -> bool {
        let is_unchanged = self.seen == Some(changes);
        if is_unchanged && now_ns.saturating_sub(self.counted_ns) < self.interval.as_nanos() as u64 {
            return true;
        }
        let is_attached = count() > 0;
        self.seen = is_attached.then_some(changes);
        self.counted_ns = now_ns;
        self.interval = if is_unchanged { (self.interval * 2).min(LAST_REPEAT) } else { FIRST_REPEAT };
        is_attached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn an_attached_client_is_counted_again_after_a_change_and_then_less_and_less_often() {
        let mut presence = Presence::default();
        let mut counts = 0;
        let mut ask = |presence: &mut Presence, changes, now_ns, clients| {
            let is_attached = presence.is_sure(changes, now_ns, || {
                counts += 1;
                clients
            });
            (is_attached, counts)
        };
        assert_eq!(ask(&mut presence, 5, MS, 0), (false, 1));
        assert_eq!(ask(&mut presence, 5, MS, 0), (false, 2), "an absent client is counted each time");
        assert_eq!(ask(&mut presence, 6, MS, 1), (true, 3));
        assert_eq!(ask(&mut presence, 6, MS + 1, 1), (true, 3));
        assert_eq!(ask(&mut presence, 7, MS + 2, 1), (true, 4), "a change");
        // The locks of a client that died become free after the change was reported.
        assert_eq!(ask(&mut presence, 7, 3 * MS, 0), (false, 5));
        assert_eq!(ask(&mut presence, 7, 3 * MS, 1), (true, 6));
        for frame in 0..10_000 {
            ask(&mut presence, 7, (4 + frame) * MS, 1);
        }
        let (_, counts) = ask(&mut presence, 7, 10_004 * MS, 1);
        assert!((40..60).contains(&counts), "{counts} counts in ten seconds of 1000 frames");
    }
}
