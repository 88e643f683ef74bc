//! The streaming thread: from the producer's items to buffers and events for downstream.

use super::followed::{Key, StreamStart};
use super::imp::Shm2Src;
use super::keyframe::Verdict;
use super::log::CAT;
use super::stream::{self, Reaction, Stream};
use super::timeline::Times;
use crate::clock::{Timebase, clock_time};
use crate::{events, lock, meta};
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use shm2::{Frame, ReceiveError};
use std::sync::atomic::Ordering;

impl Shm2Src {
    /// The next buffer for downstream, which has its stream, caps and events then. A producer may send items without end
    /// that are not for downstream, so each is a reason to check for cancellation.
    pub(super) fn next_buffer(&self, stream: &mut Stream) -> Result<gst::Buffer, gst::FlowError> {
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
            let is_stale = stream.is_mapped && lock(&self.resumption).is_stale(stream.due_time(&frame));
            let is_covered = stream.fill.covers(times.pts);
            match frame.is_event() {
                true if is_stale => {}
                true => self.push_event_item(stream, &frame, times),
                false if is_stale || is_covered => {
                    lock(&self.report).count_stale_frame();
                    stream.skip_late(frame, times);
                }
                false => return self.buffer(stream, frame, times),
            }
        }
    }

    fn buffer(&self, stream: &mut Stream, frame: Frame, times: Times) -> Result<gst::Buffer, gst::FlowError> {
        self.report_latency(frame.info().latency, stream.now_ns);
        self.notify_stats(stream.now_ns);
        let is_leased = frame.is_leased();
        let buffer = stream.buffer(frame, times).ok_or_else(|| self.refuse_layout())?;
        Ok(self.for_downstream(stream, buffer, is_leased))
    }

    #[cold]
    fn refuse_layout(&self) -> gst::FlowError {
        let text = "a frame's layout does not fit its bytes or caps";
        gst::element_imp_error!(self, gst::StreamError::Format, ("{text}"));
        gst::FlowError::Error
    }

    /// Notifies of `stats` once a second.
    pub(super) fn notify_stats(&self, now_ns: u64) {
        if lock(&self.report).is_stats_due(now_ns) {
            // On a thread of GStreamer's, so that a handler may block.
            self.obj().call_async(|src| src.notify("stats"));
        }
    }

    /// `None` if there is no frame for downstream yet.
    fn receive(&self, stream: &mut Stream) -> Result<Option<Frame>, gst::FlowError> {
        let settings = lock(&self.settings).receiving();
        let next = stream.next(&settings);
        if stream.is_attached() && self.is_keyframe_wanted.swap(false, Ordering::Relaxed) {
            self.request_keyframe(stream);
        }
        if stream.waits.has_changes() {
            self.report_silence(stream)?;
        }
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(error) => return self.react(stream, &error).map(|()| None),
        };
        lock(&self.report).count_received(stream.stats(), frame.is_leased() && !frame.is_event());
        let verdict = stream.judge(&frame);
        if verdict == Verdict::Give {
            return Ok(Some(frame));
        }
        self.drop_dependent(stream, &frame, verdict);
        Ok(None)
    }

    /// Drops a frame that depends on one that was not received.
    #[cold]
    fn drop_dependent(&self, stream: &mut Stream, frame: &Frame, verdict: Verdict) {
        gst::debug!(CAT, imp = self, "frame {} depends on one that was not received", frame.sequence());
        if verdict == Verdict::DropAndRequest {
            self.request_keyframe(stream);
        }
    }

    /// Asks the producer for a keyframe.
    fn request_keyframe(&self, stream: &mut Stream) {
        let is_told = stream.request_keyframe();
        gst::debug!(CAT, imp = self, "a keyframe is needed; the producer is told: {is_told}");
    }

    /// `Ok` if the element waits for another frame.
    #[cold]
    fn react(&self, stream: &mut Stream, error: &ReceiveError) -> Result<(), gst::FlowError> {
        match error {
            ReceiveError::Expelled { .. } => {
                gst::warning!(CAT, imp = self, "{error}");
                // The lease of the last frame is lost.
                stream.fill.clear();
            }
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
        if stream.followed.is_current(key) { Ok(Vec::new()) } else { self.follow_new(stream, frame, key) }
    }

    #[cold]
    fn follow_new(&self, stream: &mut Stream, frame: &Frame, key: Key) -> Result<Vec<gst::Event>, gst::FlowError> {
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
            // The last frame is of other caps.
            stream.fill.clear();
        }
        Ok(stream.followed.new_events(key, description.events))
    }

    fn start_stream(&self, stream: &mut Stream, start: Option<StreamStart>) {
        if !stream.followed.start() {
            return;
        }
        let src = self.obj();
        let (flags, id) = start
            .unwrap_or_else(|| (gst::StreamFlags::empty(), src.src_pad().create_stream_id(&*src, None).to_string()));
        gst::debug!(CAT, imp = self, "stream {id}");
        let event = gst::event::StreamStart::builder(&id).flags(flags).group_id(gst::GroupId::next()).build();
        // The pad pushes its sticky event again when another element is linked.
        *lock(&self.stream_start) = Some(event.seqnum());
        self.push(event);
    }

    /// The buffer, or a copy of it in the layout of the caps if downstream knows no other.
    fn for_downstream(&self, stream: &mut Stream, buffer: gst::Buffer, is_leased: bool) -> gst::Buffer {
        if !meta::has_layout(&buffer) {
            return buffer;
        }
        let (mut knows_layouts, src) = (stream.knows_layouts(), self.obj());
        let pad = src.src_pad();
        let packed = meta::repacked(&buffer, stream.followed.media(), || {
            if pad.check_reconfigure() {
                knows_layouts = None;
            }
            *knows_layouts.get_or_insert_with(|| knows_layouts_behind(pad))
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
        if let Some(timebase) = self.timebase(stream) {
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

    /// Where times of this pipeline are to be sent: its running time on the monotonic clock.
    pub(super) fn timebase(&self, stream: &mut Stream) -> Option<Timebase> {
        stream.is_mapped.then(|| stream.clock.timebase(&*self.obj())).flatten()
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
        if events.is_empty() && !stream.holds_events() {
            return;
        }
        let keeps_times = !stream.is_mapped && !self.obj().does_timestamp();
        let awaits_segment = keeps_times && !is_before_frame && !stream.has_segment();
        for event in stream.hold(events, awaits_segment) {
            self.push_after_segment(stream, event);
        }
    }

    /// The base class sends the segment not before the next buffer, also after a flush, with which the pad loses it.
    pub(super) fn push_after_segment(&self, stream: &mut Stream, event: gst::Event) {
        let is_lost = self.obj().src_pad().sticky_event::<gst::event::Segment>(0).is_none();
        if stream.take_unsent_segment() || is_lost {
            self.push(gst::event::Segment::new(&self.obj().segment()));
        }
        self.push(event);
    }

    /// Whether a state change or a flush keeps events from downstream.
    fn is_flushing(&self) -> bool {
        self.obj().src_pad().pad_flags().contains(gst::PadFlags::FLUSHING)
    }

    fn push(&self, event: gst::Event) {
        gst::debug!(CAT, imp = self, "{event:?}");
        // Downstream may refuse the event, which is no failure.
        let _ = self.obj().src_pad().push_event(event);
    }
}

/// Whether the elements behind the pad take video in any layout, by their answer to the allocation query.
fn knows_layouts_behind(pad: &gst::Pad) -> bool {
    let mut query = gst::query::Allocation::new(pad.current_caps().as_ref(), false);
    pad.peer_query(&mut query) && query.find_allocation_meta::<gst_video::VideoMeta>().is_some()
}
