//! GObject glue of `shm2src`.
//!
//! Lock order: `stream`, then any one of `settings`, `canceller`, `report`, `resumption`, `stream_start`. No lock but
//! `stream` is held over a call that may block, a notification or a message; `stream` is taken by the streaming thread
//! and by start and stop only.

use super::followed::StreamStart;
use super::keyframe::Verdict;
use super::log::CAT;
use super::report::{self, Report};
use super::settings::{Access, OnProducerExit, OnSilence, Settings, SilenceAction};
use super::stream::{self, Reaction, Stream};
use super::timeline::{Resumption, Times};
use crate::clock::clock_time;
use crate::stats::Stats;
use crate::{events, lock, meta, uri};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use shm2::consumer::{Canceller, Change, WaitingFor};
use shm2::{Frame, ReceiveError};
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
    #[property(name = "stats", type = Stats, get = |src: &Self| Stats(lock(&src.report).stats()), nick = "Statistics",
        blurb = "Counts of frames received, zero-copied, copied, missed and skipped, and of attaches to producers")]
    pub(super) settings: Mutex<Settings>,
    stream: Mutex<Option<Stream>>,
    canceller: Mutex<Option<Canceller>>,
    pub(super) report: Mutex<Report>,
    pub(super) resumption: Mutex<Resumption>,
    /// Downstream or the application asked for a keyframe.
    is_keyframe_wanted: AtomicBool,
    /// The stream-start event of this element; that of the base class is dropped.
    stream_start: Mutex<Option<gst::Seqnum>>,
}

#[glib::object_subclass]
impl ObjectSubclass for Shm2Src {
    const NAME: &'static str = "GstShm2Src";
    type Type = super::Shm2Src;
    type ParentType = gst_base::PushSrc;
    type Interfaces = (gst::URIHandler,);
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
        let mut stream = Stream::new(consumer);
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

impl PushSrcImpl for Shm2Src {
    fn create(&self, _buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        let mut guard = lock(&self.stream);
        let stream = guard.as_mut().ok_or(gst::FlowError::Flushing)?;
        if let Some(buffer) = stream.waiting_buffer() {
            return Ok(CreateSuccess::NewBuffer(buffer));
        }
        let buffer = self.next_buffer(stream)?;
        gst::trace!(CAT, imp = self, "{buffer:?}");
        Ok(CreateSuccess::NewBuffer(buffer))
    }
}

/// Streaming thread.
impl Shm2Src {
    /// The next buffer for downstream, which has its stream, caps and events then. A producer may send items without end
    /// that are not for downstream, so each is a reason to check for cancellation.
    fn next_buffer(&self, stream: &mut Stream) -> Result<gst::Buffer, gst::FlowError> {
        loop {
            if stream.is_cancelled() {
                return Err(gst::FlowError::Flushing);
            }
            let Some(frame) = self.receive(stream)? else {
                match self.fill(stream) {
                    Some(buffer) => return Ok(self.for_downstream(stream, buffer, false)),
                    None => continue,
                }
            };
            let events = self.follow(stream, &frame)?;
            let times = self.times(stream, &frame);
            self.push_events(stream, events, !frame.is_event());
            let is_stale = lock(&self.resumption).is_stale(stream.due_time(&frame));
            let is_covered = !frame.is_event() && stream.fill.covers(times.pts);
            if is_covered || is_stale && lock(&self.settings).is_mapped() {
                stream.skip();
                if !frame.is_event() {
                    lock(&self.report).count_stale_frame();
                }
                continue;
            }
            if !frame.is_event() {
                return self.buffer(stream, frame, times);
            }
            self.push_event_item(stream, &frame, times);
        }
    }

    fn buffer(&self, stream: &mut Stream, frame: Frame, times: Times) -> Result<gst::Buffer, gst::FlowError> {
        let now_ns = shm2::monotonic_ns();
        self.report_latency(frame.info().latency, now_ns);
        if lock(&self.report).is_stats_due(now_ns) {
            // On a thread of GStreamer's, so that a handler may block.
            self.obj().call_async(|src| src.notify("stats"));
        }
        let is_leased = frame.is_leased();
        let Some(buffer) = stream.buffer(frame, times) else {
            let text = "a frame's layout does not fit its bytes or caps";
            gst::element_imp_error!(self, gst::StreamError::Format, ("{text}"));
            return Err(gst::FlowError::Error);
        };
        Ok(self.for_downstream(stream, buffer, is_leased))
    }

    /// `None` if there is no frame for downstream yet.
    fn receive(&self, stream: &mut Stream) -> Result<Option<Frame>, gst::FlowError> {
        let settings = lock(&self.settings).clone();
        let next = stream.next(&settings);
        self.report_silence(stream, &settings)?;
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(error) => return self.react(stream, &error).map(|()| None),
        };
        lock(&self.report).count_received(stream.stats(), frame.is_leased() && !frame.is_event());
        if self.is_keyframe_wanted.swap(false, Ordering::Relaxed) {
            self.request_keyframe(stream);
        }
        let verdict = stream.judge(&frame, shm2::monotonic_ns());
        if verdict == Verdict::Give {
            return Ok(Some(frame));
        }
        gst::debug!(CAT, imp = self, "frame {} depends on one that was not received", frame.sequence());
        if verdict == Verdict::DropAndRequest {
            self.request_keyframe(stream);
        }
        Ok(None)
    }

    /// Asks the producer for a keyframe.
    fn request_keyframe(&self, stream: &mut Stream) {
        let is_told = stream.request_keyframe();
        gst::debug!(CAT, imp = self, "a keyframe is needed; the producer is told: {is_told}");
    }

    /// `Ok` if the element waits for another frame.
    fn react(&self, stream: &mut Stream, error: &ReceiveError) -> Result<(), gst::FlowError> {
        match error {
            ReceiveError::Expelled { .. } => gst::warning!(CAT, imp = self, "{error}"),
            _ => gst::info!(CAT, imp = self, "{error}"),
        }
        let on_producer_exit = lock(&self.settings).on_producer_exit;
        match Reaction::to(error, on_producer_exit, stream.is_attached()) {
            Reaction::Continue => Ok(()),
            Reaction::Flush => Err(gst::FlowError::Flushing),
            Reaction::End => {
                // An end of stream needs a stream start, even if no frame came in between.
                self.start_stream(stream, None);
                self.push_events(stream, Vec::new(), true);
                Err(gst::FlowError::Eos)
            }
            Reaction::Fail => {
                let path = lock(&self.settings).shm_path.clone();
                self.post_error_message(stream::error_message(error, &path));
                Err(gst::FlowError::Error)
            }
        }
    }

    /// Pushes a new stream start and new caps of the producer; returns new sticky events, which come after the segment.
    fn follow(&self, stream: &mut Stream, frame: &Frame) -> Result<Vec<gst::Event>, gst::FlowError> {
        let key = stream.key(frame);
        if stream.followed.is_current(key) {
            return Ok(Vec::new());
        }
        let description = events::Description::of(frame.stream_blob());
        self.start_stream(stream, description.start);
        let caps = stream.followed.new_caps(frame.caps().map_or(&[], |(_, text)| text)).map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{error}"));
            gst::FlowError::Error
        })?;
        if let Some(caps) = caps {
            gst::debug!(CAT, imp = self, "caps {caps}");
            // A pad that flushes takes no caps, which is no refusal.
            let refusal = || if self.is_flushing() { gst::FlowError::Flushing } else { gst::FlowError::NotNegotiated };
            self.obj().set_caps(&caps).map_err(|_| refusal())?;
            stream.followed.set_caps(caps);
            stream.set_knows_layouts(None);
        }
        Ok(stream.followed.new_events(key, description.events))
    }

    fn start_stream(&self, stream: &mut Stream, start: Option<StreamStart>) {
        if !stream.followed.start() {
            return;
        }
        let src = self.obj();
        let (flags, id) = start.unwrap_or_else(|| {
            let id = src.static_pad("src").map(|pad| pad.create_stream_id(&*src, None));
            (gst::StreamFlags::empty(), id.map_or_else(String::new, |id| id.to_string()))
        });
        gst::debug!(CAT, imp = self, "stream {id}");
        let event = gst::event::StreamStart::builder(&id).flags(flags).group_id(gst::GroupId::next()).build();
        // The pad pushes its sticky event again when another element is linked.
        *lock(&self.stream_start) = Some(event.seqnum());
        self.push(event);
    }

    /// The buffer, or a copy of it in the layout of the caps if downstream knows no other.
    fn for_downstream(&self, stream: &mut Stream, buffer: gst::Buffer, is_leased: bool) -> gst::Buffer {
        let (mut knows_layouts, pad) = (stream.knows_layouts(), self.obj().static_pad("src"));
        let packed = meta::repacked(&buffer, stream.followed.media(), || {
            if pad.as_ref().is_some_and(|pad| pad.check_reconfigure()) {
                knows_layouts = None;
            }
            *knows_layouts.get_or_insert_with(|| pad.is_some_and(|pad| knows_layouts_behind(&pad)))
        });
        // A pad that flushes gives no answer.
        stream.set_knows_layouts(knows_layouts.filter(|_| !self.is_flushing()));
        let Some(packed) = packed else { return buffer };
        lock(&self.report).count_repacked(is_leased);
        packed
    }

    fn times(&self, stream: &mut Stream, frame: &Frame) -> Times {
        let src = self.obj();
        if src.does_timestamp() {
            // The base class sets the time of arrival where there is none.
            return Times::default();
        }
        let is_mapped = lock(&self.settings).is_mapped();
        if let Some(timebase) = is_mapped.then(|| stream.clock.timebase(&*src)).flatten() {
            let times = stream.live_times(frame, timebase);
            let segment = stream.timeline.shifted_segment(&times);
            self.begin_segment(stream, segment);
            return times;
        }
        // A pipeline that has not started has neither clock nor running time.
        let clock = src.clock().zip(src.base_time());
        let running_time = clock.map_or(gst::ClockTime::ZERO, |(clock, base)| clock.time().saturating_sub(base));
        let segment = stream.timeline.new_segment(&frame.info(), stream.stats().attaches, running_time);
        self.begin_segment(stream, segment);
        Times::verbatim(&frame.info())
    }

    fn begin_segment(&self, stream: &mut Stream, segment: Option<gst::FormattedSegment<gst::ClockTime>>) {
        if segment.is_some_and(|segment| self.obj().new_segment(segment.upcast_ref()).is_ok()) {
            stream.begin_segment();
        }
    }

    /// Pushes an event that the producer published between two frames.
    fn push_event_item(&self, stream: &mut Stream, frame: &Frame, times: Times) {
        let time = times.pts.and_then(|pts| stream.timeline.clock_time(pts));
        let duration = frame.info().duration.and_then(clock_time);
        let Some(event) = events::between(frame.meta(), time, duration) else { return };
        if event.type_() == gst::EventType::Gap {
            let duration_ns = frame.info().duration.unwrap_or_default();
            stream.fill.record_gap(shm2::monotonic_ns(), stream.due_time(frame), times.pts, duration_ns);
        }
        if event.type_() != gst::EventType::Gap || !times.is_before_start {
            self.push_events(stream, vec![event], false);
        }
    }

    /// Pushes events after the segment that they belong to. With the producer's times that segment is known with its
    /// first item that has a time, at the latest with its first frame; until then events are kept.
    fn push_events(&self, stream: &mut Stream, events: Vec<gst::Event>, is_before_frame: bool) {
        let keeps_times = !lock(&self.settings).is_mapped() && !self.obj().does_timestamp();
        let awaits_segment = keeps_times && !is_before_frame && !stream.has_segment();
        for event in stream.hold(events, awaits_segment) {
            self.push_after_segment(stream, event);
        }
    }

    /// The base class sends the segment not before the next buffer, also after a flush, with which the pad loses it.
    pub(super) fn push_after_segment(&self, stream: &mut Stream, event: gst::Event) {
        let pad = self.obj().static_pad("src");
        let is_lost = pad.is_some_and(|pad| pad.sticky_event::<gst::event::Segment>(0).is_none());
        if stream.take_unsent_segment() || is_lost {
            self.push(gst::event::Segment::new(&self.obj().segment()));
        }
        self.push(event);
    }

    /// Whether a state change or a flush keeps events from downstream.
    fn is_flushing(&self) -> bool {
        self.obj().static_pad("src").is_none_or(|pad| pad.pad_flags().contains(gst::PadFlags::FLUSHING))
    }

    fn push(&self, event: gst::Event) {
        gst::debug!(CAT, imp = self, "{event:?}");
        // Downstream may refuse the event, which is no failure.
        let _ = self.obj().static_pad("src").is_some_and(|pad| pad.push_event(event));
    }
}

/// Whether the elements behind the pad take video in any layout, by their answer to the allocation query.
fn knows_layouts_behind(pad: &gst::Pad) -> bool {
    let mut query = gst::query::Allocation::new(pad.current_caps().as_ref(), false);
    pad.peer_query(&mut query) && query.find_allocation_meta::<gst_video::VideoMeta>().is_some()
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
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
            let is_superfluous = info.event().is_some_and(|event| match event.view() {
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
    fn report_latency(&self, latency: u64, now_ns: u64) {
        let is_due = lock(&self.report).set_latency(latency, now_ns);
        if is_due {
            let src = self.obj();
            // An element without a bus has no listener, which is no failure.
            let _ = src.post_message(gst::message::Latency::builder().src(&*src).build());
        }
    }
}
