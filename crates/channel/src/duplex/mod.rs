//! Connections in both directions between a server and clients that do not trust each other: two rings in one sealed
//! memory, created by the client, and a Unix socket. The two sides meet at the socket, wake each other by it, and
//! notice each other's death.
//!
//! ```
//! use shm2_channel::duplex::{Interface, Listener, Options};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let path = std::env::temp_dir().join(format!("shm2-doc-{}", std::process::id()));
//! let mut listener = Listener::<u64>::bind(&path, Options::new(1000))?;
//! let client = std::thread::spawn({
//!     let path = path.clone();
//!     move || {
//!         let mut client = Interface::<u64>::connect(&path, Options::new(1000)).unwrap();
//!         client.xmit(7).unwrap();
//!         client.wait(1, Some(Duration::from_secs(5))).unwrap();
//!         client.recv().unwrap()
//!     }
//! });
//! let mut server = listener.accept(Some(Duration::from_secs(5)))?.expect("a client");
//! server.wait(1, Some(Duration::from_secs(5)))?;
//! let asked = server.recv()?.expect("a value");
//! server.xmit(asked * 6)?;
//! assert_eq!(client.join().unwrap(), Some(42));
//! # Ok(())
//! # }
//! ```
//!
//! # The handshake
//! The client sends one message of 64 bytes, with all words little-endian, and the memory with it:
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | 8 bytes | magic: `SHM2DUP` and a zero byte |
//! | 8 | u32 | version: 1 |
//! | 12 | u32 | size of an element in bytes |
//! | 16 | u32 | alignment of an element in bytes |
//! | 20 | u32 | 0; in the answer the verdict |
//! | 24 | u64 | capacity of each ring in elements |
//! | 32 | 32 bytes | zeros |
//!
//! The memory has the seals against a change of its size. It holds the ring from client to server at offset 0, and the
//! other ring at the next multiple of 4,096 bytes. The server checks all of it and answers with 64 bytes of the same
//! layout and its own values. The verdict is 0 for accepted, 1 another version, 2 other elements, 3 another capacity,
//! 4 bad memory, 5 rejected by the filter, 6 full.
//!
//! Afterwards the first byte of each message is its type: 1 a signal, 2 this side sends no more elements, 3
//! descriptors, with a number (u64). Other messages are ignored.
//!
//! # Guarantees
//! * An idle connection costs no processor time: a waiting side sleeps in the kernel.
//! * A client that dies, stalls, floods, or breaks the protocol does not affect the others; each value that it writes
//!   is checked in each step.
//! * The memory belongs to the client. Pages of it that only the server touches are charged to the server.
//!
//! # Access
//! A listener's socket has the permissions that the process's umask leaves; every process that may write to it may
//! connect. Restrict it by a directory of its own, `std::fs::set_permissions`, or [`Listener::filter`].

mod error;
mod halves;
mod handshake;
mod interface;
mod link;
mod listener;
mod run;
mod server;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use error::{ConnectError, Refusal};
pub use halves::{Incoming, Outgoing};
pub use interface::Interface;
pub use listener::Listener;
pub use server::{ClientId, Event, Server};

use std::os::fd::OwnedFd;
use std::time::Duration;

/// Parameters of a side. Both sides must use the same capacity, and elements of the same size and alignment. Nothing
/// else is compared: `f64` and `u64` match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub(crate) capacity: usize,
    pub(crate) descriptors: bool,
    pub(crate) timeout: Duration,
}

impl Options {
    /// Rings of `capacity` elements in each direction, no descriptors, a timeout of 10 s.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, descriptors: false, timeout: Duration::from_secs(10) }
    }

    /// Whether this side accepts descriptors beside the elements. False by default: the peer chooses each descriptor,
    /// and each counts against the limit of this process.
    #[must_use]
    pub fn descriptors(mut self, accepted: bool) -> Self {
        self.descriptors = accepted;
        self
    }

    /// Longest time that a client waits for the server's answer. 10 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Descriptors from the other side. The peer chose them: check each before use.
#[derive(Debug)]
pub struct Passed {
    /// Their purpose, as the two sides agreed.
    pub number: u64,
    /// One to four descriptors.
    pub fds: Vec<OwnedFd>,
}

/// Identity of the process at the other end, from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process in this process's namespace; 0 when it is outside of it.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}
