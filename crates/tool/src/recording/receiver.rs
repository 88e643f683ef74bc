//! The thread that copies the items of one region into messages.

use super::layout::{HEAD, Head, Kind};
use super::queue::Queue;
use super::{REGION_BYTES, Stream};
use shm2::{Consumer, Frame, Overview, ReceiveError};
use std::sync::Arc;

/// What a receiver passes on, with the index of its region.
pub struct Received {
    pub region: usize,
    pub what: What,
}

pub enum What {
    Message(Message),
    /// The receiver has ended; a failure says why.
    Ended {
        missed: u64,
        failure: Option<String>,
    },
}

/// A message that is to be written.
pub struct Message {
    pub kind: Kind,
    pub stream: Arc<Stream>,
    pub sequence: u64,
    /// Times of the real-time clock.
    pub log_time: u64,
    pub publish_time: u64,
    pub data: Vec<u8>,
}

pub struct Receiver {
    region: usize,
    name: String,
    consumer: Consumer,
    /// The real-time clock minus the monotonic one.
    offset: u64,
    /// Frames published before this time are recorded as of this time.
    begun: u64,
    last_log_time: u64,
    generation: Option<u64>,
    stream: Arc<Stream>,
}

impl Receiver {
    pub fn new(region: usize, name: &str, consumer: Consumer, offset: u64) -> Self {
        let begun = shm2::monotonic_ns().wrapping_add(offset);
        let stream = Arc::new(Stream::default());
        Self { region, name: name.into(), consumer, offset, begun, last_log_time: begun, generation: None, stream }
    }

    /// Passes items on until the consumer is cancelled or fails, the queue is closed, or `count` frames have come.
    pub fn run(mut self, queue: &Queue<Received>, count: Option<u64>) {
        let failure = self.receive(queue, count).err();
        // Without a place in the queue nobody reads the figures.
        let missed = self.consumer.stats().missed;
        let ended = Received { region: self.region, what: What::Ended { missed, failure } };
        let _ = queue.push(ended, 0);
        queue.leave();
    }

    fn receive(&mut self, queue: &Queue<Received>, count: Option<u64>) -> Result<(), String> {
        let mut frames = 0;
        // A consumer that lags behind finds frames also when it is cancelled.
        let canceller = self.consumer.canceller();
        while count.is_none_or(|count| frames < count) && !canceller.is_set() {
            let message = match self.consumer.next(None) {
                Ok(frame) => {
                    frames += u64::from(!frame.is_event());
                    self.message(&frame)
                }
                Err(ReceiveError::EndOfStream) => self.end(),
                // Attaches again. The next frame is a discontinuity.
                Err(ReceiveError::TimedOut | ReceiveError::Expelled { .. }) => continue,
                Err(ReceiveError::Cancelled) => break,
                Err(error) => return Err(error.to_string()),
            };
            let bytes = message.data.len();
            if !queue.push(Received { region: self.region, what: What::Message(message) }, bytes) {
                break;
            }
        }
        Ok(())
    }

    fn message(&mut self, frame: &Frame) -> Message {
        self.follow_stream(frame);
        let published = frame.published_ns().map_or_else(shm2::monotonic_ns, |time| self.consumer.to_local(time));
        let publish_time = published.wrapping_add(self.offset);
        let mut info = frame.info();
        info.time = info.time.map(|time| self.consumer.to_local(time).wrapping_add(self.offset));
        let head = Head {
            kind: if frame.is_event() { Kind::Event } else { Kind::Frame },
            info,
            is_discontinuity: frame.is_discontinuity(),
            sequence: frame.sequence(),
            missed: frame.missed(),
        };
        let mut data = Vec::with_capacity(HEAD + frame.meta().len() + frame.len());
        head.append_to(&mut data, frame.meta());
        let payload = data.len();
        data.resize(payload + frame.len(), 0);
        // The range is the whole payload. After a truncation the copy has zeros, and the next call reports it.
        let _ = frame.read_at(0, &mut data[payload..]);
        self.finish(&head, publish_time, data)
    }

    fn end(&mut self) -> Message {
        let head = Head::new(Kind::End);
        let mut data = Vec::with_capacity(HEAD);
        head.append_to(&mut data, &[]);
        self.finish(&head, shm2::monotonic_ns().wrapping_add(self.offset), data)
    }

    fn finish(&mut self, head: &Head, publish_time: u64, data: Vec<u8>) -> Message {
        // The times of a channel never decrease, also when another machine's clock is estimated anew.
        self.last_log_time = publish_time.max(self.begun).max(self.last_log_time);
        let (stream, log_time) = (self.stream.clone(), self.last_log_time);
        Message { kind: head.kind, stream, sequence: head.sequence, log_time, publish_time, data }
    }

    /// Notes other caps, and the size of a new region.
    fn follow_stream(&mut self, frame: &Frame) {
        let generation = self.consumer.generation();
        let caps = frame.caps().map(|(_, text)| text);
        let is_known = self.stream.caps.as_deref() == caps && self.stream.blob == frame.stream_blob();
        if is_known && generation == self.generation {
            return;
        }
        let mut region_bytes = self.stream.region_bytes;
        if generation != self.generation {
            region_bytes = Overview::of(&self.name).map_or(region_bytes, |overview| overview.bytes);
            self.generation = generation;
        }
        let stream = Stream { caps: caps.map(Into::into), blob: frame.stream_blob().into(), region_bytes };
        if stream != *self.stream {
            self.stream = Arc::new(stream);
        }
    }
}

/// The metadata of a channel.
pub fn metadata(stream: &Stream) -> std::collections::BTreeMap<String, String> {
    let caps = stream.caps.as_deref().map(|caps| (super::CAPS.into(), String::from_utf8_lossy(caps).into_owned()));
    let size = (stream.region_bytes > 0).then(|| (REGION_BYTES.into(), stream.region_bytes.to_string()));
    caps.into_iter().chain(size).collect()
}
