//! Events as [items](crate::items) of a region. Sticky events are in the stream's description, so that consumers that
//! attach later get them, too; the others are between the frames.
//!
//! | kind | event | bytes |
//! |---|---|---|
//! | 64 | stream-start | flags u32, then the stream's id |
//! | 65 | tags | scope u32 (0 stream, 1 global), then a structure as text: for each tag an array of its values |
//! | 66 | custom downstream, sticky | its structure as text |
//! | 67 | gap | none: the frame information has its time and duration |
//! | 68 | custom downstream | its structure as text |

use crate::caps::plain_text;
use crate::items::{ITEM_HEAD, Reader, item};
use crate::meta::Warning;
use crate::meta::text::structure;
use gst::prelude::*;
use std::collections::BTreeMap;

const STREAM_START: u16 = 64;
const TAGS: u16 = 65;
const STICKY: u16 = 66;
const GAP: u16 = 67;
const CUSTOM: u16 = 68;

/// Structures of events that are valid in one process only: probes of tracers, and requests to encoders with times of
/// the producer.
const LOCAL: &[&str] = &["latency_probe.id", "sub_latency_probe.id", "GstForceKeyUnit"];

/// Most sticky events in a description: for each event downstream searches all of them.
const MAX_STICKY: usize = 32;

/// Most bytes in a stream's description.
const MAX_BYTES: usize = shm2::layout::MAX_META as usize;

/// Sticky events of a stream, besides its caps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Flags and id.
    start: Option<(u32, String)>,
    /// By scope.
    tags: BTreeMap<u32, String>,
    /// Sticky custom events by name.
    custom: BTreeMap<String, String>,
    /// What was too large since the last [`take_warnings`](Self::take_warnings).
    warnings: Vec<Warning>,
}

/// How an event reaches the consumers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// The event concerns this process only.
    Local,
    /// As part of the stream's description.
    Described,
    /// The same, without values that have no form in a region.
    DescribedInPart,
    /// Between the frames, as these items.
    Between(Vec<u8>),
    /// The event has no form in a region.
    Dropped,
}

impl Stream {
    /// Encodes an event, or adds it to the description. Segments, caps and the end of the stream are handled elsewhere.
    pub(crate) fn take(&mut self, event: &gst::EventRef) -> Transport {
        match event.view() {
            gst::EventView::StreamStart(start) => self.start(start),
            gst::EventView::Tag(tags) => self.tag(tags.tag()),
            gst::EventView::CustomDownstreamSticky(custom) => match custom.structure().and_then(text_of) {
                Some(text) => {
                    let (name, length) = (name(event), text.len());
                    self.keep(&name.clone(), length, |stream| stream.custom.insert(name, text))
                }
                None => dropped_unless_local(event),
            },
            gst::EventView::Gap(_) => Transport::Between(single(GAP, &[])),
            gst::EventView::CustomDownstream(custom) => match custom.structure().and_then(text_of) {
                Some(text) if text.len() > MAX_BYTES - ITEM_HEAD => {
                    self.warnings.push(Warning::too_large(&name(event), text.len()));
                    Transport::Dropped
                }
                Some(text) => Transport::Between(single(CUSTOM, text.as_bytes())),
                None => dropped_unless_local(event),
            },
            gst::EventView::CustomDownstreamOob(_) => dropped_unless_local(event),
            gst::EventView::Toc(_) | gst::EventView::Protection(_) => Transport::Dropped,
            _ => Transport::Local,
        }
    }

    /// What was too large of the events since the last call.
    pub(crate) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    fn start(&mut self, start: &gst::event::StreamStart) -> Transport {
        let start = Some((start.stream_flags().bits(), start.stream_id().to_owned()));
        if self.start == start {
            return Transport::Described;
        }
        // Tags and sticky events of another stream do not describe this one.
        *self = Self { warnings: self.take_warnings(), ..Self::default() };
        let length = start.as_ref().map_or(0, |(_, id)| id.len());
        self.keep("stream-start", length, |stream| stream.start = start)
    }

    /// Keeps the tags that have a form in a region and fit, the short ones first.
    fn tag(&mut self, tags: &gst::TagListRef) -> Transport {
        let scope = u32::from(tags.scope() == gst::TagScope::Global);
        let mut all = Vec::new();
        for (name, values) in tags.iter_generic() {
            let mut alone = gst::Structure::new_empty("tags");
            alone.set_value(name, gst::Array::new(values.cloned()).to_send_value());
            all.push((name, text_of(&alone), alone));
        }
        all.sort_by_key(|(_, text, _)| text.as_ref().map_or(0, String::len));
        self.tags.remove(&scope);
        let others = self.bytes().len() + ITEM_HEAD + size_of::<u32>();
        let mut list = gst::Structure::new_empty("tags");
        let (mut length, mut is_whole) = (list.to_string().len(), true);
        for (name, text, alone) in &all {
            match (text, alone.value(*name)) {
                (Some(text), _) if others + length + text.len() > MAX_BYTES => {
                    self.warnings.push(Warning::too_large(name, text.len()));
                    is_whole = false;
                }
                (Some(text), Ok(value)) => {
                    list.set_value(*name, value.clone());
                    // The name of the structure is in this, too.
                    length += text.len();
                }
                // Images, for example, have no plain text.
                _ => is_whole = false,
            }
        }
        match self.keep("tags", length, |stream| stream.tags.insert(scope, list.to_string())) {
            Transport::Described if !is_whole => Transport::DescribedInPart,
            transport => transport,
        }
    }

    /// Makes a change unless it would make the description too large. The change adds `length` bytes under `name`.
    fn keep<T>(&mut self, name: &str, length: usize, change: impl FnOnce(&mut Self) -> T) -> Transport {
        let before = self.clone();
        change(self);
        if self.bytes().len() <= MAX_BYTES && self.tags.len() + self.custom.len() <= MAX_STICKY {
            return Transport::Described;
        }
        *self = before;
        self.warnings.push(Warning::too_large(name, length));
        Transport::Dropped
    }

    /// The encoded description.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut list = Vec::new();
        if let Some((flags, id)) = &self.start {
            item(&mut list, STREAM_START, &[&flags.to_le_bytes()[..], id.as_bytes()].concat());
        }
        for (scope, text) in &self.tags {
            item(&mut list, TAGS, &[&scope.to_le_bytes()[..], text.as_bytes()].concat());
        }
        self.custom.values().for_each(|text| item(&mut list, STICKY, text.as_bytes()));
        list
    }
}

fn single(kind: u16, bytes: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    item(&mut list, kind, bytes);
    list
}

/// Name of a custom event's structure.
fn name(event: &gst::EventRef) -> String {
    event.structure().map(|structure| structure.name().to_string()).unwrap_or_default()
}

fn dropped_unless_local(event: &gst::EventRef) -> Transport {
    let is_local = event.structure().is_some_and(|s| LOCAL.contains(&s.name().as_str()));
    if is_local { Transport::Local } else { Transport::Dropped }
}

/// As [`text::text_of`](crate::meta::text::text_of), but not for structures of one process.
fn text_of(plain: &gst::StructureRef) -> Option<String> {
    let is_local = LOCAL.contains(&plain.name().as_str());
    crate::meta::text::text_of(plain).filter(|_| !is_local)
}

/// A decoded description of a stream, without items that cannot be valid.
#[derive(Debug, Default)]
pub(crate) struct Description {
    /// Flags and id.
    pub(crate) start: Option<(gst::StreamFlags, String)>,
    /// The other sticky events, each with the item from which it was decoded.
    pub(crate) events: Vec<(Vec<u8>, gst::Event)>,
}

impl Description {
    pub(crate) fn of(list: &[u8]) -> Self {
        let mut description = Self::default();
        let mut reader = Reader(list);
        while let Some((kind, bytes)) = reader.item().filter(|_| description.events.len() < MAX_STICKY) {
            match kind {
                STREAM_START => description.start = stream_start(bytes),
                TAGS => description.keep(kind, bytes, tags(bytes)),
                STICKY => description.keep(kind, bytes, custom(bytes).map(gst::event::CustomDownstreamSticky::new)),
                _ => {}
            }
        }
        description
    }

    fn keep(&mut self, kind: u16, bytes: &[u8], event: Option<gst::Event>) {
        self.events.extend(event.map(|event| (single(kind, bytes), event)));
    }
}

/// The scope of the tags in an item; `None` for other items.
pub(crate) fn tag_scope(item: &[u8]) -> Option<gst::TagScope> {
    let (kind, bytes) = Reader(item).item()?;
    (kind == TAGS).then(|| Reader(bytes).u32().map(scope))?
}

/// An event that clears the tags of a scope.
pub(crate) fn no_tags(scope: gst::TagScope) -> gst::Event {
    let mut tags = gst::TagList::new();
    tags.make_mut().set_scope(scope);
    gst::event::Tag::new(tags)
}

fn scope(word: u32) -> gst::TagScope {
    if word == 0 { gst::TagScope::Stream } else { gst::TagScope::Global }
}

/// An event from between the frames, at a time on the consumer's timeline.
pub(crate) fn between(
    list: &[u8],
    time: Option<gst::ClockTime>,
    duration: Option<gst::ClockTime>,
) -> Option<gst::Event> {
    match Reader(list).item()? {
        (GAP, _) => Some(gst::event::Gap::builder(time?).duration(duration).build()),
        (CUSTOM, bytes) => custom(bytes).map(gst::event::CustomDownstream::new),
        _ => None,
    }
}

fn stream_start(bytes: &[u8]) -> Option<(gst::StreamFlags, String)> {
    let mut reader = Reader(bytes);
    let flags = gst::StreamFlags::from_bits_truncate(reader.u32()?);
    let id = plain_text(reader.0).filter(|id| !id.is_empty())?;
    Some((flags, id.to_owned()))
}

fn custom(bytes: &[u8]) -> Option<gst::Structure> {
    structure(bytes).filter(|s| !LOCAL.contains(&s.name().as_str()))
}

fn tags(bytes: &[u8]) -> Option<gst::Event> {
    let mut reader = Reader(bytes);
    let scope = scope(reader.u32()?);
    // Tags that this process does not know are left out: GLib logs a critical warning for their type.
    let all = structure(reader.0)?;
    let mut tags = gst::TagList::new();
    let list = tags.get_mut()?;
    list.set_scope(scope);
    for (name, values) in all.iter().filter(|(name, _)| gst::tag_exists(*name)) {
        let Ok(values) = values.get::<gst::ArrayRef>() else { continue };
        for value in values.iter().filter(|value| value.get::<&str>() != Ok("")) {
            // A value of a type that is not this tag's is left out.
            let _ = list.add_value(name, value, gst::TagMergeMode::Append);
        }
    }
    Some(gst::event::Tag::new(tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag_event(tags: &[(&str, &str)]) -> gst::Event {
        let mut list = gst::TagList::new();
        for (name, value) in tags {
            list.get_mut().unwrap().add_generic(*name, *value, gst::TagMergeMode::Append).unwrap();
        }
        gst::event::Tag::new(list)
    }

    #[test]
    fn a_description_of_a_stream_is_decoded() {
        gst::init().unwrap();
        let mut stream = Stream::default();
        let start = gst::event::StreamStart::builder("camera/1").flags(gst::StreamFlags::SPARSE).build();
        assert_eq!(stream.take(&start), Transport::Described);
        assert_eq!(
            stream.take(&tag_event(&[("title", "a \"b\" c"), ("artist", "x"), ("artist", "y")])),
            Transport::Described
        );
        let sticky = gst::Structure::builder("note").field("n", 5i32).build();
        assert_eq!(stream.take(&gst::event::CustomDownstreamSticky::new(sticky.clone())), Transport::Described);
        let back = Description::of(&stream.bytes());
        assert_eq!(back.start, Some((gst::StreamFlags::SPARSE, "camera/1".into())));
        let [(_, tags), (_, note)] = &back.events[..] else { panic!("{:?}", back.events) };
        let gst::EventView::Tag(tags) = tags.view() else { panic!("{tags:?}") };
        assert_eq!(tags.tag().get::<gst::tags::Title>().unwrap().get(), "a \"b\" c");
        assert_eq!(tags.tag().size_by_name("artist"), 2);
        assert_eq!(note.structure(), Some(&*sticky));
        // A repeated start keeps the tags; the start of another stream clears them.
        assert_eq!(stream.take(&start), Transport::Described);
        assert_eq!(stream.tags.len(), 1);
        stream.take(&gst::event::StreamStart::new("camera/2"));
        assert!(stream.tags.is_empty() && stream.custom.is_empty());
    }

    #[test]
    fn events_without_text_are_dropped_and_tracer_probes_are_local() {
        gst::init().unwrap();
        let mut stream = Stream::default();
        let object = gst::Structure::builder("thing").field("clock", gst::SystemClock::obtain()).build();
        assert_eq!(stream.take(&gst::event::CustomDownstream::new(object.clone())), Transport::Dropped);
        assert_eq!(stream.take(&gst::event::CustomDownstreamSticky::new(object)), Transport::Dropped);
        let probe = gst::Structure::builder("latency_probe.id").field("n", 1i32).build();
        assert_eq!(stream.take(&gst::event::CustomDownstream::new(probe)), Transport::Local);
        let long = "x".repeat(600_000);
        assert_eq!(stream.take(&tag_event(&[("title", &long)])), Transport::Described);
        let two = tag_event(&[("title", &long), ("comment", &long), ("artist", "short")]);
        assert_eq!(stream.take(&two), Transport::DescribedInPart);
        let [(_, tags)] = &Description::of(&stream.bytes()).events[..] else { panic!("one event") };
        let gst::EventView::Tag(tags) = tags.view() else { panic!("{tags:?}") };
        assert_eq!((tags.tag().n_tags(), tags.tag().get::<gst::tags::Artist>().unwrap().get()), (2, "short"));
        assert_eq!(stream.take_warnings().len(), 1);
        assert!(stream.take_warnings().is_empty());
        assert_eq!(stream.take(&gst::event::FlushStart::new()), Transport::Local);
    }

    #[test]
    fn invalid_items_of_a_peer_are_ignored() {
        gst::init().unwrap();
        let mut list = Vec::new();
        item(&mut list, TAGS, b"\0\0\0\0tags, title=< (int)5 >, no-such=< x >, artist=(string)z;");
        item(&mut list, TAGS, b"\0\0\0\0no structure (");
        item(&mut list, STREAM_START, b"\xff\xff\xff\xff");
        item(&mut list, STICKY, b"latency_probe.id;");
        item(&mut list, 999, b"?");
        list.extend(b"the rest is no item");
        let read = Description::of(&list);
        assert_eq!((read.start, read.events.len()), (None, 1));
        let gst::EventView::Tag(tags) = read.events[0].1.view() else { panic!() };
        assert!(tags.tag().n_tags() == 0);
        assert!(between(&single(GAP, &[]), None, None).is_none());
        assert!(between(b"\0", None, None).is_none() && between(&single(CUSTOM, b"\xff"), None, None).is_none());
    }
}
