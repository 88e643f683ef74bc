//! How other threads change a set while its thread waits.

use super::queue::{Command, Queue, Token};
use crate::consumer::Consumer;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Adds consumers to a [`WaitSet`](super::WaitSet), removes them, and wakes its thread, from any thread.
#[derive(Clone)]
pub struct Handle {
    queue: Arc<Queue>,
}

impl Handle {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// Adds a consumer, also while the set's thread waits.
    ///
    /// # Errors
    /// As [`WaitSet::add`](super::WaitSet::add), and if the set is gone.
    pub fn add(&self, consumer: Consumer) -> io::Result<Token> {
        let (token, member) = self.queue.admit(consumer)?;
        self.queue.ask(Command::Add(token, Box::new(member)))?;
        Ok(token)
    }

    /// Removes a consumer, which the set's thread drops. It may return a frame of it that it takes at this moment.
    pub fn remove(&self, token: Token) {
        // A set that is gone has no consumers.
        let _ = self.queue.ask(Command::Remove(token));
    }

    /// Ends the present or the next [`next`](super::WaitSet::next): it returns `None` unless a frame is there.
    pub fn wake(&self) {
        self.queue.wake();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
