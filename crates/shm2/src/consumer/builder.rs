//! A consumer's settings.

use super::start::Start;
use super::{Consumer, deadline};
use crate::error::AttachError;
use crate::name::Spec;
use std::time::Duration;

/// How a consumer gets at the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Leasing if there is a page and the right to write; else snapshots. Also snapshots where only heartbeats tell who
    /// lives: whoever pauses for longer than the lease time would lose what it holds.
    #[default]
    Auto,
    /// In place, holding each frame: needs the right to write the file and one of 64 pages.
    Lease,
    /// A private copy of each frame: needs only the right to read, any number of consumers.
    Snapshot,
}

/// What to do when the producer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnProducerExit {
    /// Wait for the next one at the same name, for ever.
    #[default]
    Reconnect,
    /// Say that the stream is over.
    EndOfStream,
    /// Return [`ReceiveError::ProducerGone`](crate::ReceiveError::ProducerGone).
    Error,
}

/// How a consumer and its producer know that the other lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Liveness {
    /// By locks, which the kernel ends with their process: at once, and certain. Where there are none, in the memory of a
    /// virtual machine's device and where a producer in a virtual machine writes, it is by heartbeats all the same.
    #[default]
    Lock,
    /// By heartbeats, for memory that both sides reach but no common kernel watches, as with virtual machines. Only in
    /// a region made with [`keep_region`](crate::producer::Builder::keep_region). A side that does not beat within the
    /// region's lease time counts as dead. A consumer that comes back later has lost what it held: its frames may have
    /// changed in the meantime, and its next step returns [`ReceiveError::Expelled`](crate::ReceiveError::Expelled).
    Heartbeat,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) access: Access,
    pub(super) start: Start,
    pub(super) latest_only: bool,
    pub(super) max_leases: usize,
    pub(super) on_exit: OnProducerExit,
    pub(super) spin: Duration,
    pub(super) liveness: Liveness,
    pub(super) events: bool,
}

impl Settings {
    /// Where only heartbeats tell, a peer that pauses loses what it holds: leasing is for those who ask for it.
    pub(super) fn prefers_snapshots(&self) -> bool {
        self.access == Access::Auto && self.liveness == Liveness::Lock
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access: Access::default(),
            start: Start::default(),
            latest_only: false,
            max_leases: crate::layout::LEASES,
            on_exit: OnProducerExit::default(),
            spin: Duration::ZERO,
            liveness: Liveness::default(),
            events: false,
        }
    }
}

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) spec: Spec,
    pub(super) settings: Settings,
}

impl Builder {
    /// How to get at the bytes; [`Access::Auto`] if not set.
    pub fn access(mut self, access: Access) -> Self {
        self.settings.access = access;
        self
    }

    /// Which frame comes first; [`Start::History`] if not set.
    pub fn start(mut self, start: Start) -> Self {
        self.settings.start = start;
        self
    }

    /// Passes over frames that wait: takes the second newest when two or more are there. False if not set.
    pub fn latest_only(mut self, latest_only: bool) -> Self {
        self.settings.latest_only = latest_only;
        self
    }

    /// Frames held in place at a time, at most what the producer allows; beyond that frames are copied.
    pub fn max_leases(mut self, frames: usize) -> Self {
        self.settings.max_leases = frames;
        self
    }

    /// What to do when the producer is gone; [`OnProducerExit::Reconnect`] if not set.
    pub fn on_producer_exit(mut self, action: OnProducerExit) -> Self {
        self.settings.on_exit = action;
        self
    }

    /// How long to look for the next frame before sleeping; not at all if not set.
    pub fn spin(mut self, time: Duration) -> Self {
        self.settings.spin = time;
        self
    }

    /// How it and its producer know that the other lives; [`Liveness::Lock`] if not set.
    pub fn liveness(mut self, liveness: Liveness) -> Self {
        self.settings.liveness = liveness;
        self
    }

    /// Whether events between frames ([`Producer::send_event`](crate::Producer::send_event)) come as frames without
    /// bytes ([`Frame::is_event`](super::Frame::is_event)), or are passed over; the latter if not set. Under
    /// [`latest_only`](Self::latest_only) one that is not the newest may be passed over all the same.
    pub fn events(mut self, events: bool) -> Self {
        self.settings.events = events;
        self
    }

    /// A consumer that attaches at its first [`next`](Consumer::next): the producer may come later.
    pub fn build(self) -> Consumer {
        Consumer::with(self)
    }

    /// A consumer that is attached.
    ///
    /// # Errors
    /// When no producer comes in time (`None`: wait for ever), or the region is not usable.
    pub fn attach(self, timeout: Option<Duration>) -> Result<Consumer, AttachError> {
        let mut consumer = self.build();
        consumer.attach(deadline(timeout))?;
        Ok(consumer)
    }
}
