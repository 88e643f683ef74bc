//! Messages both ways between programs that need not know or trust each other: two rings in one sealed memory, made by the
//! client, and a Unix socket by which the two meet, wake each other, and notice each other's death.
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
//! The client sends one message of 64 bytes, all words little-endian, and with it the memory: magic `SHM2DUP` and a zero
//! byte, version u32 (1), size of an element u32, its alignment u32, a zero u32, capacity of each ring u64, zeros. The
//! memory holds the ring from client to server at offset 0 and the other one at the next multiple of 4,096 bytes; it has
//! the seals against a change of its size. The server looks at all of it and answers with 64 bytes: the same magic,
//! version, its own element size, alignment, and one word: 0 welcome, 1 another version, 2 other elements, 3 another
//! capacity, 4 bad memory, 5 not wanted, 6 full; then its own capacity u64. After that the first byte of each message says what it
//! is: 1 a signal, 2 that this side sends no more elements, 3 descriptors, with a number u64. Others mean nothing.
//!
//! # Guarantees
//! * Idle costs nothing: whoever waits sleeps in the kernel until there is something to do.
//! * A client that dies, stalls, lies, or floods costs the others nothing; what it writes is checked at each step.
//! * The memory is the client's. Pages of it that only the server touches are charged to the server.
//!
//! A listener's socket has the rights that the process's umask leaves; whoever may write to it may connect. Use a folder
//! of its own, or `std::fs::set_permissions`, and [`Listener::filter`].

mod halves;
mod handshake;
mod interface;
mod link;
mod listener;
mod run;
mod server;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use halves::{Incoming, Outgoing};
pub use interface::Interface;
pub use listener::Listener;
pub use server::{ClientId, Event, Server};

use crate::{ChannelError, StepError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// What a side wants. Both must have the same capacity, and elements of the same size and alignment, which is all that is
/// compared of them: `f64` and `u64` pass for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub(crate) capacity: usize,
    pub(crate) descriptors: bool,
    pub(crate) timeout: Duration,
}

impl Options {
    /// Rings of so many elements in each direction.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, descriptors: false, timeout: Duration::from_secs(10) }
    }

    /// Whether this side takes descriptors beside the elements. False at first: each that comes is one that the peer chose,
    /// and counts as this process's.
    #[must_use]
    pub fn descriptors(mut self, taken: bool) -> Self {
        self.descriptors = taken;
        self
    }

    /// How long a client waits for the server's welcome. 10 s at first.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Descriptors from the other side. What is behind them is the peer's choice: look before it is used.
#[derive(Debug)]
pub struct Passed {
    /// What they are for, as the two sides agreed.
    pub number: u64,
    /// One to four.
    pub fds: Vec<OwnedFd>,
}

/// Who is on the other end, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process, in this process's namespace.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Why two sides did not come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// They speak different versions.
    #[error("the server speaks version {theirs} of the handshake, this client {ours}")]
    Version {
        /// The server's.
        theirs: u32,
        /// The client's.
        ours: u32,
    },
    /// Their elements differ.
    #[error("the server's elements have {bytes} bytes aligned to {alignment}, this client's have {ours}")]
    Element {
        /// Size of the client's.
        ours: u32,
        /// Size of the server's.
        bytes: u32,
        /// Alignment of the server's.
        alignment: u32,
    },
    /// Their rings differ.
    #[error("the server's rings have {capacity} elements, this client's {ours}: connect with Options::new({capacity})")]
    Capacity {
        /// Elements of the client's.
        ours: u64,
        /// Elements of the server's.
        capacity: u64,
    },
    /// The memory lacks seals or bytes, or there was none.
    #[error("the server does not take the memory: it is not sealed, too small, or missing")]
    Memory,
    /// The server does not want this client.
    #[error("the server does not want this client")]
    NotWanted,
    /// It has as many clients as it serves at a time.
    #[error("the server has no place for one more client")]
    Full,
    /// It said something that this version does not know.
    #[error("the server refused for reason {0}, which this client does not know")]
    Other(u32),
}

/// A connection that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("no server listens at {path:?}: {source}")]
    NoServer {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The path cannot be listened at.
    #[error("cannot listen at {path:?}: {source}")]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The server said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The other side went away, or said what is no handshake.
    #[error("the other side broke off the handshake")]
    BrokenOff,
    /// It said nothing in time.
    #[error("the other side did not answer in time")]
    TimedOut,
    /// The memory could not be made.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Waiting failed.
    #[error("cannot wait for the other side: {0}")]
    System(#[from] io::Error),
}

impl From<StepError> for ConnectError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::TimedOut => Self::TimedOut,
            StepError::System(source) => Self::System(source),
            _ => Self::BrokenOff,
        }
    }
}
