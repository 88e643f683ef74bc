//! GObject glue of `shm2src`.
//!
//! Lock order: `stream`, then any one of `settings`, `canceller`, `counters`. No lock but `stream` is held over a call
//! that may wait, and `stream` is taken by the streaming thread and by start and stop only.

use super::follow::Followed;
use super::settings::{self, OnProducerExit, Settings};
use super::{lend, timeline};
use crate::{Pace, clock, lock, uri};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use shm2::consumer::{Canceller, Change, ConsumerStats};
use shm2::{Access, AttachError, Consumer, Frame, ReceiveError};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

pub(super) static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("shm2src", gst::DebugColorFlags::empty(), Some("Shared-memory source")));

/// A shift of a producer's base time, in nanoseconds, that no drift of clocks explains.
const PAUSE: u64 = 20_000_000;

/// More latency than this is not believed: an hour, in nanoseconds.
const MOST_LATENCY: u64 = 3_600_000_000_000;

#[derive(Default)]
pub struct Shm2Src {
    settings: Mutex<Settings>,
    stream: Mutex<Option<Stream>>,
    canceller: Mutex<Option<Canceller>>,
    pub(super) counters: Mutex<Counters>,
    /// When this live source went on after a pause, on the monotonic clock.
    resumed: Mutex<Resumed>,
    /// Names the beginning of the stream that downstream is to see.
    pub(super) stream_start: Mutex<Option<gst::Seqnum>>,
}

/// What only the streaming thread uses.
pub(super) struct Stream {
    pub(super) consumer: Consumer,
    pub(super) followed: Followed,
    /// Downstream has the segment.
    pub(super) segment_is_sent: bool,
    /// Nothing can be decoded before a frame that does not depend on another.
    needs_keyframe: bool,
    /// Frames were passed over since the last buffer.
    is_broken: bool,
    /// Attaches when the segment was made: each producer has its own.
    segment_of: Option<u64>,
    /// Base time of the producer's pipeline on the monotonic clock, as its newest frame shows it.
    producer_base: Option<u64>,
    clock: clock::Known,
}

/// A pipeline that plays for the first time takes what is there; later only what comes.
#[derive(Default)]
struct Resumed {
    has_played: bool,
    at: Option<u64>,
}

impl Resumed {
    fn plays(&mut self) {
        if std::mem::replace(&mut self.has_played, true) {
            self.at = Some(shm2::monotonic_ns());
        }
    }
}

#[derive(Default, Clone, Copy)]
pub(super) struct Counters {
    consumer: ConsumerStats,
    zero_copied: u64,
    /// Frames of a pause.
    stale: u64,
    pub(super) latency: u64,
    stats: Pace,
}

#[glib::object_subclass]
impl ObjectSubclass for Shm2Src {
    const NAME: &'static str = "GstShm2Src";
    type Type = super::Shm2Src;
    type ParentType = gst_base::PushSrc;
    type Interfaces = (gst::URIHandler,);
}

impl URIHandlerImpl for Shm2Src {
    const URI_TYPE: gst::URIType = gst::URIType::Src;

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

impl ObjectImpl for Shm2Src {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::properties()
    }

    fn constructed(&self) {
        self.parent_constructed();
        let src = self.obj();
        src.set_format(gst::Format::Time);
        src.set_live(Settings::default().is_live);
        self.hold_back_stream_start();
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_change(&*self.obj(), pspec) {
            gst::warning!(CAT, imp = self, "{} can only be changed while stopped; it stays as it is", pspec.name());
            return;
        }
        let mut settings = lock(&self.settings);
        if settings.set(pspec.name(), value).is_none() {
            gst::error!(CAT, imp = self, "cannot set {}", pspec.name());
        }
        let is_live = settings.is_live;
        drop(settings);
        if pspec.name() == "is-live" {
            self.obj().set_live(is_live);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => self.stats().to_value(),
            name => lock(&self.settings).get(name).unwrap_or_else(|| pspec.default_value().clone()),
        }
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

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToPlaying {
            lock(&self.resumed).plays();
        }
        self.parent_change_state(transition)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let any = gst::Caps::new_any();
            gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &any).into_iter().collect()
        });
        &TEMPLATES
    }
}

impl BaseSrcImpl for Shm2Src {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let consumer = settings.consumer();
        let mut consumer = consumer.map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("{e}")))?;
        self.tell_changes(&mut consumer, &settings.shm_path);
        gst::info!(CAT, imp = self, "reading {} with {settings:?}", settings.shm_path);
        *lock(&self.resumed) = Resumed::default();
        *lock(&self.canceller) = Some(consumer.canceller());
        *lock(&self.counters) = Counters::default();
        *lock(&self.stream) = Some(Stream {
            consumer,
            followed: Followed::default(),
            segment_is_sent: false,
            needs_keyframe: true,
            is_broken: false,
            segment_of: None,
            producer_base: None,
            clock: clock::Known::default(),
        });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.canceller).take();
        drop(lock(&self.stream).take());
        gst::info!(CAT, imp = self, "stopped");
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

    fn is_seekable(&self) -> bool {
        false
    }

    /// Caps come with the first frame.
    fn negotiate(&self) -> Result<(), gst::LoggableError> {
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
            let settings = lock(&self.settings).clone();
            let min = lock(&self.counters).latency.saturating_add(settings.processing_deadline);
            let min = clock::clock_time(min).unwrap_or(gst::ClockTime::ZERO);
            latency.set(settings.is_live, min, gst::ClockTime::NONE);
            return true;
        }
        BaseSrcImplExt::parent_query(self, query)
    }
}

impl PushSrcImpl for Shm2Src {
    fn create(&self, _buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        let mut guard = lock(&self.stream);
        let stream = guard.as_mut().ok_or(gst::FlowError::Flushing)?;
        let (frame, times) = loop {
            let frame = self.next_frame(stream)?;
            let events = self.follow_stream(stream, &frame)?;
            let times = self.times(stream, &frame);
            events.into_iter().for_each(|event| self.push_after_segment(stream, event));
            if self.is_stale(stream, &frame) {
                stream.needs_keyframe = true;
                stream.is_broken = true;
                lock(&self.counters).stale += u64::from(!frame.is_event());
                continue;
            }
            if !frame.is_event() {
                break (frame, times);
            }
            self.pass_between(stream, &frame, times);
            if lock(&self.canceller).as_ref().is_none_or(Canceller::is_set) {
                return Err(gst::FlowError::Flushing);
            }
        };
        self.follow_latency(frame.info().latency.min(MOST_LATENCY));
        self.notify_stats();
        stream.segment_is_sent = true;
        let duration = frame.info().duration;
        let mut buffer = lend::buffer(frame, &stream.followed.media).ok_or_else(|| {
            gst::element_imp_error!(
                self,
                gst::StreamError::Format,
                ("a frame's layout does not fit its bytes or caps")
            );
            gst::FlowError::Error
        })?;
        if let Some(buffer) = buffer.get_mut() {
            if std::mem::take(&mut stream.is_broken) {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
            buffer.set_pts(times.pts.and_then(clock::clock_time));
            buffer.set_dts(times.dts.and_then(clock::clock_time));
            buffer.set_duration(duration.and_then(clock::clock_time));
        }
        gst::trace!(CAT, imp = self, "{buffer:?}");
        Ok(CreateSuccess::NewBuffer(buffer))
    }
}

/// Bytes a second; memory that the processor caches gives several times as much.
const SLOW: u64 = 500 << 20;

impl Shm2Src {
    /// Each attach and detach becomes an element message, also while the source waits.
    fn tell_changes(&self, consumer: &mut Consumer, path: &str) {
        let (src, path) = (self.obj().downgrade(), path.to_owned());
        consumer.observe(move |change| {
            let Some(src) = src.upgrade() else { return };
            let details = match change {
                Change::Attached { generation, access, read_speed } => {
                    if let Some(slow) = read_speed.filter(|speed| *speed < SLOW) {
                        let mib = slow >> 20;
                        gst::warning!(CAT, obj = src, "{path} is read at {mib} MiB/s: it is mapped without a cache");
                    }
                    gst::Structure::builder("shm2-attached")
                        .field("shm-path", &path)
                        .field("generation", generation)
                        .field("access", if access == Access::Snapshot { "snapshot" } else { "lease" })
                        .build()
                }
                _ => gst::Structure::builder("shm2-detached").field("shm-path", &path).build(),
            };
            gst::info!(CAT, obj = src, "{details}");
            // Nobody may listen; that is no failure.
            let _ = src.post_message(gst::message::Element::builder(details).src(&src).build());
        });
    }

    fn set_flushing(&self, flushing: bool) {
        if let Some(canceller) = lock(&self.canceller).as_ref() {
            canceller.set(flushing);
        }
    }

    /// The next frame that can be shown.
    fn next_frame(&self, stream: &mut Stream) -> Result<Frame, gst::FlowError> {
        loop {
            let (timeout, latest_only) = {
                let settings = lock(&self.settings);
                (settings.connection_timeout, settings.latest_only)
            };
            stream.consumer.set_latest_only(latest_only);
            let waits_for_producer = !stream.consumer.is_attached() && timeout != u64::MAX;
            let skipped = stream.consumer.stats().skipped;
            let received = stream.consumer.next(waits_for_producer.then(|| Duration::from_nanos(timeout)));
            let frame = match received {
                Ok(frame) => frame,
                Err(error) => {
                    self.no_frame(&error, stream)?;
                    continue;
                }
            };
            stream.needs_keyframe |= frame.is_discontinuity() || stream.consumer.stats().skipped != skipped;
            let mut counters = lock(&self.counters);
            counters.consumer = stream.consumer.stats();
            counters.zero_copied += u64::from(frame.is_leased() && !frame.is_event());
            drop(counters);
            if frame.is_event() {
                return Ok(frame);
            }
            let is_delta = crate::flags::from_wire(frame.info().flags).contains(gst::BufferFlags::DELTA_UNIT);
            if !(stream.needs_keyframe && is_delta) {
                stream.needs_keyframe = false;
                return Ok(frame);
            }
            gst::debug!(CAT, imp = self, "frame {} depends on one that was not received", frame.sequence());
        }
    }

    /// Goes on with `Ok` if the element is to wait for another frame.
    fn no_frame(&self, error: &ReceiveError, stream: &mut Stream) -> Result<(), gst::FlowError> {
        let on_exit = lock(&self.settings).on_producer_exit;
        match error {
            ReceiveError::Cancelled => Err(gst::FlowError::Flushing),
            ReceiveError::EndOfStream => {
                gst::info!(CAT, imp = self, "end of stream");
                // An end needs a beginning, even if nothing came in between.
                self.follow_start(&mut stream.followed, None);
                Err(gst::FlowError::Eos)
            }
            ReceiveError::ProducerGone { path } => {
                gst::info!(CAT, imp = self, "the producer of {path:?} is gone");
                match on_exit {
                    OnProducerExit::Reconnect => Ok(()),
                    OnProducerExit::Eos => {
                        self.follow_start(&mut stream.followed, None);
                        Err(gst::FlowError::Eos)
                    }
                    OnProducerExit::Error => self.fail(error),
                }
            }
            // Paused for longer than the lease time, as a virtual machine may be. What was held is lost; the producer is not.
            ReceiveError::Expelled { .. } if on_exit == OnProducerExit::Reconnect => {
                gst::warning!(CAT, imp = self, "{error}; attaching again");
                Ok(())
            }
            // With a time limit that passed while a producer was there, the wait goes on without one.
            ReceiveError::TimedOut if stream.consumer.is_attached() => Ok(()),
            _ => self.fail(error),
        }
    }

    fn fail(&self, error: &ReceiveError) -> Result<(), gst::FlowError> {
        match error {
            ReceiveError::TimedOut => {
                let path = lock(&self.settings).shm_path.clone();
                gst::element_imp_error!(self, gst::ResourceError::NotFound, ("no producer came to {path} in time"));
            }
            ReceiveError::Attach(AttachError::Denied { .. }) => {
                gst::element_imp_error!(self, gst::ResourceError::NotAuthorized, ("{error}"));
            }
            ReceiveError::Attach(AttachError::Full { .. }) => {
                gst::element_imp_error!(self, gst::ResourceError::Busy, ("{error}"));
            }
            ReceiveError::Attach(_) => {
                gst::element_imp_error!(self, gst::ResourceError::OpenRead, ("{error}"));
            }
            _ => gst::element_imp_error!(self, gst::ResourceError::Read, ("{error}")),
        }
        Err(gst::FlowError::Error)
    }

    fn times(&self, stream: &mut Stream, frame: &Frame) -> timeline::Times {
        let src = self.obj();
        if src.does_timestamp() {
            // The base class puts the time of arrival where there is none.
            return timeline::Times::default();
        }
        let clock = src.clock().zip(src.base_time());
        if let Some((clock, base)) = clock.as_ref().filter(|_| lock(&self.settings).is_mapped()) {
            let offset = stream.clock.offset(clock);
            let time = frame.info().time.map(|time| stream.consumer.to_local(time));
            return timeline::live(frame.info(), time, base.nseconds(), offset);
        }
        let times = timeline::verbatim(frame.info());
        let own = times.pts.or(times.dts);
        let first = own.and_then(clock::clock_time);
        let producer_base = frame.info().time.zip(own).map(|(time, own)| time.wrapping_sub(own));
        let before = std::mem::replace(&mut stream.producer_base, producer_base);
        // A producer that was paused goes on with its own times, but later.
        let moved = producer_base.zip(before).is_some_and(|(now, before)| now.abs_diff(before) > PAUSE);
        let attaches = Some(stream.consumer.stats().attaches);
        if let Some(first) = first.filter(|_| moved || stream.segment_of != attaches) {
            // The producer's first time is now: a sink that syncs would else wait for the producer's whole age.
            let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
            segment.set_start(first);
            segment.set_time(first);
            // A pipeline that is still to start has neither clock nor running time.
            segment.set_base(clock.map_or(gst::ClockTime::ZERO, |(clock, base)| clock.time().saturating_sub(base)));
            if src.new_segment(segment.upcast_ref()).is_ok() {
                (stream.segment_of, stream.segment_is_sent) = (attaches, false);
            }
        }
        times
    }

    /// Whether a frame was due while this live pipeline was paused: it shows what is, not what was.
    fn is_stale(&self, stream: &Stream, frame: &Frame) -> bool {
        let resumed = lock(&self.resumed).at;
        let due = frame.info().time.map(|time| stream.consumer.to_local(time));
        let is_stale = resumed.zip(due).is_some_and(|(resumed, due)| due < resumed);
        is_stale && lock(&self.settings).is_mapped()
    }

    /// Once a second while frames flow. On a thread of GStreamer's own, so that a handler may do what it likes.
    fn notify_stats(&self) {
        if lock(&self.counters).stats.is_due() {
            self.obj().call_async(|src| src.notify("stats"));
        }
    }

    fn stats(&self) -> gst::Structure {
        let counters = *lock(&self.counters);
        let consumer = counters.consumer;
        gst::Structure::builder("application/x-shm2-src-stats")
            .field("received", consumer.received)
            .field("zero-copied", counters.zero_copied)
            .field("copied", consumer.copied)
            .field("missed", consumer.missed)
            .field("skipped", consumer.skipped + counters.stale)
            .field("attaches", consumer.attaches)
            .build()
    }
}
