//! What each way offers to the two sides.

use crate::Result;
use std::time::Duration;

/// Longest time to wait for the other process.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The sending side.
pub(crate) trait Outbound: Sized {
    /// Creates what the receiver opens by `name`.
    fn create(name: &str, bytes: usize, depth: usize, arena: Option<u64>) -> Result<Self>;

    /// Waits until the receiver is there.
    fn wait_for_receiver(&mut self);

    /// Sends a frame of `bytes` bytes once there is memory for it. `fill` writes its first bytes, and may write all.
    fn send(&mut self, bytes: usize, wakes: bool, fill: impl FnOnce(*mut u8)) -> Result<()>;
}

/// The receiving side.
pub(crate) trait Inbound: Sized {
    /// A frame that is held.
    type Frame;
    /// The library's own, so that no result is moved on the way.
    type Error: Into<Box<dyn std::error::Error>>;

    fn open(name: &str, bytes: usize, depth: usize, sleeps: bool) -> Result<Self>;

    /// Looks for a frame.
    fn try_take(&mut self) -> std::result::Result<Option<Self::Frame>, Self::Error>;

    /// Sleeps until there is a frame.
    fn wait_take(&mut self) -> Result<Self::Frame>;

    /// Where its bytes are, and how many.
    fn payload(frame: &Self::Frame) -> (*const u8, usize);
}
