//! GObject glue of `shm2src`.
//!
//! Lock order: `stream`, then any one of `settings`, `canceller`, `report`, `resumption`, `stream_start`. No lock but
//! `stream` is held over a call that may block, a notification or a message; `stream` is taken by the streaming thread
//! and by start and stop only.

use super::log::CAT;
use super::report::{self, Report};
use super::settings::{Access, OnProducerExit, OnSilence, Settings, SilenceAction};
use super::stream::Stream;
use super::timeline::Resumption;
use crate::clock::clock_time;
use crate::stats::Stats;
use crate::{lock, uri};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use shm2::consumer::{Canceller, Change, WaitingFor};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

#[derive(Default, glib::Properties)]
#[properties(wrapper_type = super::Shm2Src)]
pub struct Shm2Src {
    #[property(name = "shm-path", type = Option<String>, get = |src: &Self| Some(lock(&src.settings).shm_path.clone()),
        set = Self::set_shm_path, default = Some(crate::DEFAULT_PATH), mutable_ready, nick = "Shared-memory path",
        blurb = "Region to read, which may be created later: shm:///dev/shm/NAME or /dev/shm/NAME; winshm://Local/NAME on Windows; ivshmem:// in a virtual machine")]
    #[property(name = "latest-only", type = bool, member = latest_only, get, set, mutable_playing, nick = "Latest only",
        default = Settings::default().latest_only,
        blurb = "Skip waiting frames and take the second newest, for the lowest delay")]
    #[property(name = "lag-limit", type = u64, member = lag_limit, get, set, mutable_playing, nick = "Lag limit",
        default = Settings::default().lag_limit,
        blurb = "Skip frames that were published more nanoseconds ago than this (0 = no limit)")]
    #[property(name = "access", type = Access, member = access, get, set, mutable_ready, nick = "Access",
        blurb = "How the bytes of the region are read",
        builder(Settings::default().access))]
    #[property(name = "max-leases", type = u32, member = max_leases, get, set, mutable_ready, nick = "Maximum leases",
        default = Settings::default().max_leases, minimum = 1, maximum = 64,
        blurb = "Frames held in place at a time, at most what the producer allows; further frames are copied")]
    #[property(name = "is-live", type = bool, member = is_live, get, set = Self::set_is_live, mutable_ready, nick = "Is live",
        default = Settings::default().is_live, blurb = "Act as a live source")]
    #[property(name = "live-only", type = bool, member = live_only, get, set, mutable_ready, nick = "Live only",
        default = Settings::default().live_only,
        blurb = "Map frames to this pipeline's running time by their capture time; else keep the producer's times")]
    #[property(name = "processing-deadline", type = u64, member = processing_deadline, get, set, mutable_ready,
        nick = "Processing deadline", default = Settings::default().processing_deadline, maximum = i64::MAX as u64,
        blurb = "Nanoseconds that hand-over and processing may take, reported as latency on top of the producer's")]
    #[property(name = "on-producer-exit", type = OnProducerExit, member = on_producer_exit, get, set, mutable_playing,
        nick = "On producer exit", blurb = "What to do when the producer exits without an end of stream; with always-reconnect also after one",
        builder(Settings::default().on_producer_exit))]
    #[property(name = "connection-timeout", type = u64, member = connection_timeout, get, set, mutable_ready,
        nick = "Connection timeout", default = Settings::default().connection_timeout,
        blurb = "Nanoseconds to wait for a producer before an error (18446744073709551615 = no limit)")]
    #[property(name = "silence-timeout", type = u64, member = silence_timeout, get, set, mutable_playing,
        nick = "Silence timeout", default = Settings::default().silence_timeout,
        blurb = "Nanoseconds without a frame or event of a live producer after which silence-action applies (0 = off)")]
    #[property(name = "silence-action", type = SilenceAction, member = silence_action, get, set, mutable_playing,
        nick = "Silence action", blurb = "What to do when the producer is alive and sends nothing for silence-timeout",
        builder(Settings::default().silence_action))]
    #[property(name = "on-silence", type = OnSilence, member = on_silence, get, set, mutable_playing, nick = "On silence",
        blurb = "What to send downstream while no producer is there, or while it sends nothing",
        builder(Settings::default().on_silence))]
    #[property(name = "wake-ahead", type = bool, member = wake_ahead, get, set, mutable_ready, nick = "Wake ahead",
        default = Settings::default().wake_ahead,
        blurb = "Wake shortly before the next frame of a steady rate is due and look for it, for a lower delay; takes at most 2.5 % of a processor")]
    #[property(name = "stats", type = Stats, get = |src: &Self| Stats(lock(&src.report).stats()), nick = "Statistics",
        blurb = "Counts of frames received, zero-copied, copied, missed and skipped, of attaches to producers, and of looks of wake-ahead")]
    pub(super) settings: Mutex<Settings>,
    stream: Mutex<Option<Stream>>,
    canceller: Mutex<Option<Canceller>>,
    pub(super) report: Mutex<Report>,
    pub(super) resumption: Mutex<Resumption>,
    /// A flush has ended since the last buffer.
    has_flushed: AtomicBool,
    /// Downstream or the application asked for a keyframe.
    pub(super) is_keyframe_wanted: AtomicBool,
    /// The stream-start event of this element; that of the base class is dropped.
    pub(super) stream_start: Mutex<Option<gst::Seqnum>>,
}

#[glib::object_subclass]
impl ObjectSubclass for Shm2Src {
    const NAME: &'static str = "GstShm2Src";
    type Type = super::Shm2Src;
    type ParentType = gst_base::PushSrc;
    type Interfaces = (gst::URIHandler,);

    fn class_init(class: &mut Self::Class) {
        super::base_class::init(class);
    }
}

uri::uri_handler!(Shm2Src, gst::URIType::Src);

impl ObjectImpl for Shm2Src {
    fn properties() -> &'static [glib::ParamSpec] {
        Self::derived_properties()
    }

    fn constructed(&self) {
        self.parent_constructed();
        let src = self.obj();
        src.set_format(gst::Format::Time);
        src.set_live(Settings::default().is_live);
        self.drop_superfluous_events();
    }

    fn set_property(&self, id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if crate::is_mutable_now(&*self.obj(), pspec, &CAT) {
            self.derived_set_property(id, value, pspec);
        }
    }

    fn property(&self, id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        self.derived_property(id, pspec)
    }
}

impl GstObjectImpl for Shm2Src {}

impl ElementImpl for Shm2Src {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Shared-memory source",
                "Source",
                "Read buffers that another process publishes in a shared-memory region",
                "The shm2 contributors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| crate::any_pad("src", gst::PadDirection::Src));
        &TEMPLATES
    }

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToPlaying {
            lock(&self.resumption).play(shm2::monotonic_ns());
        }
        self.parent_change_state(transition)
    }

    /// The base class refuses upstream events that an application sends to the element.
    fn send_event(&self, event: gst::Event) -> bool {
        if event.is_upstream() && gst_video::UpstreamForceKeyUnitEvent::parse(&event).is_ok() {
            self.is_keyframe_wanted.store(true, Ordering::Relaxed);
            return true;
        }
        self.parent_send_event(event)
    }
}

impl BaseSrcImpl for Shm2Src {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let consumer = settings.consumer();
        let consumer = consumer.map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("{e}")))?;
        gst::info!(CAT, imp = self, "reading {} with {settings:?}", settings.shm_path);
        *lock(&self.resumption) = Resumption::default();
        *lock(&self.canceller) = Some(consumer.canceller());
        *lock(&self.report) = Report::default();
        let mut stream = Stream::new(consumer, settings.is_mapped());
        let (src, path) = (self.obj().downgrade(), settings.shm_path.clone());
        stream.report_changes(move |change| {
            src.upgrade().iter().for_each(|src| src.imp().report_change(&change, &path));
        });
        let (src, path) = (self.obj().downgrade(), settings.shm_path);
        stream.report_waits(move |waiting| {
            src.upgrade().iter().for_each(|src| src.imp().report_wait(waiting, &path));
        });
        *lock(&self.stream) = Some(stream);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.canceller).take();
        drop(lock(&self.stream).take());
        gst::info!(CAT, imp = self, "stopped");
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.canceller).iter().for_each(|canceller| canceller.set(true));
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.canceller).iter().for_each(|canceller| canceller.set(false));
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    /// Caps come with the first frame.
    fn negotiate(&self) -> Result<(), gst::LoggableError> {
        Ok(())
    }

    /// The frames bring their memory. Downstream may be another one from here on.
    fn decide_allocation(&self, _query: &mut gst::query::Allocation) -> Result<(), gst::LoggableError> {
        lock(&self.stream).iter_mut().for_each(|stream| stream.set_knows_layouts(None));
        Ok(())
    }

    /// Events from downstream.
    fn event(&self, event: &gst::Event) -> bool {
        if gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok() {
            self.is_keyframe_wanted.store(true, Ordering::Relaxed);
            return true;
        }
        self.parent_event(event)
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
            let settings = lock(&self.settings).clone();
            let is_feedback = crate::feedback::is_asking(&settings.shm_path);
            let producers = if is_feedback { 0 } else { lock(&self.report).latency() };
            let min = producers.saturating_add(settings.processing_deadline);
            latency.set(settings.is_live, clock_time(min).unwrap_or(gst::ClockTime::ZERO), gst::ClockTime::NONE);
            return true;
        }
        BaseSrcImplExt::parent_query(self, query)
    }
}

impl PushSrcImpl for Shm2Src {}

impl Shm2Src {
    /// The next buffer for downstream. Called by the base class, through [`base_class`](super::base_class).
    pub(super) fn create_buffer(&self) -> Result<gst::Buffer, gst::FlowError> {
        let mut guard = lock(&self.stream);
        let stream = guard.as_mut().ok_or(gst::FlowError::Flushing)?;
        if self.has_flushed.swap(false, Ordering::Acquire) {
            stream.flushed();
        }
        if let Some(buffer) = stream.waiting_buffer() {
            return Ok(buffer);
        }
        let buffer = self.next_buffer(stream)?;
        gst::trace!(CAT, imp = self, "{buffer:?}");
        Ok(buffer)
    }
}

/// Whether the element behind the pad has this segment. A flush and another link take it away.
fn has_segment(pad: &gst::Pad, segment: &gst::Segment) -> bool {
    let Some(received) = pad.peer().and_then(|peer| peer.sticky_event::<gst::event::Segment>(0)) else { return false };
    let mut received = received.segment().clone();
    // The position is the sender's own state.
    if received.format() == segment.format() {
        received.set_position(segment.position());
    }
    received == *segment
}

/// Properties, messages and probes.
impl Shm2Src {
    fn set_shm_path(&self, path: Option<String>) {
        lock(&self.settings).shm_path = path.unwrap_or_else(|| crate::DEFAULT_PATH.into());
    }

    fn set_is_live(&self, is_live: bool) {
        lock(&self.settings).is_live = is_live;
        self.obj().set_live(is_live);
    }

    /// The base class pushes a stream start before the producer's is known, and with the next buffer a segment that this
    /// element may have pushed before an event already. A probe drops these.
    fn drop_superfluous_events(&self) {
        let src = self.obj().downgrade();
        let Some(pad) = self.obj().static_pad("src") else { return };
        let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
        pad.add_probe(kinds, move |pad, info| {
            let is_superfluous = info.event().is_some_and(|event| match event.view() {
                gst::EventView::FlushStop(_) => {
                    src.upgrade().into_iter().for_each(|src| src.imp().has_flushed.store(true, Ordering::Release));
                    false
                }
                gst::EventView::StreamStart(start) => {
                    let ours = src.upgrade().map(|src| *lock(&src.imp().stream_start));
                    ours.is_some_and(|ours| ours != Some(start.seqnum()))
                }
                gst::EventView::Segment(segment) => has_segment(pad, segment.segment()),
                _ => false,
            });
            if is_superfluous { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
        });
    }

    /// Each attach and detach becomes an element message, also while the source waits.
    fn report_change(&self, change: &Change, path: &str) {
        if let Some(mib) = report::uncached_read_speed(change) {
            gst::warning!(CAT, imp = self, "{path} is read at {mib} MiB/s: it is mapped without a cache");
        }
        let message = report::change_message(change, path);
        gst::info!(CAT, imp = self, "{message}");
        crate::post_element_message(self.obj().upcast_ref(), Some(message));
    }

    /// A wait for a producer becomes an element message.
    fn report_wait(&self, waiting: &WaitingFor, path: &str) {
        gst::warning!(CAT, imp = self, "waiting for {waiting}");
        let message = report::waiting_message(waiting, path);
        crate::post_element_message(self.obj().upcast_ref(), Some(message));
    }

    /// Posts a latency message if the producer's latency changed, at most once a second.
    pub(super) fn report_latency(&self, latency: u64, now_ns: u64) {
        let is_due = lock(&self.report).set_latency(latency, now_ns);
        if is_due {
            let src = self.obj();
            // An element without a bus has no listener, which is no failure.
            let _ = src.post_message(gst::message::Latency::builder().src(&*src).build());
        }
    }
}
