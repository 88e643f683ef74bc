//! One camera: a region, and the node of PipeWire that shows it.
//!
//! The region is attached while somebody uses the node. Else only its caps are looked at from time to time, so that the
//! node offers the right format.

use crate::buffer::{Header, Last};
use crate::format::{self, Format};
use crate::node::Node;
use crate::pauses::Pauses;
use crate::pixels::Target;
use pipewire::core::CoreRc;
use shm2::consumer::WaitReason;
use shm2::{Consumer, Frame, Overview, ReceiveError, monotonic_ns};
use shm2_cli::camera::{Absence, PROGRAM};
use shm2_cli::complain;
use shm2_media::Media;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Time between two looks at the caps of a region that nobody watches.
const LOOK: Duration = Duration::from_secs(1);
/// Time without a picture after which one is repeated: readers that come later wait for their first one.
const SILENCE: Duration = Duration::from_millis(500);
/// Frames taken in one go, so that one fast region does not keep the others waiting.
const MOST_FRAMES: usize = 8;
/// Time for readers to agree on a new format, after which it is said that they do not.
const AGREEMENT: Duration = Duration::from_secs(2);

/// Time between two errors that are printed.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of the stream.
struct Stream {
    caps: Vec<u8>,
    media: Media,
    offers: Vec<Format>,
}

pub struct Camera {
    pub region: String,
    /// `node.name` of PipeWire.
    pub name: String,
    pub description: String,
    absence: Absence,
    node: Option<Node>,
    /// The last picture, also of a node that is gone.
    last: Rc<Last>,
    /// Before the node is made again.
    pauses: Pauses,
    /// When the node is made again.
    again: Instant,
    consumer: Option<Consumer>,
    stream: Option<Stream>,
    target: Option<Target>,
    /// The format of readers from before the stream changed. Some, as browsers, take no other one until they end.
    held: Option<Format>,
    /// Since when frames are left out because the readers have agreed on no format that is offered.
    disagreed: Option<Instant>,
    sequence: u64,
    sent: Instant,
    look: Instant,
    /// The error that was printed last, so that it is printed once.
    complaint: String,
    complained: Option<Instant>,
}

impl Camera {
    /// # Errors
    /// A sentence for a region that no camera can be made of.
    pub fn new(region: String, description: String, absence: Absence) -> Result<Self, String> {
        let waiting = shm2::consumer::WaitingFor::at(&region).map_err(|error| error.to_string())?;
        match &waiting.reason {
            WaitReason::Unusable(error) => return Err(error.clone()),
            WaitReason::NoFrame => {}
            _ => complain!("{PROGRAM}: the camera is dark until a producer comes: {waiting}"),
        }
        let now = Instant::now();
        let mut camera = Self {
            region,
            name: String::new(),
            description,
            absence,
            node: None,
            last: Rc::default(),
            pauses: Pauses::new(),
            again: now,
            consumer: None,
            stream: None,
            target: None,
            held: None,
            disagreed: None,
            sequence: 0,
            sent: now,
            look: now,
            complaint: String::new(),
            complained: None,
        };
        camera.look_at_caps()?;
        Ok(camera)
    }

    fn offers(&self) -> Vec<Format> {
        let Some(stream) = &self.stream else { return vec![Format::unknown()] };
        let held = self.held.filter(|held| !stream.offers.iter().any(|offer| offer.is_like(held)));
        stream.offers.iter().copied().chain(held).collect()
    }

    /// Makes the node.
    pub fn connect(&mut self, core: &CoreRc) -> Result<(), pipewire::Error> {
        let node = Node::new(core, &self.name, &self.description, &self.region, &self.offers(), &self.last);
        self.node = Some(node?);
        self.pauses.made();
        Ok(())
    }

    /// Makes the node again, after a pause, when PipeWire has ended it; until then the time at which it is made.
    fn restore(&mut self, core: &CoreRc) -> Option<Instant> {
        if let Some(end) = self.node.as_ref().and_then(Node::end) {
            self.disconnect();
            let pause = self.pauses.next();
            if pause == Pauses::FIRST {
                complain!("{PROGRAM}: {}: {end}; the camera is made again", self.region);
            }
            self.again = Instant::now() + pause;
        }
        if self.node.is_none() && Instant::now() >= self.again && self.connect(core).is_err() {
            self.again = Instant::now() + self.pauses.next();
        }
        self.node.is_none().then_some(self.again)
    }

    /// Without PipeWire, or its node.
    pub fn disconnect(&mut self) {
        (self.node, self.consumer, self.target) = (None, None, None);
    }

    /// Becomes readable when a frame may have come.
    pub fn descriptor(&mut self) -> Option<BorrowedFd<'_>> {
        self.consumer.as_mut()?.poll_fd().ok()
    }

    /// Does what is to be done now; returns when it wants to be called again at the latest.
    pub fn step(&mut self, core: &CoreRc) -> Instant {
        if let Some(again) = self.restore(core) {
            return again;
        }
        if !self.node.as_ref().is_some_and(Node::is_used) {
            self.consumer = None;
            return self.idle();
        }
        if self.consumer.is_none() {
            self.begin();
        }
        self.follow_format();
        for _ in 0..MOST_FRAMES {
            match self.consumer.as_mut().map(Consumer::try_next) {
                Some(Ok(Some(frame))) => self.show(&frame),
                // There may be frames after the end.
                Some(Err(ReceiveError::EndOfStream)) => {}
                Some(Err(error)) => {
                    self.complain(&error.to_string());
                    break;
                }
                _ => break,
            }
        }
        if self.sent.elapsed() >= SILENCE {
            self.repeat();
        }
        self.sent + SILENCE
    }

    /// Attaches to the region as soon as it has a producer.
    fn begin(&mut self) {
        match Consumer::builder(&self.region) {
            Ok(builder) => self.consumer = Some(builder.latest_only(true).build()),
            Err(error) => self.complain(&error.to_string()),
        }
        self.look = Instant::now();
    }

    fn idle(&mut self) -> Instant {
        let now = Instant::now();
        if self.held.take().is_some() {
            self.offer();
        }
        if now >= self.look {
            if let Err(error) = self.look_at_caps() {
                self.complain(&error);
            }
            self.look = now + LOOK;
        }
        self.look
    }

    /// Reads the caps without attaching.
    fn look_at_caps(&mut self) -> Result<(), String> {
        match Overview::of(&self.region).ok().and_then(|overview| overview.caps) {
            Some(caps) => self.describe(&caps),
            None => Ok(()),
        }
    }

    /// Takes over new caps.
    fn describe(&mut self, caps: &[u8]) -> Result<(), String> {
        if self.stream.as_ref().is_some_and(|stream| stream.caps == caps) {
            return Ok(());
        }
        let error = |error: String| format!("{}: {error}", self.region);
        let offers = format::offers(caps, &self.region).map_err(error)?;
        let media = Media::from_caps(caps).map_err(|e| error(e.to_string()))?;
        let is_other = self.stream.as_ref().is_none_or(|stream| stream.offers != offers);
        let agreed = self.target.as_ref().map(|target| target.format);
        self.held = agreed.filter(|format| format::is_convertible(&media, format)).or(self.held);
        self.stream = Some(Stream { caps: caps.to_vec(), media, offers });
        if is_other {
            self.offer();
        }
        Ok(())
    }

    fn offer(&self) {
        if let Some(node) = &self.node {
            node.offer(&self.offers());
        }
    }

    /// Takes over the format that the readers and the node agreed on.
    fn follow_format(&mut self) {
        let agreed = self.node.as_ref().and_then(Node::agreed);
        if self.target.as_ref().map(|target| target.format) != agreed {
            self.target = agreed.map(Target::new);
        }
    }

    fn show(&mut self, frame: &Frame) {
        let Some((_, caps)) = frame.caps() else {
            return self.complain(&format!(
                "{}: the region has no caps, which say what its bytes are: set them at the producer",
                self.region
            ));
        };
        if let Err(error) = self.describe(caps) {
            return self.complain(&error);
        }
        if let Err(error) = self.send(frame) {
            self.complain(&format!("{}: {error}", self.region));
        }
    }

    /// Sends a frame to the readers. It is left out while they agree on another format, or have all buffers.
    fn send(&mut self, frame: &Frame) -> Result<(), String> {
        let (Some(node), Some(stream), Some(target)) = (&self.node, &self.stream, &self.target) else { return Ok(()) };
        if !self.offers().iter().any(|offer| offer.is_like(&target.format)) {
            let since = *self.disagreed.get_or_insert_with(Instant::now);
            return if since.elapsed() < AGREEMENT { Ok(()) } else { Err(self.disagreement()) };
        }
        self.disagreed = None;
        let time = frame.info().time.or_else(|| frame.published_ns());
        let time_ns = time.map_or_else(monotonic_ns, |time| self.consumer.as_ref().map_or(time, |c| c.to_local(time)));
        let is_discontinuity = frame.is_discontinuity();
        let header = Header { time_ns, sequence: frame.sequence(), is_discontinuity };
        let sent = node.send(target, header, |to| target.fill(frame, &stream.media, to));
        if sent? {
            (self.sent, self.sequence) = (Instant::now(), frame.sequence());
            self.complaint.clear();
        }
        Ok(())
    }

    fn disagreement(&self) -> String {
        let list = |formats: Vec<String>| formats.join(" or ");
        let (offers, agreed) = (self.offers(), self.target.as_ref().map(|target| target.format));
        format!(
            "the stream is {} now, of which no {} is made: a reader that takes no other format keeps the last picture; \
             open the camera there again",
            list(offers.iter().map(Format::to_string).collect()),
            list(agreed.iter().map(Format::to_string).collect()),
        )
    }

    /// Sends the last picture again, or a dark one.
    fn repeat(&mut self) {
        let is_gone = !self.consumer.as_ref().is_some_and(Consumer::is_attached);
        self.sent = Instant::now();
        let (Some(node), Some(target)) = (&self.node, &self.target) else { return };
        let header = Header { time_ns: monotonic_ns(), sequence: self.sequence, is_discontinuity: false };
        if is_gone && self.absence == Absence::Blank {
            node.forget_last();
        }
        node.repeat(target, header);
    }

    /// Prints an error once, and one in a second at most: each frame may have another one.
    fn complain(&mut self, error: &str) {
        if self.complaint != error && self.complained.is_none_or(|time| time.elapsed() >= PAUSE) {
            complain!("{PROGRAM}: {error}");
            error.clone_into(&mut self.complaint);
            self.complained = Some(Instant::now());
        }
    }
}
