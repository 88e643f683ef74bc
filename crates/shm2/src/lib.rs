//! Frames from one program to many through one shared-memory region: zero-copy, any number of readers, no socket,
//! no daemon.
//!
//! A [`Producer`] makes a region and publishes frames into it; any number of [`Consumer`]s attach and read them, in
//! place or as copies, each at its own speed. Neither side waits for the other unless it is told to, either may die or
//! restart at any time, and no frame that anybody holds ever changes.
//!
//! ```
//! use shm2::{Consumer, FrameInfo, Producer};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name = format!("shm:///dev/shm/shm2-doc-{}", std::process::id());
//! let mut producer = Producer::create(&name)?;
//! let mut consumer = Consumer::new(&name)?;
//!
//! let mut slot = producer.reserve(5)?; // memory of the region itself
//! slot.write_at(0, b"hello")?;
//! producer.publish(slot, &FrameInfo::new().with_pts(0))?;
//!
//! let frame = consumer.next(Some(Duration::from_secs(1)))?;
//! assert_eq!(frame.to_vec(), b"hello"); // or read in place: `frame.as_ptr()`, `frame.len()`
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! * The bytes of a held [`Frame`] never change; a slow holder neither stops the producer nor the other consumers.
//! * Frames arrive in order; those that a consumer was too slow for are counted ([`Frame::missed`]).
//! * A peer that dies, by `kill -9` too, is noticed within a second and its memory comes back.
//! * Nothing that stands in the region makes this library panic, hang, or reach outside the region.
//!
//! # From one program to one other
//! [`channel`] is a typed ring between two processes that need not trust each other, [`duplex`] two of them behind a
//! Unix socket, with a server for many clients, and [`memory`] a blob that is written once. With the feature `tokio` both
//! can be awaited.
//!
//! # What it does not do
//! Consumers that lease can write the region file and so can corrupt frames if they are malicious; hand programs that
//! you do not trust a file they can only read, and they become snapshot consumers. A leasing peer can also truncate the
//! file. This is an error for the others, by a handler for SIGBUS that the first region installs; what it cannot guard
//! against stands in `SECURITY.md`.
//!
//! The bytes of a region are described in [`layout`] and in `docs/protocol.md`.

#![cfg_attr(all(loom, test), allow(dead_code))]
#![deny(clippy::unwrap_used)]

#[cfg(not(loom))]
mod backend;
#[cfg(not(loom))]
pub mod consumer;
#[cfg(not(loom))]
mod description;
#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
mod header;
#[cfg(not(loom))]
mod heartbeat;
#[cfg(all(not(loom), feature = "kill-points"))]
#[doc(hidden)]
pub mod kill_points;
#[cfg(all(not(loom), not(feature = "kill-points")))]
mod kill_points;
pub mod layout;
#[cfg(not(loom))]
mod mapped;
#[cfg(all(loom, test))]
mod models;
#[cfg(not(loom))]
mod name;
#[cfg(not(loom))]
pub mod producer;
mod protocol;
mod sync;

/// Devices through which a virtual machine sees memory of its host: their names, and which of them are there.
#[cfg(not(loom))]
pub mod ivshmem {
    #[cfg(not(miri))]
    pub use crate::backend::ivshmem::{Found, all};
    pub use crate::error::DeviceError;
    pub use crate::name::ivshmem::{Cache, Device};
}

#[cfg(not(loom))]
pub use consumer::{Access, Consumer, Frame, OnProducerExit, Start};
#[cfg(not(loom))]
pub use description::FrameInfo;
#[cfg(not(loom))]
pub use error::{AttachError, CreateError, ReceiveError, SendError, SpecError, Violation};
#[cfg(not(loom))]
pub use name::Spec;
#[cfg(not(loom))]
pub use producer::{FullPolicy, Producer, Reservation};

/// Nanoseconds of the monotonic clock that frame times refer to.
#[cfg(not(loom))]
pub fn monotonic_ns() -> u64 {
    backend::monotonic_ns()
}
