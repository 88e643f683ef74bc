//! The region of a running sink: opened with the element or with the first caps, replaced by a larger one on demand.

use super::publisher::Publisher;
use super::settings::Settings;
use super::watcher::{Watch, Watcher};
use crate::allocator::ArenaAllocator;
use crate::caps::Media;
use shm2::ivshmem::DeviceError;
use shm2::producer::{Handle, LostName, ProducerStats};
use shm2::{CreateError, SpecError};
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

/// With fewer frames in an arena, few consumers get any: upstream fills one, and consumers read others.
const MIN_FRAMES: u64 = 4;

/// State of the element as far as the region goes.
#[derive(Default)]
pub(super) enum State {
    #[default]
    Stopped,
    /// The element runs; the region is opened when the size of its frames is known.
    Pending,
    Open(Region),
}

impl State {
    pub(super) fn region(&self) -> Option<&Region> {
        match self {
            Self::Open(region) => Some(region),
            Self::Stopped | Self::Pending => None,
        }
    }

    /// Handle of the open region, for calls without the lock around this state.
    pub(super) fn handle(&self) -> Option<Handle> {
        self.region().map(|region| region.handle.clone())
    }

    /// Counts of the open region; zeros if there is none.
    pub(super) fn stats(&self) -> ProducerStats {
        self.region().map(Region::stats).unwrap_or_default()
    }

    /// Size of the open region in bytes; 0 if there is none.
    pub(super) fn size(&self) -> u64 {
        self.region().map_or(0, |region| region.size)
    }

    /// Replaces the state; returns the region that was open.
    pub(super) fn replace(&mut self, state: Self) -> Option<Region> {
        match std::mem::replace(self, state) {
            Self::Open(region) => Some(region),
            Self::Stopped | Self::Pending => None,
        }
    }
}

/// An open region, except for its [`Publisher`], which may be locked over a call that waits.
pub(super) struct Region {
    handle: Handle,
    allocator: ArenaAllocator,
    watcher: Watcher,
    size: u64,
    /// Requests of consumers for a keyframe that were passed on.
    keyframe_requests: AtomicU64,
}

impl Region {
    /// Creates a region of `size` bytes. `description` describes the stream (see [`Publisher::new`]); `on_count` is
    /// called after each count of the clients on a thread of the name `thread`.
    pub(super) fn open(
        settings: &Settings,
        size: u64,
        description: Vec<u8>,
        thread: String,
        on_count: impl FnMut(u32, &Watch) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(Self, Publisher), OpenError> {
        let producer = settings.builder(size).map_err(OpenError::Spec)?.create().map_err(OpenError::Create)?;
        let handle = producer.handle();
        let watcher = Watcher::spawn(thread, handle.clone(), on_count).map_err(OpenError::Thread)?;
        let allocator = ArenaAllocator::new(handle.clone());
        // The size of a device or a kept file may exceed the requested one.
        let size = size.max(handle.stats().arena_bytes + shm2::layout::ARENA_OFFSET);
        Ok((
            Self { handle, allocator, watcher, size, keyframe_requests: AtomicU64::new(0) },
            Publisher::new(producer, description),
        ))
    }

    pub(super) fn allocator(&self) -> &ArenaAllocator {
        &self.allocator
    }

    pub(super) fn stats(&self) -> ProducerStats {
        self.handle.stats()
    }

    /// Whether this region's thread has this watch.
    pub(super) fn is_watched_by(&self, watch: &Watch) -> bool {
        self.watcher.has(watch)
    }

    /// How new consumers cannot find the region any more.
    pub(super) fn lost_name(&self) -> Option<LostName> {
        self.handle.lost_name()
    }

    /// Whether a consumer has requested a keyframe since the last call.
    pub(super) fn has_new_keyframe_request(&self) -> bool {
        let requests = self.handle.keyframe_requests();
        self.keyframe_requests.fetch_max(requests, Ordering::Relaxed) < requests
    }

    /// While true, waiting calls of the streaming thread end. Does not block.
    pub(super) fn set_cancelled(&self, is_cancelled: bool) {
        self.handle.set_cancelled(is_cancelled);
        self.handle.signal();
    }

    /// Ends the watch. The region closes when its [`Publisher`] is dropped.
    pub(super) fn close(self) {
        self.watcher.stop();
    }
}

/// Warning for an arena in which fewer than four frames of these caps fit; `None` if more fit, or none at all.
pub(super) fn few_frames_warning(arena_bytes: u64, caps: &gst::CapsRef) -> Option<String> {
    let frame_bytes = Media::of(caps).frame_bytes()?;
    let frames = arena_bytes / frame_bytes;
    let needed = shm2::layout::region_bytes_for_arena(MIN_FRAMES * frame_bytes);
    (1..MIN_FRAMES).contains(&frames).then(|| {
        let word = if frames == 1 { "frame" } else { "frames" };
        format!("the region holds only {frames} {word} of these caps: set shm-size={needed} for {MIN_FRAMES}, or 0")
    })
}

/// Why a region could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    Spec(SpecError),
    Create(CreateError),
    Thread(io::Error),
}

impl OpenError {
    /// The error as the element posts it.
    pub(super) fn message(&self) -> gst::ErrorMessage {
        match self {
            Self::Spec(error) => gst::error_msg!(gst::ResourceError::Settings, ("{error}")),
            Self::Create(error) => gst::error_msg!(resource_error(error), ("{error}")),
            Self::Thread(error) => gst::error_msg!(gst::CoreError::Thread, ("cannot start a thread: {error}")),
        }
    }
}

fn resource_error(error: &CreateError) -> gst::ResourceError {
    match error {
        CreateError::Busy { .. } | CreateError::Device { problem: DeviceError::InUse { .. }, .. } => {
            gst::ResourceError::Busy
        }
        CreateError::NoSpace { .. }
        | CreateError::NoMemory { .. }
        | CreateError::ControlGroup { .. }
        | CreateError::FileSizeLimit { .. }
        | CreateError::NoCommit { .. } => gst::ResourceError::NoSpaceLeft,
        CreateError::Denied { .. }
        | CreateError::SectionDenied { .. }
        | CreateError::OthersLeftover { .. }
        | CreateError::OthersFile { .. }
        | CreateError::ForeignOwner { .. }
        | CreateError::Forbidden { .. }
        | CreateError::Device { problem: DeviceError::Denied { .. }, .. } => gst::ResourceError::NotAuthorized,
        CreateError::KeptSection { .. }
        | CreateError::Size { .. }
        | CreateError::Setting { .. }
        | CreateError::Spec(_) => gst::ResourceError::Settings,
        _ => gst::ResourceError::OpenWrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::publisher::{Path, Timing};
    use gst::prelude::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(60);

    fn settings(test: &str) -> Settings {
        let directory = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
        let shm_path = format!("{directory}shm2-gst-unit-{}-{test}", std::process::id());
        Settings { shm_path, ..Settings::default() }
    }

    #[test]
    fn a_region_counts_its_clients_and_closes_with_its_publisher() {
        gst::init().unwrap();
        let settings = settings("region");
        let (counts, counted) = channel();
        let on_count = move |count: u32, _: &Watch| match counts.send(count) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let (region, mut publisher) = Region::open(&settings, 16 << 20, vec![], "watcher".into(), on_count).unwrap();
        assert_eq!(counted.recv_timeout(LIMIT), Ok(0));
        let consumer = shm2::Consumer::builder(&settings.shm_path).unwrap();
        let consumer = consumer.on_producer_exit(shm2::OnProducerExit::Error);
        let mut consumer = consumer.attach(Some(LIMIT)).unwrap();
        while counted.recv_timeout(LIMIT).unwrap() != 1 {}
        let memory = region.allocator().alloc(5000, None).unwrap();
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory);
        let sent = publisher.publish(&buffer, Timing::default(), 0, true).unwrap();
        assert_eq!((sent.path, consumer.next(Some(LIMIT)).unwrap().len()), (Path::ZeroCopy, 5000));
        let mut state = State::Open(region);
        assert_eq!((state.size(), state.stats().published), (16 << 20, 1));
        state.replace(State::Stopped).map(Region::close).unwrap();
        assert_eq!((state.size(), state.stats()), (0, ProducerStats::default()));
        drop(publisher);
        assert!(matches!(consumer.next(Some(LIMIT)), Err(shm2::ReceiveError::ProducerGone { .. })));
    }

    #[test]
    fn errors_of_opening_a_region_are_told_apart() {
        gst::init().unwrap();
        let open = |settings: &Settings, size| {
            Region::open(settings, size, vec![], "watcher".into(), |_, _| ControlFlow::Continue(()))
                .map(drop)
                .unwrap_err()
        };
        let bad = Settings { shm_path: "no/region".into(), ..Settings::default() };
        assert!(matches!(open(&bad, 16 << 20), OpenError::Spec(_)));
        assert!(matches!(open(&settings("small"), 100), OpenError::Create(CreateError::Size { .. })));
    }

    #[test]
    fn an_arena_for_one_to_three_frames_is_warned_of() {
        gst::init().unwrap();
        let caps = gst_video::VideoInfo::builder(gst_video::VideoFormat::Gray8, 1000, 1000).build().unwrap();
        let caps = caps.to_caps().unwrap();
        for (arena, is_warned) in [(900_000, false), (1_000_000, true), (3_999_999, true), (4_000_000, false)] {
            assert_eq!(few_frames_warning(arena, &caps).is_some(), is_warned, "{arena}");
        }
        assert!(few_frames_warning(1, &gst::Caps::new_empty_simple("application/x-test")).is_none());
    }
}
