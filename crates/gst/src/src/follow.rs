//! What the producer says of its stream, handed on downstream: its beginning, caps, tags, events, latency.

use super::imp::{CAT, Shm2Src, Stream};
use super::timeline::Times;
use crate::caps::Media;
use crate::{clock, events, lock};
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use shm2::Frame;

/// What was handed on so far.
#[derive(Default)]
pub(super) struct Followed {
    /// Producer and number of the description that was looked at last.
    key: Option<(u64, u32)>,
    has_started: bool,
    caps: Option<gst::Caps>,
    /// What caps say.
    pub(super) media: Media,
    /// The sticky events that downstream has, as the bytes that they came from.
    sticky: Vec<Vec<u8>>,
}

impl Shm2Src {
    /// The base class begins a stream of its own before it knows the producer's. That one is held back.
    pub(super) fn hold_back_stream_start(&self) {
        let src = self.obj().downgrade();
        let pad = self.obj().static_pad("src");
        pad.iter().for_each(|pad| {
            let src = src.clone();
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                let start = info.event().filter(|event| event.type_() == gst::EventType::StreamStart);
                let ours = src.upgrade().map(|src| *lock(&src.imp().stream_start));
                let is_foreign = start.is_some_and(|start| ours.is_some_and(|ours| ours != Some(start.seqnum())));
                if is_foreign { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
            });
        });
    }

    /// Before each frame: what changed since the last one. Returns the events that come after the segment.
    pub(super) fn follow_stream(&self, stream: &mut Stream, frame: &Frame) -> Result<Vec<gst::Event>, gst::FlowError> {
        let caps = frame.caps();
        let key = (stream.consumer.stats().attaches, caps.map_or(0, |(id, _)| id));
        if stream.followed.key == Some(key) {
            return Ok(Vec::new());
        }
        let description = events::Description::of(frame.stream_blob());
        self.follow_start(&mut stream.followed, description.start);
        self.follow_caps(&mut stream.followed, caps.map_or(&[], |(_, text)| text))?;
        let (bytes, events): (Vec<_>, Vec<_>) = description.events.into_iter().unzip();
        let sent = std::mem::replace(&mut stream.followed.sticky, bytes);
        let now = &stream.followed.sticky;
        let new = now.iter().zip(events).filter(|(bytes, _)| !sent.contains(bytes));
        let mut new: Vec<_> = new.map(|(_, event)| event).collect();
        // Tags that are not said any more, as after a new producer, would else stay with downstream.
        let scopes = |all: &[Vec<u8>]| all.iter().filter_map(|bytes| events::tag_scope(bytes)).collect::<Vec<_>>();
        let gone = scopes(&sent).into_iter().filter(|scope| !scopes(now).contains(scope));
        new.extend(gone.map(events::no_tags));
        stream.followed.key = Some(key);
        Ok(new)
    }

    /// The stream begins once, as that of the first producer: players take another beginning for another file.
    pub(super) fn follow_start(&self, followed: &mut Followed, start: Option<(gst::StreamFlags, String)>) {
        if std::mem::replace(&mut followed.has_started, true) {
            return;
        }
        let src = self.obj();
        let (flags, id) = start.unwrap_or_else(|| {
            let id = src.static_pad("src").map(|pad| pad.create_stream_id(&*src, None));
            (gst::StreamFlags::empty(), id.map_or_else(String::new, |id| id.to_string()))
        });
        gst::debug!(CAT, imp = self, "stream {id}");
        let event = gst::event::StreamStart::builder(&id).flags(flags).group_id(gst::GroupId::next()).build();
        // It may be sent once more by itself, when another element is linked.
        *lock(&self.stream_start) = Some(event.seqnum());
        self.push(event);
    }

    fn follow_caps(&self, followed: &mut Followed, text: &[u8]) -> Result<(), gst::FlowError> {
        if text.is_empty() {
            return Ok(());
        }
        let Some(caps) = crate::caps::from_text(text) else {
            let text = String::from_utf8_lossy(text);
            gst::element_imp_error!(self, gst::StreamError::Format, ("the producer's caps are not caps: {text:?}"));
            return Err(gst::FlowError::Error);
        };
        if followed.caps.as_ref() == Some(&caps) {
            return Ok(());
        }
        gst::debug!(CAT, imp = self, "caps {caps}");
        self.obj().set_caps(&caps).map_err(|_| gst::FlowError::NotNegotiated)?;
        followed.media = Media::of(&caps);
        followed.caps = Some(caps);
        Ok(())
    }

    /// Tells the pipeline when the producer's latency changed.
    pub(super) fn follow_latency(&self, latency: u64) {
        let before = std::mem::replace(&mut lock(&self.counters).latency, latency);
        if before != latency {
            let src = self.obj();
            // Without a bus there is nobody to tell.
            let _ = src.post_message(gst::message::Latency::builder().src(&*src).build());
        }
    }

    /// Hands on an event that came between frames.
    pub(super) fn pass_between(&self, stream: &mut Stream, frame: &Frame, times: Times) {
        let time = |time: Option<u64>| time.and_then(clock::clock_time);
        let Some(event) = events::between(frame.meta(), time(times.pts), time(frame.info().duration)) else { return };
        if event.type_() == gst::EventType::Gap && times.is_before_start {
            return;
        }
        self.push_after_segment(stream, event);
    }

    /// The base class would send the segment with the next buffer only.
    pub(super) fn push_after_segment(&self, stream: &mut Stream, event: gst::Event) {
        if !std::mem::replace(&mut stream.segment_is_sent, true) {
            self.push(gst::event::Segment::new(&self.obj().segment()));
        }
        self.push(event);
    }

    fn push(&self, event: gst::Event) {
        gst::debug!(CAT, imp = self, "{event:?}");
        // Nobody downstream may want it; that is no failure.
        let _ = self.obj().static_pad("src").is_some_and(|pad| pad.push_event(event));
    }
}
