//! GObject glue of `shm2sink`.
//!
//! Lock order: `stream`, then any one of `settings`, `open`, `counters`, `clock`. No lock but `stream` is held over a call that
//! may wait, and `stream` is taken by the streaming thread and by start and stop only.

use super::publish::{Path, Sent, Stream, Timing};
use super::settings::{self, Settings};
use crate::allocator::ArenaAllocator;
use crate::pool::ArenaPool;
use crate::{clock, lock, uri};
use gst::glib::{self, subclass::Signal};
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use shm2::producer::Handle;
use shm2::{CreateError, SendError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("shm2sink", gst::DebugColorFlags::empty(), Some("Shared-memory sink")));

/// Longest time between two looks at the consumers when no file watch tells of a change.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(250);

#[derive(Default)]
pub struct Shm2Sink {
    settings: Mutex<Settings>,
    stream: Mutex<Option<Stream>>,
    open: Mutex<Option<Open>>,
    counters: Mutex<Counters>,
    clock: Mutex<clock::Known>,
    flushing: AtomicBool,
}

/// What other threads use while the region is open.
struct Open {
    handle: Handle,
    allocator: ArenaAllocator,
    stopping: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
    /// Bytes that the region was made with.
    size: u64,
}

#[derive(Default, Clone, Copy)]
struct Counters {
    zero_copied: u64,
    copied: u64,
    metas_left_behind: u64,
    clients: u32,
    latency: u64,
    told_of_drops: bool,
    told_drops_ns: u64,
}

/// How often drops become a message.
const DROPS_EVERY_NS: u64 = 1_000_000_000;

#[glib::object_subclass]
impl ObjectSubclass for Shm2Sink {
    const NAME: &'static str = "GstShm2Sink";
    type Type = super::Shm2Sink;
    type ParentType = gst_base::BaseSink;
    type Interfaces = (gst::URIHandler,);
}

impl URIHandlerImpl for Shm2Sink {
    const URI_TYPE: gst::URIType = gst::URIType::Sink;

    fn protocols() -> &'static [&'static str] {
        uri::PROTOCOLS
    }

    fn uri(&self) -> Option<String> {
        uri::uri_of(&lock(&self.settings).shm_path)
    }

    fn set_uri(&self, uri: &str) -> Result<(), glib::Error> {
        let path = uri::path_of(uri, &*self.obj())?;
        lock(&self.settings).shm_path = path;
        Ok(())
    }
}

impl ObjectImpl for Shm2Sink {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::properties()
    }

    fn signals() -> &'static [Signal] {
        static SIGNALS: LazyLock<Vec<Signal>> = LazyLock::new(|| {
            ["client-connected", "client-disconnected"]
                .map(|name| Signal::builder(name).param_types([u32::static_type()]).build())
                .into()
        });
        &SIGNALS
    }

    fn constructed(&self) {
        self.parent_constructed();
        let sink = self.obj();
        // A kept last sample would keep its frame's memory from being used again.
        sink.set_enable_last_sample(false);
        sink.set_processing_deadline(gst::ClockTime::ZERO);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if lock(&self.settings).set(pspec.name(), value).is_none() {
            gst::error!(CAT, imp = self, "cannot set {}", pspec.name());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "num-clients" => lock(&self.counters).clients.to_value(),
            "stats" => self.stats().to_value(),
            name => lock(&self.settings).get(name).unwrap_or_else(|| pspec.default_value().clone()),
        }
    }
}

impl GstObjectImpl for Shm2Sink {}

impl ElementImpl for Shm2Sink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Shared-memory sink",
                "Sink",
                "Publish buffers to any number of processes through a shared-memory region",
                "The shm2 contributors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let any = gst::Caps::new_any();
            gst::PadTemplate::new("sink", gst::PadDirection::Sink, gst::PadPresence::Always, &any).into_iter().collect()
        });
        &TEMPLATES
    }

    /// Buffers are handed over when they are due in this pipeline; its latency is for consumers to add, not for us to
    /// wait. So the base class is told of none, and the real one goes along with each frame.
    fn send_event(&self, event: gst::Event) -> bool {
        if let gst::EventView::Latency(latency) = event.view() {
            lock(&self.counters).latency = latency.latency().nseconds();
            return self.parent_send_event(gst::event::Latency::new(gst::ClockTime::ZERO));
        }
        self.parent_send_event(event)
    }
}

impl BaseSinkImpl for Shm2Sink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        self.reset_counters();
        self.flushing.store(false, Ordering::Release);
        // With 0 the caps will tell.
        if lock(&self.settings).shm_size == 0 { Ok(()) } else { self.open_region(None) }
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.close_region();
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(true);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(false);
        Ok(())
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        if !crate::caps::is_system_memory(caps) {
            return Err(gst::loggable_error!(CAT, "{caps} is not in system memory"));
        }
        gst::debug!(CAT, imp = self, "caps {caps}");
        self.fit_region(caps)?;
        let mut stream = lock(&self.stream);
        if let Some(stream) = stream.as_mut() {
            stream.set_caps(caps);
        }
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::AcceptCaps(accept) = query.view_mut() {
            let accepted = crate::caps::is_system_memory(accept.caps());
            accept.set_result(accepted);
            return true;
        }
        BaseSinkImplExt::parent_query(self, query)
    }

    fn event(&self, event: gst::Event) -> bool {
        if let gst::EventView::Eos(_) = event.view() {
            gst::debug!(CAT, imp = self, "end of stream");
            if let Some(Err(error)) = lock(&self.stream).as_mut().map(Stream::end_of_stream) {
                gst::warning!(CAT, imp = self, "the end of stream did not get through: {error}");
            }
        }
        self.parent_event(event)
    }

    fn propose_allocation(&self, query: &mut gst::query::Allocation) -> Result<(), gst::LoggableError> {
        let allocator = lock(&self.open).as_ref().map(|open| open.allocator.clone());
        let allocator = allocator.ok_or_else(|| gst::loggable_error!(CAT, "not started"))?;
        let (caps, need_pool) = query.get_owned();
        if let Some(info) = caps.as_deref().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok()) {
            if need_pool {
                let pool = video_pool(&allocator, caps.as_ref(), &info);
                query.add_allocation_pool(pool.as_ref(), info.size() as u32, 2, 0);
            }
            query.add_allocation_meta::<gst_video::VideoMeta>(None);
        }
        query.add_allocation_param(Some(&allocator), gst::AllocationParams::default());
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        loop {
            match self.try_render(buffer) {
                Ok(sent) => {
                    let mut counters = lock(&self.counters);
                    let in_place = sent.path == Path::ZeroCopy;
                    *(if in_place { &mut counters.zero_copied } else { &mut counters.copied }) += 1;
                    counters.metas_left_behind += sent.metas_left_behind;
                    return Ok(gst::FlowSuccess::Ok);
                }
                // Paused or flushed while waiting: the same frame goes on when the stream does.
                Err(SendError::Cancelled) => drop(self.obj().wait_preroll()?),
                Err(error @ (SendError::Full { .. } | SendError::TimedOut { .. })) => {
                    self.dropped(&error);
                    return Ok(gst::FlowSuccess::Ok);
                }
                Err(SendError::Closed) => return Err(gst::FlowError::Flushing),
                Err(error @ SendError::Truncated { .. }) => {
                    gst::element_imp_error!(self, gst::ResourceError::Write, ("{error}"));
                    return Err(gst::FlowError::Error);
                }
                Err(error) => {
                    gst::element_imp_error!(
                        self,
                        gst::ResourceError::NoSpaceLeft,
                        ("{error}"),
                        ["shm-size is {} bytes", lock(&self.settings).shm_size]
                    );
                    return Err(gst::FlowError::Error);
                }
            }
        }
    }
}

impl Shm2Sink {
    fn open_region(&self, caps: Option<&gst::CapsRef>) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let size = settings.size_for(caps);
        let builder = settings.builder(size).map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("{e}")))?;
        let producer = builder.create().map_err(|e| create_error(&e))?;
        let handle = producer.handle();
        gst::info!(CAT, imp = self, "opened {} of {size} bytes with {settings:?}", settings.shm_path);
        let stopping = Arc::new(AtomicBool::new(false));
        let watcher = self.watch(handle.clone(), stopping.clone())?;
        *lock(&self.stream) = Some(Stream::new(producer));
        let allocator = ArenaAllocator::new(handle.clone());
        *lock(&self.open) = Some(Open { handle, allocator, stopping, watcher: Some(watcher), size });
        Ok(())
    }

    /// An element message with the drops so far, at most once a second.
    fn tell_drops(&self) {
        let now = shm2::monotonic_ns();
        let last = std::mem::replace(&mut lock(&self.counters).told_drops_ns, now);
        if now.saturating_sub(last) < DROPS_EVERY_NS {
            lock(&self.counters).told_drops_ns = last;
            return;
        }
        let stats = lock(&self.open).as_ref().map(|open| open.handle.stats()).unwrap_or_default();
        let details = gst::Structure::builder("shm2-dropped")
            .field("shm-path", &lock(&self.settings).shm_path)
            .field("dropped-oldest", stats.dropped_oldest)
            .field("dropped-newest", stats.dropped_newest)
            .field("dropped-too-large", stats.dropped_too_large)
            .build();
        // Nobody may listen; that is no failure.
        let _ = self.obj().post_message(gst::message::Element::builder(details).src(&*self.obj()).build());
    }

    fn close_region(&self) {
        let open = lock(&self.open).take();
        if let Some(mut open) = open {
            open.stopping.store(true, Ordering::Release);
            open.handle.signal();
            // A signal handler may stop the element from the watching thread itself.
            if let Some(watcher) = open.watcher.take().filter(|w| w.thread().id() != std::thread::current().id()) {
                let _ = watcher.join();
            }
        }
        drop(lock(&self.stream).take());
        lock(&self.counters).clients = 0;
        gst::info!(CAT, imp = self, "closed");
    }

    /// With `shm-size=0`: a region in which frames of these caps have room. A larger one replaces the one that is there,
    /// and consumers go over to it.
    fn fit_region(&self, caps: &gst::CapsRef) -> Result<(), gst::LoggableError> {
        let settings = lock(&self.settings).clone();
        let size = lock(&self.open).as_ref().map_or(0, |open| open.size);
        if settings.shm_size != 0 || settings.size_for(Some(caps)) <= size {
            return Ok(());
        }
        self.close_region();
        self.open_region(Some(caps)).map_err(|error| {
            self.post_error_message(error);
            gst::loggable_error!(CAT, "no region for {caps}")
        })
    }

    fn reset_counters(&self) {
        let mut counters = lock(&self.counters);
        *counters = Counters { latency: counters.latency, ..Counters::default() };
    }

    fn try_render(&self, buffer: &gst::Buffer) -> Result<Sent, SendError> {
        if lock(&self.open).is_none() && lock(&self.settings).shm_size == 0 && self.open_region(None).is_err() {
            return Err(SendError::Closed);
        }
        if lock(&self.settings).wait_for_connection {
            self.wait_for_client()?;
        }
        let timing = self.timing(buffer);
        let latency = lock(&self.counters).latency;
        let mut stream = lock(&self.stream);
        stream.as_mut().ok_or(SendError::Closed)?.publish(buffer, timing, latency)
    }

    /// When the frame is due: in running time, because a segment may begin anywhere, and on the monotonic clock.
    fn timing(&self, buffer: &gst::BufferRef) -> Timing {
        let sink = self.obj();
        let raw = |time: Option<gst::ClockTime>| time.map(|t| t.nseconds());
        let Ok(segment) = sink.segment().downcast::<gst::ClockTime>() else {
            return Timing { pts: raw(buffer.pts()), dts: raw(buffer.dts()), time: None };
        };
        let running = |time: Option<gst::ClockTime>| {
            let running = segment.to_running_time_full(time?)?;
            // Decoding times before the segment begin with it.
            Some(running.positive().map_or(0, |t| t.nseconds()))
        };
        let (pts, dts) = (running(buffer.pts()), running(buffer.dts()));
        let clock = sink.clock().zip(sink.base_time());
        let time = clock
            .zip(pts.or(dts))
            .map(|((clock, base), due)| clock::to_monotonic(due, base.nseconds(), lock(&self.clock).offset(&clock)));
        Timing { pts, dts, time }
    }

    fn wait_for_client(&self) -> Result<(), SendError> {
        let handle = lock(&self.open).as_ref().map(|open| open.handle.clone()).ok_or(SendError::Closed)?;
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

    /// A frame found no room: told once to whoever watches the bus, and each time to the log.
    fn dropped(&self, error: &SendError) {
        gst::debug!(CAT, imp = self, "{error}");
        self.tell_drops();
        if !std::mem::replace(&mut lock(&self.counters).told_of_drops, true) {
            let hint = "consumers hold the whole region; raise shm-size (see the stats property for how many follow)";
            gst::element_imp_warning!(self, gst::ResourceError::NoSpaceLeft, ("{error}"), ["{hint}"]);
        }
    }

    fn set_flushing(&self, flushing: bool) {
        self.flushing.store(flushing, Ordering::Release);
        let handle = lock(&self.open).as_ref().map(|open| open.handle.clone());
        if let Some(handle) = handle {
            handle.set_cancelled(flushing);
            handle.signal();
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

    fn stats(&self) -> gst::Structure {
        let stats = lock(&self.open).as_ref().map(|open| open.handle.stats()).unwrap_or_default();
        let counters = *lock(&self.counters);
        gst::Structure::builder("application/x-shm2-sink-stats")
            .field("published", stats.published)
            .field("zero-copied", counters.zero_copied)
            .field("copied", counters.copied)
            .field("metas-left-behind", counters.metas_left_behind)
            .field("dropped-oldest", stats.dropped_oldest)
            .field("dropped-newest", stats.dropped_newest)
            .field("dropped-too-large", stats.dropped_too_large)
            .field("wakes", stats.wakes)
            .field("num-clients", counters.clients)
            .field("frames-ready", stats.ready)
            .field("frames-held", stats.held)
            .field("arena-bytes", stats.arena_bytes)
            .field("arena-free-bytes", stats.free_bytes)
            .build()
    }
}

fn clients(handle: &Handle) -> u32 {
    handle.consumers() as u32 + u32::from(handle.has_snapshot_consumers())
}

fn video_pool(allocator: &ArenaAllocator, caps: Option<&gst::Caps>, info: &gst_video::VideoInfo) -> Option<ArenaPool> {
    let pool = ArenaPool::new(allocator);
    let mut config = pool.config();
    config.set_params(caps, info.size() as u32, 2, 0);
    config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META.as_ref());
    pool.set_config(config).ok().map(|()| pool)
}

fn create_error(error: &CreateError) -> gst::ErrorMessage {
    match error {
        CreateError::Busy { .. } => gst::error_msg!(gst::ResourceError::Busy, ("{error}")),
        CreateError::NoRoom { .. } | CreateError::NoMemory { .. } | CreateError::ControlGroup { .. } => {
            gst::error_msg!(gst::ResourceError::NoSpaceLeft, ("{error}"))
        }
        CreateError::Denied { .. } | CreateError::OthersLeftover { .. } => {
            gst::error_msg!(gst::ResourceError::NotAuthorized, ("{error}"))
        }
        CreateError::Size { .. } | CreateError::Setting { .. } | CreateError::Spec(_) => {
            gst::error_msg!(gst::ResourceError::Settings, ("{error}"))
        }
        _ => gst::error_msg!(gst::ResourceError::OpenWrite, ("{error}")),
    }
}
