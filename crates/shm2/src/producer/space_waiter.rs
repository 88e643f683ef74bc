//! A thread that waits for free space on behalf of a task. It sleeps on the words by which consumers report it while a
//! task waits, and otherwise until one does.

use super::settings::FullPolicy;
use super::shared::Shared;
use crate::waiter;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Instant;

/// Ends its thread when dropped.
pub(super) struct SpaceWaiter {
    state: Arc<State>,
    shared: Weak<Shared>,
}

#[derive(Default)]
struct State {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Default)]
struct Wanted {
    /// Futures that wait.
    waits: usize,
    waker: Option<Waker>,
    is_over: bool,
}

/// A future that waits; ends the wait when dropped.
pub(super) struct Wait<'a>(&'a State);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut wanted = self.0.lock();
        wanted.waits -= 1;
        let waker = wanted.waker.take();
        drop(wanted);
        drop(waker);
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until a future waits; false when the producer is gone.
    fn sleep(&self) -> bool {
        let idle = |wanted: &mut Wanted| wanted.waits == 0 && !wanted.is_over;
        let wanted = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        !wanted.is_over
    }

    fn wake(&self) {
        let waker = self.lock().waker.take();
        waker.into_iter().for_each(waiter::wake);
    }
}

impl SpaceWaiter {
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let state = Arc::<State>::default();
        let (waiting, region) = (state.clone(), Arc::downgrade(shared));
        std::thread::Builder::new().name("shm2-space".into()).spawn(move || serve(&waiting, &region))?;
        Ok(Self { state, shared: Arc::downgrade(shared) })
    }

    /// A future begins to wait.
    pub(super) fn begin(&self) -> Wait<'_> {
        self.state.lock().waits += 1;
        self.state.changed.notify_all();
        Wait(&self.state)
    }

    /// The task to wake when there may be space, or after the slice of a wait.
    pub(super) fn register(&self, waker: &Waker) {
        let before = self.state.lock().waker.replace(waker.clone());
        drop(before);
    }

    /// Whether the policy's time limit has passed for a wait that began at `since`.
    pub(super) fn deadline_passed(&self, since: Option<Instant>) -> bool {
        let Some((shared, since)) = self.shared.upgrade().zip(since) else { return false };
        let FullPolicy::Block { timeout: Some(timeout) } = shared.settings.policy else { return false };
        since.elapsed() >= timeout
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.shared.upgrade().is_some_and(|shared| shared.is_cancelled())
    }

    /// Whether no consumer can free space.
    pub(super) fn is_hopeless(&self) -> bool {
        self.shared.upgrade().is_some_and(|shared| shared.space_words().is_empty() && !shared.is_recovering())
    }
}

impl Drop for SpaceWaiter {
    fn drop(&mut self) {
        self.state.lock().is_over = true;
        self.state.changed.notify_all();
    }
}

fn serve(state: &State, shared: &Weak<Shared>) {
    while state.sleep() {
        let Some(shared) = shared.upgrade() else { return };
        shared.wait_once(|| state.wake());
        state.wake();
    }
}

impl Shared {
    /// Sleeps until a consumer reports space, or for a slice. `attempt` is called when space that is freed from
    /// then on ends the sleep.
    fn wait_once(&self, attempt: impl FnOnce()) {
        let expected = self.space_words();
        self.set_waiting(true);
        attempt();
        self.sleep_for_space(&expected);
        self.set_waiting(false);
    }
}
