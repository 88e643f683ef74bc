//! The stream while the source runs: frames from the consumer, and what downstream has of them.

use super::fill::{Fill, Last};
use super::followed::{Followed, Key};
use super::frame_buffer;
use super::keyframe::{Keyframes, Verdict};
use super::settings::{OnProducerExit, OnSilence, Receiving};
use super::stream_header::StreamHeader;
use super::timeline::{Timeline, Times};
use super::waits::{Due, Limits, Waits};
use crate::clock::{ClockMonitor, Timebase, clock_time};
use shm2::consumer::{Canceller, Change, ConsumerStats, WaitingFor};
use shm2::{AttachError, Consumer, Frame, ReceiveError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Most events that wait for a segment.
const MAX_HELD: usize = 100;

/// Used by the streaming thread only.
pub(super) struct Stream {
    consumer: Consumer,
    /// Its counts after the last [`next`](Self::next).
    stats: ConsumerStats,
    /// When the last [`next`](Self::next) ended, on the monotonic clock.
    pub(super) now_ns: u64,
    /// Whether times are mapped to the pipeline's running time, which does not change while the element runs.
    pub(super) is_mapped: bool,
    /// Called once in each wait for a producer.
    on_wait: Box<dyn FnMut(&WaitingFor) + Send>,
    pub(super) waits: Waits,
    /// When the consumer attached last, on the monotonic clock.
    attached_ns: Arc<AtomicU64>,
    pub(super) fill: Fill,
    on_silence: OnSilence,
    canceller: Canceller,
    pub(super) followed: Followed,
    pub(super) timeline: Timeline,
    pub(super) clock: ClockMonitor,
    is_segment_sent: bool,
    header: StreamHeader,
    keyframes: Keyframes,
    /// Frames were skipped since the last buffer.
    is_discontinuous: bool,
    /// An attach, and the number of its frames that had times.
    timed: (u64, u32),
    /// Events that wait for their segment.
    held: Vec<gst::Event>,
    /// Whether downstream knows layouts other than that of the caps, once it was asked.
    knows_layouts: Option<bool>,
}

impl Stream {
    pub(super) fn new(consumer: Consumer, is_mapped: bool) -> Self {
        Self {
            canceller: consumer.canceller(),
            stats: consumer.stats(),
            consumer,
            now_ns: 0,
            is_mapped,
            on_wait: Box::new(|_| {}),
            waits: Waits::default(),
            attached_ns: Arc::default(),
            fill: Fill::default(),
            on_silence: OnSilence::default(),
            followed: Followed::default(),
            timeline: Timeline::default(),
            clock: ClockMonitor::default(),
            is_segment_sent: false,
            header: StreamHeader::default(),
            keyframes: Keyframes::default(),
            is_discontinuous: false,
            timed: (0, 0),
            held: Vec::new(),
            knows_layouts: None,
        }
    }

    /// What downstream answered to [`set_knows_layouts`](Self::set_knows_layouts)'s question, if it was asked.
    pub(super) fn knows_layouts(&self) -> Option<bool> {
        self.knows_layouts
    }

    /// Sets whether downstream takes layouts other than that of the caps; `None` if it has to be asked again.
    pub(super) fn set_knows_layouts(&mut self, knows_layouts: Option<bool>) {
        self.knows_layouts = knows_layouts;
    }

    /// Calls `on_wait` when no producer has come for a second, once in each wait.
    pub(super) fn report_waits(&mut self, on_wait: impl FnMut(&WaitingFor) + Send + 'static) {
        self.on_wait = Box::new(on_wait);
    }

    /// Calls `on_change` at each attach and detach.
    pub(super) fn report_changes(&mut self, mut on_change: impl FnMut(Change) + Send + 'static) {
        let attached_ns = self.attached_ns.clone();
        self.consumer.observe(move |change| {
            attached_ns.store(shm2::monotonic_ns(), Ordering::Relaxed);
            on_change(change);
        });
    }

    /// Whether the streaming thread is to return.
    pub(super) fn is_cancelled(&self) -> bool {
        self.canceller.is_set()
    }

    pub(super) fn is_attached(&self) -> bool {
        self.consumer.is_attached()
    }

    /// The consumer's counts after the last item.
    pub(super) fn stats(&self) -> &ConsumerStats {
        &self.stats
    }

    /// Waits for the next frame or event. `None` when a silence begins or a slot is to be filled.
    pub(super) fn next(&mut self, settings: &Receiving) -> Result<Option<Frame>, ReceiveError> {
        self.consumer.set_latest_only(settings.latest_only);
        self.consumer.set_lag_limit(Duration::from_nanos(settings.lag_limit));
        if self.on_silence != settings.on_silence {
            self.on_silence = settings.on_silence;
            self.fill.clear();
        }
        let skipped = self.stats.skipped;
        let next = self.wait(settings.limits);
        self.stats = self.consumer.stats();
        let has_gap = |frame: &Frame| frame.is_discontinuity() || self.stats.skipped != skipped;
        if matches!(&next, Ok(Some(frame)) if has_gap(frame)) {
            self.keyframes.need();
        }
        next
    }

    fn wait(&mut self, limits: Limits) -> Result<Option<Frame>, ReceiveError> {
        loop {
            let now = self.observe_attachment();
            let deadlines = [self.waits.deadline(limits, now), self.fill.deadline(self.is_attached())];
            let deadline = deadlines.into_iter().flatten().min();
            let received = self.consumer.next(deadline.map(|at| Duration::from_nanos(at.saturating_sub(now))));
            let now = self.observe_attachment();
            match received {
                Ok(frame) => {
                    self.waits.item(now);
                    return Ok(Some(frame));
                }
                Err(ReceiveError::TimedOut) => {}
                Err(ReceiveError::Cancelled) => {
                    self.waits.cancel();
                    return Err(ReceiveError::Cancelled);
                }
                Err(error) => {
                    self.waits.end_silence(now);
                    return Err(error);
                }
            }
            match self.waits.due(limits, now) {
                Some(Due::NoProducer) => return Err(ReceiveError::TimedOut),
                Some(Due::ReportAbsence) => (self.on_wait)(&self.consumer.waiting_for()),
                Some(Due::Silence) => return Ok(None),
                None if self.fill.deadline(self.is_attached()).is_some_and(|at| at <= now) => return Ok(None),
                None => {}
            }
        }
    }

    /// Returns the time.
    fn observe_attachment(&mut self) -> u64 {
        self.now_ns = shm2::monotonic_ns();
        self.waits.observe(self.is_attached(), self.attached_ns.load(Ordering::Relaxed), self.now_ns);
        self.now_ns
    }

    /// Whether downstream can use the item: events always, frames unless they depend on one that was not received.
    pub(super) fn judge(&mut self, frame: &Frame) -> Verdict {
        if frame.is_event() {
            return Verdict::Give;
        }
        let is_delta = crate::flags::from_wire(frame.info().flags).contains(gst::BufferFlags::DELTA_UNIT);
        let verdict = self.keyframes.take(is_delta, self.now_ns);
        self.is_discontinuous |= verdict != Verdict::Give;
        verdict
    }

    /// Asks the producer for a keyframe; false if it cannot be told.
    pub(super) fn request_keyframe(&mut self) -> bool {
        self.consumer.request_keyframe()
    }

    /// A frame or event is not passed downstream: the next buffer is a discontinuity and depends on no other.
    pub(super) fn skip(&mut self) {
        self.keyframes.need();
        self.is_discontinuous = true;
    }

    /// A frame comes too late for downstream. The slots after it are filled from it on, so that those that follow can
    /// overtake the filled ones.
    pub(super) fn skip_late(&mut self, frame: Frame, times: Times) {
        if self.on_silence != OnSilence::Wait && self.followed.media().is_raw() {
            let _ = self.buffer(frame, times);
        }
        self.skip();
    }

    /// Downstream has forgotten what it had, and times may begin anew.
    pub(super) fn flushed(&mut self) {
        self.fill.clear();
        self.header.clear();
        self.skip();
    }

    /// Names the description that came with the frame.
    pub(super) fn key(&self, frame: &Frame) -> Key {
        Key { attach: self.stats.attaches, description: frame.caps().map_or(0, |(id, _)| id) }
    }

    /// When the item is due, on this process's monotonic clock. A frame without an absolute time is due when it was
    /// published; at once if that is not known.
    pub(super) fn due_time(&self, frame: &Frame) -> Option<u64> {
        // An event with a time is a gap.
        let is_timed = !frame.is_event() || frame.info().pts.is_some();
        let time = frame.info().time.or_else(|| frame.published_ns().filter(|_| is_timed));
        let local = time.map(|time| self.consumer.to_local(time));
        local.or_else(|| is_timed.then(shm2::monotonic_ns))
    }

    /// Running times of a frame in this pipeline. A frame without any time among others with times gets none: elements
    /// downstream know its place by those.
    pub(super) fn live_times(&mut self, frame: &Frame, timebase: Timebase) -> Times {
        let info = frame.info();
        let attach = self.stats.attaches;
        if self.timed.0 != attach {
            self.timed = (attach, 0);
        }
        if info.pts.is_some() || info.dts.is_some() {
            self.timed.1 = self.timed.1.saturating_add(u32::from(!frame.is_event()));
        } else if info.time.is_none() && self.timed.1 >= crate::clock::TIMED_FRAMES {
            return Times::default();
        }
        Times::live(&info, self.due_time(frame), timebase)
    }

    /// A new segment begins; downstream does not have it yet.
    pub(super) fn begin_segment(&mut self) {
        self.timeline.set_attach(self.stats.attaches);
        self.is_segment_sent = false;
        self.fill.begin_segment();
    }

    /// Whether the producer's segment has begun, for a source that keeps its times.
    pub(super) fn has_segment(&self) -> bool {
        self.timeline.is_of(self.stats.attaches)
    }

    /// Whether any event waits for its segment.
    pub(super) fn holds_events(&self) -> bool {
        !self.held.is_empty()
    }

    /// Adds events to those that wait for their segment; returns those that need not, or no longer, wait.
    pub(super) fn hold(&mut self, events: Vec<gst::Event>, awaits_segment: bool) -> Vec<gst::Event> {
        self.held.extend(events);
        let is_full = self.held.len() > MAX_HELD;
        if awaits_segment && !is_full { Vec::new() } else { std::mem::take(&mut self.held) }
    }

    /// Marks the segment as sent; true if it was not sent yet.
    pub(super) fn take_unsent_segment(&mut self) -> bool {
        !std::mem::replace(&mut self.is_segment_sent, true)
    }

    /// A buffer that waits to be given out before the next frame is received.
    pub(super) fn waiting_buffer(&mut self) -> Option<gst::Buffer> {
        self.header.waiting()
    }

    /// The buffer for a frame. After an attach in mid-stream the headers of the stream come first, and the frame's
    /// buffer [waits](Self::waiting_buffer). The base class sends the segment before them. `None` if the frame's metas do
    /// not fit its bytes or caps.
    pub(super) fn buffer(&mut self, frame: Frame, times: Times) -> Option<gst::Buffer> {
        self.is_segment_sent = true;
        let (duration, due_ns) = (frame.info().duration, self.due_time(&frame));
        let mut buffer = frame_buffer::over(frame, self.followed.media())?;
        if let Some(buffer) = buffer.get_mut() {
            if std::mem::take(&mut self.is_discontinuous) {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
            buffer.set_pts(times.pts.and_then(|pts| self.timeline.clock_time(pts)));
            buffer.set_dts(times.dts.and_then(|dts| self.timeline.clock_time(dts)));
            buffer.set_duration(duration.and_then(clock_time));
        }
        if self.on_silence != OnSilence::Wait {
            self.record(&buffer, due_ns, times.pts);
        }
        if self.followed.media().is_raw() {
            return Some(buffer);
        }
        Some(self.header.precede(self.stats.attaches, self.followed.caps(), buffer))
    }

    /// Keeps what is needed to fill the slots after this frame. Raw video is repeated; other media, which depend on the
    /// frames before or sound wrong, have gaps.
    fn record(&mut self, buffer: &gst::BufferRef, due_ns: Option<u64>, pts: Option<i64>) {
        let video = self.followed.media().video.as_ref();
        let rate = video.map(|video| (video.fps().numer(), video.fps().denom()));
        let period = rate.filter(|(numer, denom)| *numer > 0 && *denom > 0);
        let period = period.map(|(numer, denom)| 1_000_000_000 * denom as u64 / numer as u64);
        let duration = buffer.duration().map(gst::ClockTime::nseconds).or(period);
        let is_repeated = self.on_silence == OnSilence::Repeat && video.is_some();
        let held = is_repeated.then(|| buffer.copy());
        self.fill.record(Last { arrived_ns: shm2::monotonic_ns(), due_ns, pts, duration, held });
    }
}

/// What the element does after an error of [`Stream::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Wait for another frame.
    Continue,
    /// Return flushing.
    Flush,
    /// End the stream.
    End,
    /// Post an error.
    Fail,
}

impl Reaction {
    pub(super) fn to(error: &ReceiveError, on_producer_exit: OnProducerExit, is_attached: bool) -> Self {
        match (error, on_producer_exit) {
            (ReceiveError::Cancelled, _) => Self::Flush,
            (ReceiveError::EndOfStream, OnProducerExit::AlwaysReconnect) => Self::Continue,
            (ReceiveError::EndOfStream, _) => Self::End,
            // A consumer is expelled if its process was paused for longer than the lease time, as a virtual machine may
            // be. Its leases are lost, but the producer is alive.
            (
                ReceiveError::ProducerGone { .. } | ReceiveError::Expelled { .. },
                OnProducerExit::Reconnect | OnProducerExit::AlwaysReconnect,
            ) => Self::Continue,
            (ReceiveError::ProducerGone { .. }, OnProducerExit::Eos) => Self::End,
            // The time limit applies to the wait for a producer, and one has come.
            (ReceiveError::TimedOut, _) if is_attached => Self::Continue,
            _ => Self::Fail,
        }
    }
}

/// The error as the element posts it.
pub(super) fn error_message(error: &ReceiveError, shm_path: &str) -> gst::ErrorMessage {
    let code = match error {
        ReceiveError::TimedOut => {
            return gst::error_msg!(
                gst::ResourceError::NotFound,
                ("no producer came to {shm_path} in time: start it, or set a longer connection-timeout")
            );
        }
        ReceiveError::Attach(AttachError::Denied { .. }) => gst::ResourceError::NotAuthorized,
        ReceiveError::Attach(AttachError::Full { .. }) => gst::ResourceError::Busy,
        ReceiveError::Attach(_) => gst::ResourceError::OpenRead,
        _ => gst::ResourceError::Read,
    };
    gst::error_msg!(code, ("{error}"))
}

#[cfg(test)]
mod tests {
    use super::super::settings::Settings;
    use super::*;
    use shm2::{FrameInfo, Producer, Start};

    const LIMIT: Duration = Duration::from_secs(60);

    fn pair(test: &str) -> (Producer, Stream) {
        let directory = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
        let path = format!("{directory}shm2-gst-unit-{}-{test}", std::process::id());
        let producer = Producer::builder(&path).unwrap().size(16 << 20).create().unwrap();
        let consumer = shm2::Consumer::builder(&path).unwrap().start(Start::Oldest).events(true);
        (producer, Stream::new(consumer.attach(Some(LIMIT)).unwrap(), true))
    }

    fn info(flags: gst::BufferFlags) -> FrameInfo {
        let mut info = FrameInfo::new().with_pts(40);
        info.flags = flags.bits();
        info
    }

    fn next(stream: &mut Stream) -> Frame {
        stream.next(&Settings::default().receiving()).unwrap().unwrap()
    }

    #[test]
    fn frames_are_dropped_until_a_keyframe() {
        gst::init().unwrap();
        let (mut producer, mut stream) = pair("keyframe");
        let mut is_decodable = |stream: &mut Stream, flags| {
            producer.send(b"x", &info(flags)).unwrap();
            let frame = next(stream);
            stream.judge(&frame) == Verdict::Give
        };
        assert!(!is_decodable(&mut stream, gst::BufferFlags::DELTA_UNIT));
        assert!(is_decodable(&mut stream, gst::BufferFlags::empty()));
        assert!(is_decodable(&mut stream, gst::BufferFlags::DELTA_UNIT));
        stream.skip();
        assert!(!is_decodable(&mut stream, gst::BufferFlags::DELTA_UNIT));
        assert!(is_decodable(&mut stream, gst::BufferFlags::empty()));
    }

    #[test]
    fn a_buffer_has_the_times_and_marks_a_break() {
        gst::init().unwrap();
        let (mut producer, mut stream) = pair("buffer");
        producer.send(b"frame", &info(gst::BufferFlags::MARKER)).unwrap();
        let frame = next(&mut stream);
        stream.skip();
        assert!(stream.take_unsent_segment() && !stream.take_unsent_segment());
        let times = Times { pts: Some(7), dts: None, is_before_start: false };
        let buffer = stream.buffer(frame, times).unwrap();
        assert_eq!(&*buffer.map_readable().unwrap(), b"frame");
        assert_eq!((buffer.pts(), buffer.dts()), (Some(gst::ClockTime::from_nseconds(7)), None));
        assert!(buffer.flags().contains(gst::BufferFlags::MARKER | gst::BufferFlags::DISCONT));
    }

    #[test]
    fn a_lost_producer_is_waited_for_ends_the_stream_or_is_an_error() {
        let gone = ReceiveError::ProducerGone { path: "/x".into() };
        for (policy, reaction, at_end) in [
            (OnProducerExit::Reconnect, Reaction::Continue, Reaction::End),
            (OnProducerExit::Eos, Reaction::End, Reaction::End),
            (OnProducerExit::Error, Reaction::Fail, Reaction::End),
            (OnProducerExit::AlwaysReconnect, Reaction::Continue, Reaction::Continue),
        ] {
            assert_eq!(Reaction::to(&gone, policy, false), reaction);
            assert_eq!(Reaction::to(&ReceiveError::EndOfStream, policy, true), at_end);
            assert_eq!(Reaction::to(&ReceiveError::Cancelled, policy, true), Reaction::Flush);
            assert_eq!(Reaction::to(&ReceiveError::TimedOut, policy, true), Reaction::Continue);
            assert_eq!(Reaction::to(&ReceiveError::TimedOut, policy, false), Reaction::Fail);
        }
    }
}
