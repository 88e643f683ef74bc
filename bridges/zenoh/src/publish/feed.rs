//! Items of a region as messages.

use crate::clock::Pair;
use crate::message::{self, Header, Kind, Stream};
use shm2::{Consumer, Frame, FrameInfo};
use shm2_media::Media;
use std::sync::{Arc, Mutex, PoisonError};
use zenoh::Wait;
use zenoh::pubsub::Publisher;

/// The stream as it was last sent, for those who ask.
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// 0 before the first message.
    instance: u64,
    /// Number of the description; 0 before the first one.
    pub stream: u32,
    /// Its text.
    pub caps: Arc<[u8]>,
    /// Its blob.
    pub blob: Arc<[u8]>,
}

impl Described {
    /// The header of a message without an item.
    pub fn header(&self, kind: Kind) -> Header {
        Header {
            kind,
            is_discontinuity: false,
            instance: self.instance,
            number: 0,
            sequence: 0,
            missed: 0,
            info: FrameInfo::new(),
            published: None,
            clocks: Pair::now(),
            stream: self.stream,
            size: 0,
        }
    }
}

/// One instance of a sender. Its numbers go on while nobody reads: a reader that was cut off finds out what it lost.
pub struct Feed {
    described: Arc<Mutex<Described>>,
    instance: u64,
    number: u64,
    stream: u32,
    /// Generation of the region, and number of its caps.
    known: Option<(Option<u64>, u32)>,
    /// Generation of the region, and the item that was sent last.
    last: Option<(u64, u64)>,
    /// Nothing was sent since [`begin`](Self::begin).
    has_begun: bool,
    /// Items that were missed before the consumer that reads now.
    missed_before: u64,
    missed: u64,
    /// Messages sent before it.
    sent_before: u64,
    is_newest_first: bool,
}

impl Feed {
    /// Begins an instance.
    pub fn new(described: Arc<Mutex<Described>>, is_newest_first: bool) -> Self {
        let instance = Pair::now().realtime;
        let (number, missed_before, missed, sent_before) = (0, 0, 0, 0);
        let (stream, known, last, has_begun) = (0, None, None, true);
        Self {
            described,
            instance,
            number,
            stream,
            known,
            last,
            has_begun,
            missed_before,
            missed,
            sent_before,
            is_newest_first,
        }
    }

    /// Somebody reads again, by a new consumer of the region.
    pub fn begin(&mut self) {
        (self.missed_before, self.sent_before) = (self.missed, self.number);
        (self.known, self.has_begun) = (None, true);
    }

    /// Counts the items that passed in the same region while nobody read; whether this is the first item since then.
    fn count_missed(&mut self, consumer: &Consumer, sequence: u64) -> bool {
        let (stats, generation) = (consumer.stats(), consumer.generation());
        let last = self.last.filter(|last| self.has_begun && Some(last.0) == generation);
        if let Some((_, last)) = last {
            let passed = sequence.saturating_sub(last).saturating_sub(1);
            self.missed_before += passed.saturating_sub(stats.missed + stats.skipped);
        }
        self.missed = self.missed_before + stats.missed;
        self.last = generation.map(|generation| (generation, sequence));
        std::mem::take(&mut self.has_begun) && self.number > 0
    }

    /// Sends a frame or an event.
    pub fn frame(&mut self, consumer: &mut Consumer, frame: Frame, publisher: &Publisher<'_>) -> Result<(), String> {
        let is_first = self.count_missed(consumer, frame.sequence());
        let (caps_number, caps) = frame.caps().unwrap_or((0, &[]));
        let is_new = self.known.replace((consumer.generation(), caps_number)) != self.known;
        if is_new {
            self.describe(caps, frame.stream_blob());
            // A unit of an encoded stream must not be left out.
            consumer.set_latest_only(self.is_newest_first && is_raw(caps));
        }
        let kind = if frame.is_event() { Kind::Event } else { Kind::Frame };
        let mut info = frame.info();
        info.time = info.time.map(|time| consumer.to_local(time));
        let published = frame.published_ns().map(|time| consumer.to_local(time));
        let header = Header {
            is_discontinuity: frame.is_discontinuity() || is_first,
            sequence: frame.sequence(),
            info,
            published,
            size: if kind == Kind::Frame { frame.len() as u64 } else { 0 },
            ..self.next_header(kind)
        };
        let description = is_new.then_some(Stream { caps, blob: frame.stream_blob() });
        let attachment = message::encode(&header, description, frame.meta());
        let payload = if kind == Kind::Frame { frame.to_vec() } else { Vec::new() };
        drop(frame);
        put(publisher, payload, attachment)
    }

    /// Sends the end of the stream.
    pub fn end(&mut self, publisher: &Publisher<'_>) -> Result<(), String> {
        let sequence = self.last.as_mut().map_or(0, |(_, sequence)| {
            *sequence += 1;
            *sequence
        });
        let header = Header { sequence, ..self.next_header(Kind::End) };
        put(publisher, Vec::new(), message::encode(&header, None, &[]))
    }

    /// What was sent and lost, for a message to the user.
    pub fn summary(&self, consumer: &Consumer) -> String {
        let stats = consumer.stats();
        let sent = self.number - self.sent_before;
        format!("{sent} sent, {} skipped for newer ones, {} missed", stats.skipped, stats.missed)
    }

    fn next_header(&mut self, kind: Kind) -> Header {
        self.number += 1;
        let described = Described { instance: self.instance, stream: self.stream, ..Described::default() };
        Header { number: self.number, missed: self.missed, ..described.header(kind) }
    }

    /// A stream without caps has a description, too: its readers must forget those of the one before.
    fn describe(&mut self, caps: &[u8], blob: &[u8]) {
        self.stream = self.stream.wrapping_add(1).max(1);
        let new = Described { instance: self.instance, stream: self.stream, caps: caps.into(), blob: blob.into() };
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

fn is_raw(caps: &[u8]) -> bool {
    matches!(Media::from_caps(caps), Ok(Media::Video(_)))
}

fn put(publisher: &Publisher<'_>, payload: Vec<u8>, attachment: Vec<u8>) -> Result<(), String> {
    publisher.put(payload).attachment(attachment).wait().map_err(|error| format!("a message was not sent: {error}"))
}
