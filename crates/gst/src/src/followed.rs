//! What downstream knows of the producer's stream (start, caps, sticky events), and what is new to it before a frame.

use crate::caps::{self, Media};
use crate::events;
use std::fmt;

/// Flags and id of a stream.
pub(super) type StreamStart = (gst::StreamFlags, String);

/// State of the stream as downstream has it.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Description that was followed last.
    key: Option<Key>,
    has_started: bool,
    caps: Option<gst::Caps>,
    media: Media,
    /// Sticky events that downstream has, as the bytes from which they were decoded.
    sticky: Vec<Vec<u8>>,
}

/// Names one description of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Number of the attach to the producer.
    pub(super) attach: u64,
    /// Number of the description.
    pub(super) description: u32,
}

/// The producer's caps text cannot be parsed as fixed caps in system memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadCaps(String);

impl Followed {
    /// Whether downstream has all of this description.
    pub(super) fn is_current(&self, key: Key) -> bool {
        self.key == Some(key)
    }

    /// True on the first call only. The stream starts once, as that of the first producer: a player takes another start
    /// for another file.
    pub(super) fn start(&mut self) -> bool {
        !std::mem::replace(&mut self.has_started, true)
    }

    /// Caps that downstream does not have yet; confirm them with [`set_caps`](Self::set_caps).
    pub(super) fn new_caps(&self, text: &[u8]) -> Result<Option<gst::Caps>, BadCaps> {
        if text.is_empty() {
            return Ok(None);
        }
        let caps = caps::from_text(text).ok_or_else(|| BadCaps(String::from_utf8_lossy(text).into_owned()))?;
        Ok(Some(caps).filter(|caps| self.caps.as_ref() != Some(caps)))
    }

    /// Downstream accepted these caps.
    pub(super) fn set_caps(&mut self, caps: gst::Caps) {
        self.media = Media::of(&caps);
        self.caps = Some(caps);
    }

    /// Caps that downstream has.
    pub(super) fn caps(&self) -> Option<&gst::Caps> {
        self.caps.as_ref()
    }

    /// Raw media that the caps describe.
    pub(super) fn media(&self) -> &Media {
        &self.media
    }

    /// Ends a description with its sticky events, each with its bytes; returns the events that are new to downstream.
    pub(super) fn new_events(&mut self, key: Key, events: Vec<(Vec<u8>, gst::Event)>) -> Vec<gst::Event> {
        let (bytes, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        let sent = std::mem::replace(&mut self.sticky, bytes);
        let all_new = self.sticky.iter().zip(events).filter(|(bytes, _)| !sent.contains(bytes));
        let mut new: Vec<_> = all_new.map(|(_, event)| event).collect();
        // Downstream would keep the tags of a scope that has none any more, as after a change of producers.
        let current = tag_scopes(&self.sticky);
        new.extend(tag_scopes(&sent).into_iter().filter(|scope| !current.contains(scope)).map(events::no_tags));
        self.key = Some(key);
        new
    }
}

fn tag_scopes(sticky: &[Vec<u8>]) -> Vec<gst::TagScope> {
    sticky.iter().filter_map(|bytes| events::tag_scope(bytes)).collect()
}

impl fmt::Display for BadCaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the producer's caps are not caps: {:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Description;

    const KEY: Key = Key { attach: 1, description: 1 };

    fn events(tags: &[(&str, &str)]) -> Vec<(Vec<u8>, gst::Event)> {
        let mut list = gst::TagList::new();
        for (name, value) in tags {
            list.get_mut().unwrap().add_generic(*name, *value, gst::TagMergeMode::Append).unwrap();
        }
        let mut stream = events::Stream::default();
        if !tags.is_empty() {
            stream.take(&gst::event::Tag::new(list));
        }
        Description::of(&stream.bytes()).events
    }

    #[test]
    fn only_what_changed_is_new() {
        gst::init().unwrap();
        let mut followed = Followed::default();
        assert!(followed.start() && !followed.start());
        let caps = followed.new_caps(b"video/x-raw, format=(string)GRAY8, width=(int)5, height=(int)4").unwrap();
        followed.set_caps(caps.unwrap());
        assert_eq!(followed.media().frame_bytes(), Some(32));
        assert_eq!(followed.new_caps(b"video/x-raw, format=(string)GRAY8, width=(int)5, height=(int)4"), Ok(None));
        assert_eq!(followed.new_caps(b""), Ok(None));
        assert!(followed.new_caps(b"video/x-raw, width=[1,2]").is_err());
        assert!(!followed.is_current(KEY));
        assert_eq!(followed.new_events(KEY, events(&[("title", "a")])).len(), 1);
        assert!(followed.is_current(KEY));
        assert!(followed.new_events(KEY, events(&[("title", "a")])).is_empty());
        assert_eq!(followed.new_events(KEY, events(&[("title", "b")])).len(), 1);
    }

    #[test]
    fn tags_that_a_producer_no_longer_has_are_cleared() {
        gst::init().unwrap();
        let mut followed = Followed::default();
        followed.new_events(KEY, events(&[("title", "a")]));
        let [cleared] = &followed.new_events(KEY, events(&[]))[..] else { panic!("one event") };
        let gst::EventView::Tag(tags) = cleared.view() else { panic!("{cleared:?}") };
        assert_eq!(tags.tag().n_tags(), 0);
        assert!(followed.new_events(KEY, events(&[])).is_empty());
    }
}
