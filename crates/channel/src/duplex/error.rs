//! Errors of connecting.

use crate::{ChannelError, StepError};
use std::io;
use std::path::PathBuf;

/// The reason for which a server refused a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The versions of the handshake differ.
    #[error("the server speaks version {theirs} of the handshake, this client {ours}")]
    Version {
        /// The server's version.
        theirs: u32,
        /// The client's version.
        ours: u32,
    },
    /// The element types differ in size or alignment.
    #[error("the server's elements have {bytes} bytes aligned to {alignment}, this client's have {ours}")]
    Element {
        /// Size of the client's elements in bytes.
        ours: u32,
        /// Size of the server's elements in bytes.
        bytes: u32,
        /// Alignment of the server's elements in bytes.
        alignment: u32,
    },
    /// The capacities differ.
    #[error("the server's rings have {capacity} elements, this client's {ours}: connect with Options::new({capacity})")]
    Capacity {
        /// The client's capacity in elements.
        ours: u64,
        /// The server's capacity in elements.
        capacity: u64,
    },
    /// The memory is missing, lacks seals, or is too small.
    #[error("the server does not accept the memory: it is not sealed, too small, or missing")]
    Memory,
    /// The server's [filter](super::Listener::filter) rejected the client.
    #[error("the server's filter rejected this client")]
    NotWanted,
    /// The server has its largest number of clients.
    #[error("the server is full: it has as many clients as it serves at a time")]
    Full,
    /// A reason that this version does not know.
    #[error("the server refused for reason {0}, which this client does not know")]
    Other(u32),
}

/// A connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No server listens at the path, or this process may not connect to it.
    #[error("no server can be reached at {path:?}: {source}; start it, or check the rights on its socket")]
    NoServer {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path cannot be used for listening.
    #[error("cannot listen at {path:?}: {source}")]
    Listen {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The server refused the client.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The other side closed the socket, or sent an invalid message.
    #[error("the other side broke off the handshake")]
    BrokenOff,
    /// The timeout expired.
    #[error("the other side did not answer in time")]
    TimedOut,
    /// The memory could not be created.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A system call for waiting failed.
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
