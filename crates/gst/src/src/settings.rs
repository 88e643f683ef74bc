//! The source's properties.

use gst::glib;
use gst::prelude::*;
use std::sync::LazyLock;

/// How to get at the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstShm2Access")]
pub(crate) enum Access {
    #[default]
    #[enum_value(name = "In place where it may write and a lock tells who lives, else by copies", nick = "auto")]
    Auto,
    #[enum_value(name = "In place: needs the right to write the region", nick = "lease")]
    Lease,
    #[enum_value(name = "By copies: needs only the right to read it", nick = "snapshot")]
    Snapshot,
}

/// What to do when the producer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstShm2OnProducerExit")]
pub(crate) enum OnProducerExit {
    #[default]
    #[enum_value(name = "Wait for the next producer", nick = "reconnect")]
    Reconnect,
    #[enum_value(name = "End the stream", nick = "eos")]
    Eos,
    #[enum_value(name = "Post an error", nick = "error")]
    Error,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) shm_path: String,
    pub(crate) is_live: bool,
    pub(crate) live_only: bool,
    pub(crate) latest_only: bool,
    pub(crate) access: Access,
    pub(crate) max_leases: u32,
    pub(crate) on_producer_exit: OnProducerExit,
    pub(crate) connection_timeout: u64,
    pub(crate) processing_deadline: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shm_path: crate::DEFAULT_PATH.into(),
            is_live: true,
            live_only: true,
            latest_only: false,
            access: Access::default(),
            max_leases: 64,
            on_producer_exit: OnProducerExit::default(),
            connection_timeout: u64::MAX,
            processing_deadline: 20_000_000,
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
        // The element itself decides what follows when a producer is gone, so that it can say so.
        let builder = shm2::Consumer::builder(&self.shm_path)?
            .access(access)
            .latest_only(self.latest_only)
            .max_leases(self.max_leases as usize)
            .events(true)
            .on_producer_exit(shm2::OnProducerExit::Error);
        Ok(builder.build())
    }

    /// Whether times are mapped to the pipeline's running time. One that is not live starts when its first frame is there,
    /// so it takes the producer's times as they are.
    pub(crate) fn is_mapped(&self) -> bool {
        self.live_only && self.is_live
    }

    /// Sets the property `name`; a value of the wrong type cannot come, GObject checks it first.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) -> Option<()> {
        match name {
            "shm-path" => {
                let path = value.get::<Option<String>>().ok()?;
                self.shm_path = path.unwrap_or_else(|| crate::DEFAULT_PATH.into());
            }
            "is-live" => self.is_live = value.get().ok()?,
            "live-only" => self.live_only = value.get().ok()?,
            "latest-only" => self.latest_only = value.get().ok()?,
            "access" => self.access = value.get().ok()?,
            "max-leases" => self.max_leases = value.get().ok()?,
            "on-producer-exit" => self.on_producer_exit = value.get().ok()?,
            "connection-timeout" => self.connection_timeout = value.get().ok()?,
            "processing-deadline" => self.processing_deadline = value.get().ok()?,
            _ => return None,
        }
        Some(())
    }

    /// The value of the property `name`, if it is a setting.
    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "shm-path" => self.shm_path.to_value(),
            "is-live" => self.is_live.to_value(),
            "live-only" => self.live_only.to_value(),
            "latest-only" => self.latest_only.to_value(),
            "access" => self.access.to_value(),
            "max-leases" => self.max_leases.to_value(),
            "on-producer-exit" => self.on_producer_exit.to_value(),
            "connection-timeout" => self.connection_timeout.to_value(),
            "processing-deadline" => self.processing_deadline.to_value(),
            _ => return None,
        })
    }
}

pub(crate) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| [region(), timing(), producer()].concat());
    &PROPERTIES
}

/// Which region, and how to read it.
fn region() -> Vec<glib::ParamSpec> {
    let d = Settings::default();
    vec![
        glib::ParamSpecString::builder("shm-path")
            .nick("Shared-memory path")
            .blurb("Region to read, which may come later: shm:///dev/shm/NAME or /dev/shm/NAME; winshm://Local/NAME on Windows; ivshmem:// in a virtual machine")
            .default_value(Some(d.shm_path.as_str()))
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("latest-only")
            .nick("Latest only")
            .blurb("Pass over frames that wait and take the second newest, for the lowest delay")
            .default_value(d.latest_only)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("access", d.access)
            .nick("Access")
            .blurb("How to get at the bytes of the region")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-leases")
            .nick("Maximum leases")
            .blurb("Frames held in place at a time, at most what the producer allows; beyond that they are copied")
            .minimum(1)
            .maximum(64)
            .default_value(d.max_leases)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Counts of frames received, zero-copied, copied, missed and skipped, and of producers seen")
            .read_only()
            .build(),
    ]
}

/// Times of the buffers.
fn timing() -> Vec<glib::ParamSpec> {
    let d = Settings::default();
    vec![
        glib::ParamSpecBoolean::builder("is-live")
            .nick("Is live")
            .blurb("Act as a live source")
            .default_value(d.is_live)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("live-only")
            .nick("Live only")
            .blurb("Map frames to this pipeline's running time by their capture time; else keep the producer's times")
            .default_value(d.live_only)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("processing-deadline")
            .nick("Processing deadline")
            .blurb("Nanoseconds that hand-over and processing may take, reported as latency on top of the producer's")
            .maximum(i64::MAX as u64)
            .default_value(d.processing_deadline)
            .mutable_ready()
            .build(),
    ]
}

/// Coming and going of producers.
fn producer() -> Vec<glib::ParamSpec> {
    let d = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default("on-producer-exit", d.on_producer_exit)
            .nick("On producer exit")
            .blurb("What to do when the producer is gone without an end of stream")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("connection-timeout")
            .nick("Connection timeout")
            .blurb("Nanoseconds to wait for a producer before an error (18446744073709551615 = for ever)")
            .default_value(d.connection_timeout)
            .mutable_ready()
            .build(),
    ]
}
