//! Why a consumer received no frame.

use super::{AttachError, Violation};
use std::io;
use std::path::PathBuf;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The time limit passed; call again.
    #[error("no frame came in time")]
    TimedOut,
    /// The producer said that its stream is over.
    #[error("end of stream")]
    EndOfStream,
    /// The producer is gone and the consumer was told not to wait for the next.
    #[error("the producer of {path:?} is gone")]
    ProducerGone {
        /// Where.
        path: PathBuf,
    },
    /// Somebody called `cancel`.
    #[error("cancelled")]
    Cancelled,
    /// Attaching to the producer's next region failed.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The region's content contradicts the protocol: the peer that wrote it is broken or hostile.
    #[error("the attachment to {path:?} ended: {violation}")]
    Misbehaving {
        /// Path of the region.
        path: PathBuf,
        /// Which check failed.
        violation: Violation,
    },
    /// The producer took this consumer's page away, because the consumer's heartbeat stood still for the lease time.
    #[error(
        "the attachment to {path:?} ended: the producer expelled this consumer, because its heartbeat stood still \
             for the lease time"
    )]
    Expelled {
        /// Path of the region.
        path: PathBuf,
    },
    /// This process has too little memory for a copy of the frame.
    #[error(
        "the attachment to {path:?} ended: frame {sequence} of {length} bytes is too large for this process's memory"
    )]
    FrameTooLarge {
        /// Path of the region.
        path: PathBuf,
        /// The frame.
        sequence: u64,
        /// Bytes of its payload.
        length: u64,
    },
    /// The region's file became shorter than the region.
    #[error("the attachment to {path:?} ended: the file was truncated while in use")]
    Truncated {
        /// Path of the region.
        path: PathBuf,
    },
    /// Anything else from the system.
    #[error("cannot {what} {path:?}: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
}
