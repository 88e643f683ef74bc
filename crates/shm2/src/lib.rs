//! One-to-many transport of frames through one shared-memory region: zero-copy, without a socket or a daemon.
//!
//! A [`Producer`] creates a region and publishes frames into it. Any number of [`Consumer`]s attach and read the
//! frames, in place or as copies, each at its own speed. The producer waits for consumers only under
//! [`FullPolicy::Block`]. Either side may exit or restart at any time.
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
//! * The bytes of a held [`Frame`] do not change. A consumer that holds frames for long blocks neither the other
//!   consumers nor, unless under [`FullPolicy::Block`], the producer.
//! * Frames arrive in order. Each consumer counts the items that it was too slow for ([`Frame::missed`]).
//! * The death of a peer, also by `kill -9`, is detected within a second, and its memory is freed. In kept regions
//!   without locks it takes the lease time ([`lease_time`](producer::Builder::lease_time)).
//! * No content of the region makes this library panic, hang, or access memory outside the region. Each check of a
//!   peer's values has its own error variant ([`Violation`]).
//!
//! # What it does not do
//! * It does not protect frames from a consumer with write permission. A leasing consumer needs that permission, so a
//!   malicious one can corrupt frames. Give untrusted programs read permission only; they attach as snapshot consumers.
//! * It does not prevent a truncation of the file by a peer with write permission. The truncation is an error for the
//!   other processes, by a handler for SIGBUS that the first region of a process installs. `SECURITY.md` lists the
//!   limits of this.
//! * It does not transport frames between machines; the relay of this project does that.
//! * It does not queue for one receiver. The crate `shm2-channel` has a typed ring between two processes that do not
//!   trust each other.
//!
//! # Main types
//! * [`Producer`], made by [`producer::Builder`]: reserves memory, publishes frames, events and the end of a stream.
//!   Other threads use its [`producer::Handle`].
//! * [`Reservation`]: memory of the region that is being filled.
//! * [`Consumer`], made by [`consumer::Builder`]: yields [`Frame`]s, by leases or by copies ([`Access`]).
//! * [`FrameInfo`]: times, positions and flags of a frame.
//! * [`Spec`]: the name of a region.
//! * [`WaitSet`]: many consumers on one thread; `Consumer::poll_fd`: a descriptor for a main loop.
//! * [`trusted`]: frames and reservations as slices, for programs that trust their peers.
//! * [`Overview`]: the state of a region, read without attaching; [`discovery`]: the regions of a folder.
//! * [`error`]: one enum per operation; each text names the value and the remedy.
//! * [`layout`]: the bytes of a region, which `docs/protocol.md` describes in prose.
//!
//! # Features
//! * `async`: `AsyncConsumer` and `AsyncProducer`, for tokio and any other executor.
//! * `zerocopy`: frames that are values of plain data, as the crate `zerocopy` defines it.
//! * `kill-points` is for the tests of this project.
//!
//! # Platforms
//! | system | region |
//! |---|---|
//! | Linux | a file, usually in `/dev/shm` |
//! | Windows | a named section |
//! | Linux and Windows guests | the memory of an ivshmem device of a virtual machine ([`ivshmem`]) |
//!
//! Machines must be little-endian and have 64-bit atomics.

#![cfg_attr(all(loom, test), expect(dead_code, reason = "the models use a part of the protocol and of the layout"))]
#![deny(clippy::unwrap_used)]

#[cfg(not(loom))]
mod backend;
#[cfg(not(loom))]
pub mod consumer;
#[cfg(not(loom))]
mod copy;
#[cfg(not(loom))]
mod description;
#[cfg(not(loom))]
pub mod discovery;
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
#[cfg(not(loom))]
pub mod trusted;
#[cfg(not(loom))]
pub mod wait_set;
#[cfg(not(loom))]
mod waiter;

/// Devices by which a virtual machine uses memory of its host: their names, and a list of those of this machine.
#[cfg(not(loom))]
pub mod ivshmem {
    #[cfg(not(miri))]
    pub use crate::backend::ivshmem::{Found, all};
    pub use crate::error::DeviceError;
    pub use crate::name::ivshmem::{Cache, Device};
}

#[cfg(not(loom))]
#[cfg(feature = "async")]
pub use consumer::AsyncConsumer;
#[cfg(not(loom))]
pub use consumer::{Access, Consumer, Frame, OnProducerExit, Start};
#[cfg(not(loom))]
pub use description::FrameInfo;
#[cfg(not(loom))]
pub use discovery::Overview;
#[cfg(not(loom))]
pub use error::{AttachError, CreateError, ReceiveError, SendError, Shortage, SpecError, Violation};
#[cfg(not(loom))]
pub use name::Spec;
#[cfg(not(loom))]
#[cfg(feature = "async")]
pub use producer::AsyncProducer;
#[cfg(not(loom))]
pub use producer::{FullPolicy, Producer, Reservation};
#[cfg(not(loom))]
pub use wait_set::WaitSet;

/// Current time of the monotonic clock to which [`FrameInfo::time`] refers, in nanoseconds.
#[cfg(not(loom))]
pub fn monotonic_ns() -> u64 {
    backend::monotonic_ns()
}

/// The example of the readme runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
