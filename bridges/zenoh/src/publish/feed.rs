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

/// One instance of a sender: its numbers begin anew.
pub struct Feed {
    described: Arc<Mutex<Described>>,
    instance: u64,
    number: u64,
    stream: u32,
    /// Generation of the region, and number of its caps.
    known: Option<(Option<u64>, u32)>,
    last_sequence: u64,
    missed: u64,
    is_newest_first: bool,
}

impl Feed {
    /// Begins an instance.
    pub fn new(described: Arc<Mutex<Described>>, is_newest_first: bool) -> Self {
        let instance = Pair::now().realtime;
        let (number, stream, last_sequence, missed) = (0, 0, 0, 0);
        Self { described, instance, number, stream, known: None, last_sequence, missed, is_newest_first }
    }

    /// Sends a frame or an event.
    pub fn frame(&mut self, consumer: &mut Consumer, frame: Frame, publisher: &Publisher<'_>) -> Result<(), String> {
        self.missed = consumer.stats().missed;
        let (caps_number, caps) = frame.caps().unwrap_or((0, &[]));
        let is_new = self.known.replace((consumer.generation(), caps_number)) != self.known || self.number == 0;
        if is_new {
            self.describe(caps, frame.stream_blob());
            // A unit of an encoded stream must not be left out.
            consumer.set_latest_only(self.is_newest_first && is_raw(caps));
        }
        let kind = if frame.is_event() { Kind::Event } else { Kind::Frame };
        let mut info = frame.info();
        info.time = info.time.map(|time| consumer.to_local(time));
        let published = frame.published_ns().map(|time| consumer.to_local(time));
        self.last_sequence = frame.sequence();
        let header = Header {
            is_discontinuity: frame.is_discontinuity(),
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
        let header = Header { sequence: self.last_sequence + 1, ..self.next_header(Kind::End) };
        put(publisher, Vec::new(), message::encode(&header, None, &[]))
    }

    /// What was sent and lost, for a message to the user.
    pub fn summary(&self, consumer: &Consumer) -> String {
        let stats = consumer.stats();
        format!("{} sent, {} skipped for newer ones, {} missed", self.number, stats.skipped, stats.missed)
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
