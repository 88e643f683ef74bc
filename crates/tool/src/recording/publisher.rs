//! The thread that publishes the frames of one recorded region when they are due.

use super::Stream;
use super::layout::{Kind, parse};
use super::queue::{Popped, Queue};
use shm2::{FrameInfo, FullPolicy, Producer, SendError};
use shm2_cli::stop::Stop;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are read ahead for a region.
const AHEAD: usize = 64 << 20;

/// A message and the time at which it is due.
pub struct Due {
    /// `None` for at once.
    pub at: Option<Instant>,
    pub stream: Arc<Stream>,
    pub publish_time: u64,
    pub data: Vec<u8>,
}

/// What was published.
#[derive(Debug, Clone, Copy, Default)]
pub struct Published {
    pub frames: u64,
    /// Frames without free space, and frames that were retired before every consumer had read them.
    pub dropped: u64,
    /// Messages that are not of the layout of this program.
    pub unreadable: u64,
}

pub struct Publisher {
    pub name: String,
    producer: Producer,
    stream: Arc<Stream>,
    frames: u64,
    unreadable: u64,
}

/// How regions are made.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Size of each region; the recorded one if not given.
    pub size: Option<u64>,
    pub block: bool,
}

/// A queue to one publisher.
pub fn queue() -> Queue<Due> {
    Queue::new(AHEAD, 1)
}

impl Publisher {
    /// Makes the region.
    ///
    /// # Errors
    /// As for any producer.
    pub fn create(name: &str, recorded_bytes: u64, settings: Settings) -> Result<Self, shm2::CreateError> {
        let policy = if settings.block { FullPolicy::Block { timeout: None } } else { FullPolicy::DropOldest };
        let mut builder = Producer::builder(name)?.full_policy(policy);
        if let Some(bytes) = settings.size.or((recorded_bytes > 0).then_some(recorded_bytes)) {
            builder = builder.size(bytes);
        }
        let producer = builder.create()?;
        Ok(Self { name: name.into(), producer, stream: Arc::default(), frames: 0, unreadable: 0 })
    }

    pub fn handle(&self) -> shm2::producer::Handle {
        self.producer.handle()
    }

    /// Publishes what comes through the queue, then the end of the stream, and waits until consumers have read it, for
    /// `drain` at most.
    pub fn run(mut self, queue: &Queue<Due>, stop: &Stop, drain: Duration) -> Result<Published, String> {
        let result = self.publish_all(queue, stop);
        queue.close();
        match result {
            Ok(()) | Err(SendError::Cancelled) => {}
            Err(error) => return Err(format!("{}: {error}", self.name)),
        }
        if !stop.is_set() {
            self.producer.end_of_stream().map_err(|error| format!("{}: {error}", self.name))?;
            self.producer.drain(drain);
        }
        let stats = self.producer.handle().stats();
        let dropped = stats.dropped_oldest + stats.dropped_newest + stats.dropped_too_large;
        Ok(Published { frames: self.frames, dropped, unreadable: self.unreadable })
    }

    fn publish_all(&mut self, queue: &Queue<Due>, stop: &Stop) -> Result<(), SendError> {
        while !stop.is_set() {
            match queue.pop(Duration::from_secs(1)) {
                Popped::Item(due) => self.publish(&due, stop)?,
                Popped::Nothing => {}
                Popped::Ended => break,
            }
        }
        Ok(())
    }

    fn publish(&mut self, due: &Due, stop: &Stop) -> Result<(), SendError> {
        // A message that cannot be taken apart is from another program.
        let Some(parts) = parse(&due.data) else {
            self.unreadable += 1;
            return Ok(());
        };
        let info = |at: u64| {
            let mut info = parts.head.info;
            info.time = info.time.map(|time| at.wrapping_add(time.wrapping_sub(due.publish_time)));
            info
        };
        let sent = match parts.head.kind {
            Kind::Frame => self.frame(due, parts.payload, parts.meta, info, stop),
            Kind::Event => self.prepare(due, stop).and_then(|at| self.producer.send_event(&info(at), parts.meta)),
            Kind::End => self.prepare(due, stop).and_then(|_| self.producer.end_of_stream()),
        };
        self.frames += u64::from(parts.head.kind == Kind::Frame && sent.is_ok());
        // The producer counts what it drops.
        sent.map(drop).or_else(|error| if error.is_drop() { Ok(()) } else { Err(error) })
    }

    /// The bytes are in the region before the frame is due.
    fn frame(
        &mut self,
        due: &Due,
        payload: &[u8],
        meta: &[u8],
        info: impl Fn(u64) -> FrameInfo,
        stop: &Stop,
    ) -> Result<u64, SendError> {
        let mut reservation = self.producer.reserve(payload.len())?;
        reservation.write_at(0, payload)?;
        let at = self.prepare(due, stop)?;
        self.producer.publish_with_meta(reservation, &info(at), meta)
    }

    /// Waits until the message is due, and sets its caps. The time at which it is published.
    fn prepare(&mut self, due: &Due, stop: &Stop) -> Result<u64, SendError> {
        while let Some(left) = due.at.map(|at| at.saturating_duration_since(Instant::now()))
            && !left.is_zero()
        {
            stop.pause(left);
            if stop.is_set() {
                return Err(SendError::Cancelled);
            }
        }
        if !Arc::ptr_eq(&self.stream, &due.stream) {
            let Stream { caps, blob, .. } = &*due.stream;
            // The library has no way back to no caps.
            if let Some(caps) = caps {
                self.producer.set_stream(caps, blob)?;
            }
            self.stream = due.stream.clone();
        }
        Ok(shm2::monotonic_ns())
    }
}
