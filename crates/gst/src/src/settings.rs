//! Settings of the source: the values of its properties, which `imp.rs` declares.

use super::waits::Limits;
use gst::glib;

/// How the bytes of the region are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstShm2Access")]
pub enum Access {
    #[default]
    #[enum_value(
        name = "In place where the region is writable and a lock shows which peers are alive, else by copies",
        nick = "auto"
    )]
    Auto,
    #[enum_value(name = "In place: needs permission to write the region", nick = "lease")]
    Lease,
    #[enum_value(name = "By copies: needs only permission to read it", nick = "snapshot")]
    Snapshot,
}

/// What to do when the producer exits, or ends its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstShm2OnProducerExit")]
pub enum OnProducerExit {
    #[default]
    #[enum_value(name = "Wait for the next producer; an end of stream ends the source", nick = "reconnect")]
    Reconnect,
    #[enum_value(name = "End the stream", nick = "eos")]
    Eos,
    #[enum_value(name = "Post an error", nick = "error")]
    Error,
    #[enum_value(
        name = "Wait for the next producer, also after an end of stream, which does not end the source",
        nick = "always-reconnect"
    )]
    AlwaysReconnect,
}

/// What to do when the producer is alive and sends nothing for `silence-timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstShm2SilenceAction")]
pub enum SilenceAction {
    #[default]
    #[enum_value(name = "Post an element message and wait", nick = "message")]
    Message,
    #[enum_value(name = "Post an element message and an error", nick = "error")]
    Error,
}

/// What to send downstream while no producer is there, or while it sends nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstShm2OnSilence")]
pub enum OnSilence {
    #[default]
    #[enum_value(name = "Nothing", nick = "wait")]
    Wait,
    #[enum_value(name = "A gap event for each missing frame", nick = "gap")]
    Gap,
    #[enum_value(name = "The last frame again for each missing frame of raw video, else gap events", nick = "repeat")]
    Repeat,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) shm_path: String,
    pub(crate) is_live: bool,
    pub(crate) live_only: bool,
    pub(crate) latest_only: bool,
    pub(crate) lag_limit: u64,
    pub(crate) access: Access,
    pub(crate) max_leases: u32,
    pub(crate) on_producer_exit: OnProducerExit,
    pub(crate) connection_timeout: u64,
    pub(crate) processing_deadline: u64,
    pub(crate) silence_timeout: u64,
    pub(crate) silence_action: SilenceAction,
    pub(crate) on_silence: OnSilence,
    pub(crate) wake_ahead: bool,
}

/// The settings for one item, of which most may change between two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receiving {
    pub(super) latest_only: bool,
    pub(super) lag_limit: u64,
    pub(super) on_silence: OnSilence,
    pub(super) limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shm_path: crate::DEFAULT_PATH.into(),
            is_live: true,
            live_only: true,
            latest_only: false,
            lag_limit: 0,
            access: Access::default(),
            max_leases: 64,
            on_producer_exit: OnProducerExit::default(),
            connection_timeout: u64::MAX,
            processing_deadline: 20_000_000,
            silence_timeout: 0,
            silence_action: SilenceAction::default(),
            on_silence: OnSilence::default(),
            wake_ahead: false,
        }
    }
}

impl Settings {
    pub(crate) fn consumer(&self) -> Result<shm2::Consumer, shm2::SpecError> {
        let access = match self.access {
            Access::Auto => shm2::Access::Auto,
            Access::Lease => shm2::Access::Lease,
            Access::Snapshot => shm2::Access::Snapshot,
        };
        // The element applies `on-producer-exit` itself, so that it can post messages.
        let builder = shm2::Consumer::builder(&self.shm_path)?
            .access(access)
            .latest_only(self.latest_only)
            .max_leases(self.max_leases as usize)
            .events(true)
            .wake_ahead(self.wake_ahead)
            .on_producer_exit(shm2::OnProducerExit::Error);
        Ok(builder.build())
    }

    /// What applies to the next item.
    pub(super) fn receiving(&self) -> Receiving {
        Receiving {
            latest_only: self.latest_only,
            lag_limit: self.lag_limit,
            on_silence: self.on_silence,
            limits: Limits { connection_timeout: self.connection_timeout, silence_timeout: self.silence_timeout },
        }
    }

    /// Whether times are mapped to the pipeline's running time. A pipeline that is not live starts with its first
    /// frame, so it keeps the producer's times.
    pub(crate) fn is_mapped(&self) -> bool {
        self.live_only && self.is_live
    }
}
