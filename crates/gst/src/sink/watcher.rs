//! One thread per region that observes its consumers: `consumers` counts them and frees what dead ones held.

use shm2::SendError;
use shm2::producer::Handle;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest time between two counts when no file watch reports a change.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);
/// A file watch reports a change before the locks of a dead process are free. The count is repeated after this time,
/// then after twice the time before, up to the last one.
const FIRST_REPEAT: Duration = Duration::from_millis(1);
const LAST_REPEAT: Duration = Duration::from_millis(250);

/// The running thread.
pub(super) struct Watcher {
    handle: Handle,
    is_stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// Calls `on_count` with the number of clients after each count, until it breaks or [`stop`](Self::stop) is called.
    pub(super) fn spawn(
        name: String,
        handle: Handle,
        on_count: impl FnMut(u32) -> ControlFlow<()> + Send + 'static,
    ) -> io::Result<Self> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (watched, stopping) = (handle.clone(), is_stopping.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || watch(&watched, &stopping, on_count))?;
        Ok(Self { handle, is_stopping, thread })
    }

    /// Ends the thread and waits for it, unless the caller is that thread: a signal handler may stop the element.
    pub(super) fn stop(self) {
        self.is_stopping.store(true, Ordering::Release);
        self.handle.signal();
        if self.thread.thread().id() != std::thread::current().id() {
            // The panic hook has reported a panic of the thread.
            let _ = self.thread.join();
        }
    }
}

fn watch(handle: &Handle, is_stopping: &AtomicBool, mut on_count: impl FnMut(u32) -> ControlFlow<()>) {
    let mut repeat = None;
    loop {
        let seen = handle.changes();
        if is_stopping.load(Ordering::Acquire) || on_count(clients(handle)).is_break() {
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
