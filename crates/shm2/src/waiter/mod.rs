//! Waiting for many consumers at once, on one thread.
//!
//! A [`Group`] is what one thread waits for: a seat for each consumer, with the region's wake word. The consumer *arms* its
//! seat after it found no item; the thread sleeps on the words of all seats, and when one changes, it disarms the seat
//! and notifies the seat's receiver once. The consumer then takes items until there are none, and arms the seat again.
//! So a consumer that does not look is not notified again and again.
//!
//! The seats of a [`WaitSet`](crate::WaitSet) are in a group of its own, which the caller's thread serves, as far as one
//! system call can wait for them; all others are in the groups of the process ([`shared`]), each with a thread of its own.
//!
//! # What ends a sleep
//! * The wake word changes: an item was published, or the region was closed.
//! * An event of the consumer is signalled ([`Forward`](crate::backend::Forward)): its region's file changed, a producer may
//!   have appeared.
//! * A deadline that the consumer gave when it armed the seat: it must probe its producer then.
//! * [`LOOK`] passes: a hostile process may have taken the wake-up. Words that changed are found then.

mod group;
mod pace;
mod shared;

pub(crate) use group::{Group, Seat};
pub(crate) use shared::seat;

use crate::backend::LOOK_AT_WORDS;
use crate::sync::AtomicU32;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::task::Waker;
use std::time::Duration;

/// Part of the time waited so far after which a source that nothing wakes is looked at again, and the longest interval.
const PATIENCE: u32 = 16;
const LONGEST: Duration = Duration::from_millis(50);

/// Wakes a task. A panic of its executor must not end the thread, which others need.
#[cfg_attr(not(feature = "async"), expect(dead_code, reason = "tasks are a feature"))]
pub(crate) fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

/// A region that a thread waits for.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Address of the word on which a thread can sleep; `None` where no other process wakes it.
    fn address(&self) -> Option<NonNull<AtomicU32>>;

    /// A value that changes with each item that wakes a consumer which announced its sleep. `None` if it cannot be read.
    fn value(&self) -> Option<u32>;

    /// Time between two looks at the value, after it was waited for so long; `None` where the thread is woken.
    fn interval(&self, waited: Duration) -> Option<Duration> {
        self.address().is_none().then(|| (waited / PATIENCE).clamp(LOOK_AT_WORDS / 2, LONGEST))
    }
}
