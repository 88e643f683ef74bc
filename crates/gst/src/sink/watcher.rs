//! One thread per region that observes its consumers: `consumers` counts them and frees what dead ones held.

use shm2::SendError;
use shm2::producer::Handle;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Blocks until a consumer is attached, or until `is_flushing` is set and `handle` is signalled.
pub(super) fn wait_for_client(handle: &Handle, is_flushing: &AtomicBool) -> Result<(), SendError> {
    loop {
        let seen = handle.changes();
        if is_flushing.load(Ordering::Acquire) {
            return Err(SendError::Cancelled);
        }
        if clients(handle) > 0 {
            return Ok(());
        }
        handle.wait_change(seen, Some(LAST_REPEAT));
    }
}
