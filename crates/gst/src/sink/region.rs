//! The region while the sink runs: made and closed, and its consumers looked after by a thread.

use super::imp::{CAT, Shm2Sink};
use super::publish::Stream;
use crate::allocator::ArenaAllocator;
use crate::lock;
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::ivshmem::DeviceError;
use shm2::producer::Handle;
use shm2::{CreateError, SendError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest time between two looks at the consumers when no file watch tells of a change.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(250);

/// What other threads use while the region is open.
pub(super) struct Open {
    pub(super) handle: Handle,
    pub(super) allocator: ArenaAllocator,
    stopping: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
    /// Bytes that the region was made with.
    pub(super) size: u64,
}

impl Shm2Sink {
    pub(super) fn open_region(&self, size: u64) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let builder = settings.builder(size).map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("{e}")))?;
        let producer = builder.create().map_err(|e| create_error(&e))?;
        let handle = producer.handle();
        let arena = handle.stats().arena_bytes;
        gst::info!(CAT, imp = self, "opened {}, an arena of {arena} bytes, with {settings:?}", settings.shm_path);
        let stopping = Arc::new(AtomicBool::new(false));
        let watcher = self.watch(handle.clone(), stopping.clone())?;
        let blob = lock(&self.described).bytes();
        *lock(&self.stream) = Some(Stream::new(producer, blob));
        let allocator = ArenaAllocator::new(handle.clone());
        // A device, and a kept file, have the size that they have.
        let size = size.max(arena + shm2::layout::ARENA_OFFSET);
        *lock(&self.open) = Some(Open { handle, allocator, stopping, watcher: Some(watcher), size });
        Ok(())
    }

    pub(super) fn close_region(&self) {
        let open = lock(&self.open).take();
        if let Some(mut open) = open {
            open.stopping.store(true, Ordering::Release);
            open.handle.signal();
            lock(&self.counters).past.add(&open.handle.stats());
            // A signal handler may stop the element from the watching thread itself.
            if let Some(watcher) = open.watcher.take().filter(|w| w.thread().id() != std::thread::current().id()) {
                let _ = watcher.join();
            }
        }
        drop(lock(&self.stream).take());
        gst::info!(CAT, imp = self, "closed");
    }

    /// With `shm-size=0`: a region in which frames of these caps have room. A larger one replaces the one that is there,
    /// and consumers go over to it.
    pub(super) fn fit_region(&self, caps: &gst::CapsRef) -> Result<(), gst::LoggableError> {
        let settings = lock(&self.settings).clone();
        if settings.shm_size != 0 || self.replace_region(settings.size_for(Some(caps))) {
            self.warn_of_little_room(caps);
            return Ok(());
        }
        Err(gst::loggable_error!(CAT, "no region for {caps}"))
    }

    /// Below four frames hardly anybody gets one: upstream fills one, and others are being read.
    fn warn_of_little_room(&self, caps: &gst::CapsRef) {
        let Some(arena) = lock(&self.open).as_ref().map(|open| open.handle.stats().arena_bytes) else { return };
        let video = crate::caps::Media::of(caps).video;
        let Some(frame) = video.map(|video| video.size() as u64).filter(|bytes| *bytes > 0) else { return };
        let frames = arena / frame;
        if (1..4).contains(&frames) {
            let needed = shm2::layout::region_bytes_for_arena(4 * frame);
            gst::element_imp_warning!(
                self,
                gst::ResourceError::NoSpaceLeft,
                ("only {frames} frames of these caps fit into the region: one of {needed} bytes holds four")
            );
        }
    }

    /// The same for a frame that its caps did not announce.
    pub(super) fn grow_region(&self, bytes: u64) -> bool {
        let settings = lock(&self.settings).clone();
        let size = settings.size_for_frames(bytes);
        let before = lock(&self.open).as_ref().map_or(0, |open| open.size);
        if settings.shm_size != 0 || size <= before || !self.replace_region(size) {
            return false;
        }
        let caps = self.obj().static_pad("sink").and_then(|pad| pad.current_caps());
        let mut stream = lock(&self.stream);
        if let (Some(stream), Some(caps)) = (stream.as_mut(), caps) {
            stream.set_caps(&caps);
        }
        true
    }

    /// True when the region has at least this size now; else an error was posted.
    fn replace_region(&self, size: u64) -> bool {
        if size <= lock(&self.open).as_ref().map_or(0, |open| open.size) {
            return true;
        }
        self.close_region();
        self.open_region(size).map_err(|error| self.post_error_message(error)).is_ok()
    }

    pub(super) fn wait_for_client(&self) -> Result<(), SendError> {
        let handle = lock(&self.open).as_ref().map(|open| open.handle.clone()).ok_or(SendError::Closed)?;
        if lock(&self.settings).may_have_unseen_consumers() && clients(&handle) == 0 {
            let hint = "waiting for a consumer; of those in another virtual machine only one with access=lease is seen";
            gst::element_imp_info!(self, gst::ResourceError::NotFound, ("waiting for a consumer"), ["{hint}"]);
        }
        loop {
            let seen = handle.changes();
            if self.flushing.load(Ordering::Acquire) {
                return Err(SendError::Cancelled);
            }
            if clients(&handle) > 0 {
                return Ok(());
            }
            handle.wait_change(seen, Some(LAST_LOOK));
        }
    }

    /// One thread that looks after consumers: it counts them, ends what dead ones held, and emits the signals.
    fn watch(&self, handle: Handle, stopping: Arc<AtomicBool>) -> Result<JoinHandle<()>, gst::ErrorMessage> {
        let sink = self.obj().downgrade();
        let look = move || {
            let mut again = None;
            loop {
                let seen = handle.changes();
                if stopping.load(Ordering::Acquire) {
                    return;
                }
                let Some(sink) = sink.upgrade() else { return };
                sink.imp().clients_are(clients(&handle));
                drop(sink);
                // The file's watch speaks up before a dead peer's locks are gone: look a few times more.
                let changed = handle.wait_change(seen, Some(again.unwrap_or(LOOK_EVERY)));
                again = if changed { Some(FIRST_LOOK) } else { again.map(|t| t * 2).filter(|t| *t <= LAST_LOOK) };
            }
        };
        let name = format!("{}:peers", self.obj().name());
        std::thread::Builder::new()
            .name(name)
            .spawn(look)
            .map_err(|e| gst::error_msg!(gst::CoreError::Thread, ("cannot start a thread: {e}")))
    }

    fn clients_are(&self, clients: u32) {
        let before = std::mem::replace(&mut lock(&self.counters).clients, clients);
        if before == clients {
            return;
        }
        gst::info!(CAT, imp = self, "{clients} consumers");
        let sink = self.obj();
        sink.notify("num-clients");
        if clients > before {
            // A new consumer can show nothing until a keyframe comes.
            let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if let Some(pad) = sink.static_pad("sink") {
                pad.push_event(event);
            }
            sink.emit_by_name::<()>("client-connected", &[&clients]);
        } else {
            sink.emit_by_name::<()>("client-disconnected", &[&clients]);
        }
    }
}

fn clients(handle: &Handle) -> u32 {
    handle.consumers() as u32 + u32::from(handle.has_snapshot_consumers())
}

fn create_error(error: &CreateError) -> gst::ErrorMessage {
    match error {
        CreateError::Busy { .. } | CreateError::Device { problem: DeviceError::InUse { .. }, .. } => {
            gst::error_msg!(gst::ResourceError::Busy, ("{error}"))
        }
        CreateError::NoSpace { .. }
        | CreateError::NoMemory { .. }
        | CreateError::ControlGroup { .. }
        | CreateError::NoCommit { .. } => gst::error_msg!(gst::ResourceError::NoSpaceLeft, ("{error}")),
        CreateError::Denied { .. }
        | CreateError::SectionDenied { .. }
        | CreateError::OthersLeftover { .. }
        | CreateError::Device { problem: DeviceError::Denied { .. }, .. } => {
            gst::error_msg!(gst::ResourceError::NotAuthorized, ("{error}"))
        }
        CreateError::KeptSection { .. }
        | CreateError::Size { .. }
        | CreateError::Setting { .. }
        | CreateError::Spec(_) => {
            gst::error_msg!(gst::ResourceError::Settings, ("{error}"))
        }
        _ => gst::error_msg!(gst::ResourceError::OpenWrite, ("{error}")),
    }
}
