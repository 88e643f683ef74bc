//! Settings of the sink: the values of its properties, which `imp.rs` declares.

use crate::caps::Media;
use gst::glib;
use std::time::Duration;

/// What to do with a new buffer when the arena has too little free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstShm2FullPolicy")]
pub enum FullPolicy {
    #[default]
    #[enum_value(name = "Drop the oldest frames that no consumer holds", nick = "drop-oldest")]
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
    pub(crate) forward_eos: bool,
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
            forward_eos: true,
            history: 1,
            max_leases: 16,
            keep_region: false,
            lease_time: 2_000_000_000,
        }
    }
}

/// `shm-size=0`: frames besides the history, for those in flight and those that a few consumers hold.
const SPARE_FRAMES: u64 = 8;
/// Bytes that a pool may add to each frame.
const PADDING: u64 = 64 * 1024;
/// Bytes of a region for frames of unknown size.
const UNKNOWN_FRAMES: u64 = 64 << 20;
/// Fewest bytes of a region for frames of known size.
const MIN_SIZE: u64 = 16 << 20;

impl Settings {
    /// Size of the region for these caps: the set one, or with 0 one for eight frames and the history.
    pub(crate) fn size_for(&self, caps: Option<&gst::CapsRef>) -> u64 {
        if self.shm_size != 0 {
            return self.shm_size;
        }
        caps.and_then(|caps| Media::of(caps).frame_bytes()).map_or(UNKNOWN_FRAMES, |bytes| self.size_for_frames(bytes))
    }

    /// Size of a region that replaces one of `size` bytes for a frame of so many bytes; `None` if it has to stay.
    pub(crate) fn larger_size(&self, size: u64, frame_bytes: u64) -> Option<u64> {
        Some(self.size_for_frames(frame_bytes)).filter(|larger| self.shm_size == 0 && *larger > size)
    }

    fn size_for_frames(&self, bytes: u64) -> u64 {
        let frames = SPARE_FRAMES + u64::from(self.history).min(SPARE_FRAMES);
        shm2::layout::region_bytes_for_arena(frames.saturating_mul(bytes.saturating_add(PADDING))).max(MIN_SIZE)
    }

    /// Whether consumers may exist that this kernel does not know.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_the_caps_unless_it_is_set() {
        gst::init().unwrap();
        let caps = gst_video::VideoInfo::builder(gst_video::VideoFormat::Bgra, 1920, 1080).build().unwrap();
        let caps = caps.to_caps().unwrap();
        let set = Settings { shm_size: 5 << 20, ..Settings::default() };
        assert_eq!((set.size_for(Some(&caps)), set.larger_size(5 << 20, 1 << 30)), (5 << 20, None));
        let unset = Settings { shm_size: 0, history: 2, ..Settings::default() };
        assert!(unset.size_for(Some(&caps)) > 10 * 1920 * 1080 * 4);
        assert_eq!(unset.size_for(Some(&gst::Caps::new_empty_simple("application/x-test"))), UNKNOWN_FRAMES);
        let larger = unset.larger_size(16 << 20, 8 << 20).unwrap();
        assert!(larger > 80 << 20);
        assert_eq!(unset.larger_size(larger, 8 << 20), None);
    }
}
