//! The sink's properties.

use gst::glib;
use gst::prelude::*;
use std::sync::LazyLock;
use std::time::Duration;

/// What to do with a new buffer when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstShm2FullPolicy")]
pub(crate) enum FullPolicy {
    #[default]
    #[enum_value(name = "Drop the oldest frames that nobody holds", nick = "drop-oldest")]
    DropOldest,
    #[enum_value(name = "Drop the new frame", nick = "drop-newest")]
    DropNewest,
    #[enum_value(name = "Wait for the slowest consumer", nick = "block")]
    Block,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) shm_path: String,
    pub(crate) shm_size: u64,
    pub(crate) perms: u32,
    pub(crate) timeline_beacon_ms: u32,
    pub(crate) full_policy: FullPolicy,
    pub(crate) block_timeout: u64,
    pub(crate) wait_for_connection: bool,
    pub(crate) history: u32,
    pub(crate) max_leases: u32,
    pub(crate) keep_region: bool,
    pub(crate) lease_time: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shm_path: crate::DEFAULT_PATH.into(),
            shm_size: 64 << 20,
            perms: 0o660,
            timeline_beacon_ms: 250,
            full_policy: FullPolicy::default(),
            block_timeout: u64::MAX,
            wait_for_connection: false,
            history: 1,
            max_leases: 16,
            keep_region: false,
            lease_time: 2_000_000_000,
        }
    }
}

/// `shm-size=0`: frames besides the history, for what flows and what a few consumers hold.
const SPARE_FRAMES: u64 = 8;
/// What a pool may add to each frame.
const PADDING: u64 = 64 * 1024;
/// A region for frames of unknown size, and the least for others.
const UNKNOWN: u64 = 64 << 20;
const LEAST: u64 = 16 << 20;

impl Settings {
    /// Size of the region for these caps: what is set, or with 0 so that eight frames and the history fit.
    pub(crate) fn size_for(&self, caps: Option<&gst::CapsRef>) -> u64 {
        if self.shm_size != 0 {
            return self.shm_size;
        }
        let video = caps.and_then(|caps| crate::caps::Media::of(caps).video);
        let Some(frame) = video.map(|video| video.size() as u64).filter(|bytes| *bytes > 0) else { return UNKNOWN };
        self.size_for_frames(frame)
    }

    /// Size of a region for frames of so many bytes.
    pub(crate) fn size_for_frames(&self, bytes: u64) -> u64 {
        let frames = SPARE_FRAMES + u64::from(self.history).min(SPARE_FRAMES);
        shm2::layout::region_bytes_for_arena(frames.saturating_mul(bytes.saturating_add(PADDING))).max(LEAST)
    }

    /// Whether this kernel may not tell of all who are there.
    pub(crate) fn may_have_unseen_consumers(&self) -> bool {
        self.keep_region || self.shm_path.starts_with("ivshmem:")
    }

    pub(crate) fn builder(&self, size: u64) -> Result<shm2::producer::Builder, shm2::SpecError> {
        let timeout = (self.block_timeout != u64::MAX).then(|| Duration::from_nanos(self.block_timeout));
        let policy = match self.full_policy {
            FullPolicy::DropOldest => shm2::FullPolicy::DropOldest,
            FullPolicy::DropNewest => shm2::FullPolicy::DropNewest,
            FullPolicy::Block => shm2::FullPolicy::Block { timeout },
        };
        let builder = shm2::Producer::builder(&self.shm_path)?
            .size(size)
            .perms(self.perms)
            .full_policy(policy)
            .history(self.history)
            .max_leases(self.max_leases)
            .keep_region(self.keep_region)
            .lease_time(Duration::from_nanos(self.lease_time))
            .beacon(Duration::from_millis(self.timeline_beacon_ms.into()));
        Ok(builder)
    }

    /// Sets the property `name`; a value of the wrong type cannot come, GObject checks it first.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) -> Option<()> {
        match name {
            "shm-path" => {
                let path = value.get::<Option<String>>().ok()?;
                self.shm_path = path.unwrap_or_else(|| crate::DEFAULT_PATH.into());
            }
            "shm-size" => self.shm_size = value.get().ok()?,
            "perms" => self.perms = value.get().ok()?,
            "timeline-beacon-ms" => self.timeline_beacon_ms = value.get().ok()?,
            "full-policy" => self.full_policy = value.get().ok()?,
            "block-timeout" => self.block_timeout = value.get().ok()?,
            "wait-for-connection" => self.wait_for_connection = value.get().ok()?,
            "history" => self.history = value.get().ok()?,
            "max-leases" => self.max_leases = value.get().ok()?,
            "keep-region" => self.keep_region = value.get().ok()?,
            "lease-time" => self.lease_time = value.get().ok()?,
            _ => return None,
        }
        Some(())
    }

    /// The value of the property `name`, if it is a setting.
    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "shm-path" => self.shm_path.to_value(),
            "shm-size" => self.shm_size.to_value(),
            "perms" => self.perms.to_value(),
            "timeline-beacon-ms" => self.timeline_beacon_ms.to_value(),
            "full-policy" => self.full_policy.to_value(),
            "block-timeout" => self.block_timeout.to_value(),
            "wait-for-connection" => self.wait_for_connection.to_value(),
            "history" => self.history.to_value(),
            "max-leases" => self.max_leases.to_value(),
            "keep-region" => self.keep_region.to_value(),
            "lease-time" => self.lease_time.to_value(),
            _ => return None,
        })
    }
}

pub(crate) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> =
        LazyLock::new(|| [region(), delivery(), observation()].concat());
    &PROPERTIES
}

/// What the region is like.
fn region() -> Vec<glib::ParamSpec> {
    let d = Settings::default();
    vec![
        glib::ParamSpecString::builder("shm-path")
            .nick("Shared-memory path")
            .blurb("Region to make: shm:///dev/shm/NAME or /dev/shm/NAME; winshm://Local/NAME on Windows; ivshmem:// in a virtual machine")
            .default_value(Some(d.shm_path.as_str()))
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("shm-size")
            .nick("Shared-memory size")
            .blurb("Size of the whole region in bytes, of which 4784128 are the protocol's own (0 = from the caps, and anew when they grow)")
            .default_value(d.shm_size)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("perms")
            .nick("Permissions")
            .blurb(
                "Permission bits of the region's file when it is made, whatever the umask (give it as 0660 for octal)",
            )
            .maximum(0o777)
            .default_value(d.perms)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("timeline-beacon-ms")
            .nick("Timeline beacon interval")
            .blurb("Milliseconds between clock pairs written to the region while frames flow")
            .minimum(1)
            .maximum(60_000)
            .default_value(d.timeline_beacon_ms)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("history")
            .nick("History")
            .blurb("Newest frames kept for consumers that attach later")
            .default_value(d.history)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-leases")
            .nick("Maximum leases")
            .blurb("Frames that one consumer may hold in place; beyond that it gets copies")
            .minimum(1)
            .maximum(64)
            .default_value(d.max_leases)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("keep-region")
            .nick("Keep region")
            .blurb("Go on in the file that is there, with its own size and permissions, and never remove it")
            .default_value(d.keep_region)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("lease-time")
            .nick("Lease time")
            .blurb("Nanoseconds without a heartbeat after which a peer counts as dead where no lock tells: in a virtual machine's memory and in kept regions")
            .minimum(100_000_000)
            .maximum(3_600_000_000_000)
            .default_value(d.lease_time)
            .mutable_ready()
            .build(),
    ]
}

/// How frames are handed over.
fn delivery() -> Vec<glib::ParamSpec> {
    let d = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default("full-policy", d.full_policy)
            .nick("Full policy")
            .blurb("What to do with a new frame when there is no room for it")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("block-timeout")
            .nick("Block timeout")
            .blurb("Nanoseconds that one frame may wait for room under full-policy=block (18446744073709551615 = for ever)")
            .default_value(d.block_timeout)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("wait-for-connection")
            .nick("Wait for a connection")
            .blurb("Hold the stream back until a consumer is attached")
            .default_value(d.wait_for_connection)
            .mutable_ready()
            .build(),
    ]
}

/// What can be seen from outside.
fn observation() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("num-clients")
            .nick("Number of clients")
            .blurb("Consumers attached now; snapshot consumers count as one together")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Counts of frames published, zero-copied, copied and dropped by reason, and the use of the arena")
            .read_only()
            .build(),
    ]
}
