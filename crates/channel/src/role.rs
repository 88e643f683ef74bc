//! The two sides of a channel.

/// The side of the channel that the recipient of an offer becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The writing side.
    Sender,
    /// The reading side.
    Receiver,
}
