//! A queue between threads that is limited by the bytes in it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Items on their way from some threads to one other thread.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    limit: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    senders: usize,
    is_closed: bool,
}

/// What a look into the queue found.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    Item(T),
    /// Nothing came in time.
    Nothing,
    /// No sender is left, and the queue is empty or closed.
    Ended,
}

impl<T> Queue<T> {
    /// An empty queue of `senders` threads; each calls [`leave`](Self::leave) at its end.
    pub fn new(limit: usize, senders: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, senders, is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), limit }
    }

    /// Adds an item of `bytes`. Waits while the queue has items and no space for one more. False once it is closed.
    pub fn push(&self, item: T, bytes: usize) -> bool {
        let is_full =
            |state: &mut State<T>| !state.is_closed && !state.items.is_empty() && state.bytes + bytes > self.limit;
        let mut state = self.changed.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return false;
        }
        state.bytes += bytes;
        state.items.push_back((item, bytes));
        self.changed.notify_all();
        true
    }

    /// Takes the oldest item. Waits for one up to `timeout`.
    pub fn pop(&self, timeout: Duration) -> Popped<T> {
        let is_idle = |state: &mut State<T>| state.items.is_empty() && state.senders > 0 && !state.is_closed;
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match state.items.pop_front() {
            Some((item, bytes)) => {
                state.bytes -= bytes;
                self.changed.notify_all();
                Popped::Item(item)
            }
            None if state.senders == 0 || state.is_closed => Popped::Ended,
            None => Popped::Nothing,
        }
    }

    /// A sender has ended.
    pub fn leave(&self) {
        self.lock().senders -= 1;
        self.changed.notify_all();
    }

    /// Drops what is in the queue. Nothing more is taken.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.items.clear();
        state.bytes = 0;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SOON: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_secs(60);

    #[test]
    fn a_sender_waits_for_space_and_the_end_comes_after_the_last_item() {
        let queue = Queue::new(10, 1);
        assert_eq!(queue.pop(SOON), Popped::Nothing);
        assert!(queue.push(1, 100), "a single item may be larger than the limit");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(queue.push(2, 8) && queue.push(3, 8));
                queue.leave();
            });
            for expected in 1..=3 {
                assert_eq!(queue.pop(LATE), Popped::Item(expected));
            }
        });
        assert_eq!(queue.pop(LATE), Popped::Ended);
    }

    #[test]
    fn closing_ends_both_sides_at_once() {
        let (queue, begun) = (Queue::new(1, 1), Instant::now());
        assert!(queue.push(1, 1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.push(2, 1));
            queue.close();
            assert!(!waiting.join().unwrap());
        });
        assert_eq!(queue.pop(LATE), Popped::Ended);
        assert!(begun.elapsed() < LATE);
    }
}
