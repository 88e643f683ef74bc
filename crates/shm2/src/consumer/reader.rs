//! What an attachment needs of its reader, whatever the access.

use super::builder::Access;
use super::frame::Item;
use super::position::Position;
use super::take_error::TakeError;
use crate::backend::{Event, OpenRegion, Published, Wake};
use crate::description::Kind;
use crate::header::RegionHeader;
use crate::waiter::Source;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Result of an attempt to take the next item.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A frame or an event.
    Item(Kind),
    EndOfStream,
    Nothing,
}

/// The reader of one attachment, independent of its access.
pub(super) trait Reader: fmt::Debug + Send {
    /// Takes the next item into `item`, if there is one.
    fn take(&mut self, position: &mut Position, item: &mut Item) -> Result<Step, TakeError>;
    /// Sleeps until an item is published at `position`, until the event differs from `seen`, or for `timeout` at most.
    fn wait(&self, position: &Position, event: &Event, seen: u32, timeout: Option<Duration>) -> Wake;
    /// After a sleep that ended by its timeout: this consumer does not sleep, so that the producer makes no call to wake
    /// it.
    fn withdraw_sleep(&self);
    /// What another thread waits for on behalf of this consumer.
    fn source(&self) -> Arc<dyn Source>;
    /// Shows the producer that a thread is about to sleep for this consumer, and returns the value of the
    /// [`source`](Self::source) at which it may. `None` if there are news.
    fn arm(&self, position: &Position) -> Option<u32>;
    /// Longest time until the next look, of a consumer that the producer may not know of yet.
    fn unnoticed_slice(&self) -> Option<Duration>;
    /// Whether an item is published at `position`, or the region is closed, or it cannot be read.
    fn has_news(&self, position: &Position) -> bool;
    /// The item that was taken last, if the region still says when it was published.
    fn last(&self) -> Option<Published>;
    /// Whether an item has been at `position` for this time. False where the producer has another clock.
    fn has_item_since(&self, position: &Position, age: Duration) -> bool;
    /// Called when there is no item to take: an error when the header says that there is one.
    fn check_idle(&self, position: &Position) -> Result<(), TakeError>;
    /// Whether the producer closed the region, or another generation began in this memory.
    fn is_closed(&self) -> bool;
    fn request_keyframe(&self) -> bool;
    fn end_keyframe_request(&self);
    fn stop_reading(&self);
    fn access(&self) -> Access;
    fn region(&self) -> &OpenRegion;
    fn header(&self) -> &RegionHeader;
    fn heartbeat(&self) -> u64;
    fn beacon(&self) -> Option<(u64, u64)>;
}
