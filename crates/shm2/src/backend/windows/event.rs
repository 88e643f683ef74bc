//! An event of this process. One of its waiters can wait for kernel objects at the same time.

use super::kernel_objects::{self, create_event, create_timer, set, start_timer};
use crate::backend::{Forward, ProcessEvent, Wake};
use crate::sync::{AtomicU32, Ordering, fence};
use std::os::windows::io::OwnedHandle;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Any number of threads wait by [`wait`](ProcessEvent::wait), and one by [`wait_with`](Self::wait_with).
#[derive(Debug, Default)]
pub(crate) struct Event {
    word: AtomicU32,
    forward: Forward,
    lock: Mutex<()>,
    changed: Condvar,
    /// Event and timer for the thread that waits for kernel objects, made at its first wait. `None` if the system
    /// refuses them: the thread then looks at intervals.
    kernel: OnceLock<Option<(OwnedHandle, OwnedHandle)>>,
}

impl ProcessEvent for Event {
    fn forward(&self) -> &Forward {
        &self.forward
    }

    fn value(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    fn signal(&self) {
        self.word.fetch_add(1, Ordering::Release);
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        // Either this thread sees the handle, or the thread that made it sees the new value.
        fence(Ordering::SeqCst);
        if let Some(Some((event, _))) = self.kernel.get() {
            set(event);
        }
        self.forward.notify();
    }

    fn wait(&self, seen: u32, timeout: Option<Duration>) -> Wake {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.value() == seen {
            let left = deadline.map_or(Duration::from_secs(3600), |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Wake::Timeout;
            }
            guard = self.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Wake::Signal
    }

    fn nap(&self, seen: u32, time: Duration) {
        let Some((_, timer)) = self.kernel() else { return std::thread::sleep(time) };
        start_timer(timer, time);
        // The caller looks again, however the wait ended.
        let _ = self.wait_with(seen, &[timer], Some(Duration::from_secs(1)));
    }
}

impl Event {
    /// Sleeps until the value differs from `seen`, one of the objects is signalled, or the time is over. Returns the
    /// index of the signalled object. For one thread at a time.
    pub(super) fn wait_with(
        &self,
        seen: u32,
        others: &[&OwnedHandle],
        timeout: Option<Duration>,
    ) -> Result<usize, Wake> {
        let own = self.kernel().map(|(event, _)| event);
        fence(Ordering::SeqCst);
        if self.value() != seen {
            return Err(Wake::Signal);
        }
        let all: Vec<_> = others.iter().copied().chain(own).collect();
        // Without the kernel event a signal does not end the wait.
        let slice = own.is_none().then_some(Duration::from_millis(50));
        match kernel_objects::wait(&all, [timeout, slice].into_iter().flatten().min()) {
            Some(index) if index < others.len() => Ok(index),
            Some(_) => Err(Wake::Signal),
            None if slice.is_some() => Err(Wake::Signal),
            None => Err(Wake::Timeout),
        }
    }

    fn kernel(&self) -> Option<&(OwnedHandle, OwnedHandle)> {
        let make = || Some((create_event(None, false, None).ok()?, create_timer().ok()?));
        self.kernel.get_or_init(make).as_ref()
    }
}
