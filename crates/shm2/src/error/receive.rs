//! Why a consumer received no frame.

use super::{AttachError, Violation};
use std::io;
use std::path::PathBuf;

/// Why a call returned no frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The time limit passed. The consumer stays as it was; call again.
    #[error("no frame came in time")]
    TimedOut,
    /// The producer published the end of its stream, or exited under
    /// [`OnProducerExit::EndOfStream`](crate::OnProducerExit::EndOfStream).
    #[error("end of stream")]
    EndOfStream,
    /// The producer exited, and the consumer is set to
    /// [`OnProducerExit::Error`](crate::OnProducerExit::Error).
    #[error("the producer of {path:?} is gone")]
    ProducerGone {
        /// Path of the region.
        path: PathBuf,
    },
    /// The wait was cancelled by a [`Canceller`](crate::consumer::Canceller).
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
    /// The producer gave this consumer's page to others, because the consumer's heartbeat stood still for the lease
    /// time.
    #[error(
        "the attachment to {path:?} ended: the producer expelled this consumer, because its heartbeat stood still for \
         the lease time"
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
        /// Sequence of the frame.
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
    /// Any other error of the system.
    #[error("cannot {what} {path:?}: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// Path of the region.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
}
