//! The local region of a region of another host. Whatever comes from the network is checked before it reaches this.

use super::gaps::{Arrival, Gaps};
use crate::clock::{Mapping, Observed, Pair};
use crate::message::{Header, Kind, Malformed, Message, Stream, decode};
use crate::report::Report;
use shm2::producer::Handle;
use shm2::{FrameInfo, FullPolicy, Producer, SendError};
use shm2_media::{Media, is_delta};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zenoh::sample::Sample;

/// `GST_BUFFER_FLAG_DISCONT`.
const DISCONT: u32 = 0x40;
/// Smallest arena of a local region.
const SMALLEST_ARENA: u64 = 4 << 20;
/// Frames of the largest size that an arena should hold.
const FRAMES: u64 = 4;
/// Time without the answer that describes the frames that come, after which the user is told.
const NO_ANSWER: Duration = Duration::from_secs(2);
/// Under `block`: longest wait for a local consumer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a local region is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its path.
    pub path: PathBuf,
    /// The other host's name for it, for messages.
    pub source: String,
    /// Most bytes of its arena, and of one frame.
    pub limit: u64,
    /// Arena; that of the source if not given.
    pub arena: Option<u64>,
    /// Frames kept for consumers that attach later.
    pub history: u32,
    /// Wait for slow local consumers.
    pub lossless: bool,
    /// Permission bits.
    pub perms: u32,
}

/// What the caller has to do after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    GoOn,
    /// Ask the publisher for its description and a keyframe.
    Ask,
}

/// The local region, and what is known of its source.
pub struct Local {
    settings: Settings,
    /// `None` only while it is replaced, and after that failed.
    producer: Option<Producer>,
    arena: u64,
    /// Bytes of an arena for which there was no space, while there are consumers.
    refused: Option<u64>,
    mapping: Mapping,
    gaps: Gaps,
    /// Number of the description that is set, with its instance.
    stream: Option<(u64, u32)>,
    /// What the region says of its frames; `None` after it could not be set.
    described: Option<Described>,
    /// Since then frames come without a description that is known.
    undescribed_since: Option<Instant>,
    /// An encoded stream is interrupted: nothing is of use before a keyframe.
    needs_keyframe: bool,
    /// The next frame follows on a gap.
    is_interrupted: bool,
    counts: Counts,
}

/// A stream's caps and blob, and what the caps mean. Caps that are not GStreamer's belong to a program of its own.
#[derive(Default)]
struct Described {
    caps: Vec<u8>,
    blob: Vec<u8>,
    media: Option<Media>,
}

#[derive(Debug, Default)]
struct Counts {
    published: u64,
    malformed: u64,
    undescribed: u64,
    not_decodable: u64,
    dropped: u64,
}

impl Local {
    /// Creates the region, for a source with this arena.
    ///
    /// # Errors
    /// A sentence with the value and the remedy.
    pub fn create(settings: Settings, source_arena: u64) -> Result<Self, String> {
        let arena = settings.arena.unwrap_or(source_arena).clamp(SMALLEST_ARENA, settings.limit.max(SMALLEST_ARENA));
        let producer = make(&settings, arena)?;
        Ok(Self {
            settings,
            producer: Some(producer),
            arena,
            refused: None,
            mapping: Mapping::default(),
            gaps: Gaps::default(),
            stream: None,
            described: Some(Described::default()),
            undescribed_since: None,
            needs_keyframe: false,
            is_interrupted: false,
            counts: Counts::default(),
        })
    }

    /// A handle of the producer that is there now.
    pub fn handle(&self) -> Option<Handle> {
        self.producer.as_ref().map(Producer::handle)
    }

    fn producer(&mut self) -> Result<&mut Producer, SendError> {
        self.producer.as_mut().ok_or(SendError::Closed)
    }

    /// Makes the region again if its file was removed or replaced.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn keep_name(&mut self, report: &Report) -> Result<(), String> {
        let Some(lost) = self.handle().and_then(|handle| handle.lost_name()) else { return Ok(()) };
        report.fault("name", || format!("{:?} is made again: {lost:?}", self.settings.path));
        self.replace(self.arena)?;
        self.set_stream(report).map(drop)
    }

    /// Nothing arrives from now on: what follows is not connected to what was before.
    pub fn interrupt(&mut self) {
        self.is_interrupted = true;
        (self.stream, self.refused) = (None, None);
        self.gaps.pause();
    }

    /// What was received and lost, for a message to the user.
    pub fn summary(&self, dropped_in_queue: u64) -> String {
        let (Counts { published, malformed, undescribed, not_decodable, dropped }, gaps) = (&self.counts, &self.gaps);
        format!(
            "{published} published, {} lost on the way, {} missed by the sender, {} dropped here, {undescribed} without \
             their description, {not_decodable} not decodable, {malformed} malformed, {} of other senders",
            gaps.lost,
            gaps.missed,
            dropped + dropped_in_queue,
            gaps.refused
        )
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// A sentence, when the region can no longer be used.
    pub fn take(&mut self, sample: &Sample, report: &Report) -> Result<Then, String> {
        let attachment = sample.attachment().map(|bytes| bytes.to_bytes()).unwrap_or_default();
        let message = match decode(&attachment, sample.payload().len() as u64, self.settings.limit) {
            Ok(message) => message,
            Err(error) => return Ok(self.refuse(&error, report)),
        };
        let header = message.header;
        let arrival = self.gaps.arrive(&header, Instant::now());
        match arrival {
            Arrival::Refused => {
                report.fault("senders", || {
                    let source = &self.settings.source;
                    format!("two bridges publish {source}, or messages come twice: only the later bridge's are taken")
                });
                return Ok(Then::GoOn);
            }
            Arrival::Next => {}
            Arrival::First | Arrival::AfterGap => {
                self.is_interrupted |= arrival == Arrival::AfterGap || self.counts.published > 0;
                self.needs_keyframe = self.is_encoded();
            }
        }
        if !self.describe(&header, message.description, report)? {
            self.counts.undescribed += u64::from(header.kind != Kind::Description);
            self.interrupted();
            return Ok(Then::Ask);
        }
        let sent = match header.kind {
            Kind::Frame => return self.frame(&message, sample, report),
            Kind::Description => return Ok(Then::GoOn),
            Kind::End => self.producer().and_then(Producer::end_of_stream),
            Kind::Event => {
                let info = self.local_info(&header, report);
                self.producer().and_then(|producer| producer.send_event(&info, message.meta))
            }
        };
        self.sent(sent, report).map(|_| Then::GoOn)
    }

    fn media(&self) -> Option<&Media> {
        self.described.as_ref()?.media.as_ref()
    }

    fn is_encoded(&self) -> bool {
        matches!(self.media(), Some(Media::Encoded(_)))
    }

    /// A frame was not published: the next one follows on a gap, and an encoded one must be a keyframe.
    fn interrupted(&mut self) {
        self.is_interrupted = true;
        self.needs_keyframe |= self.is_encoded();
    }

    fn refuse(&mut self, error: &Malformed, report: &Report) -> Then {
        self.counts.malformed += 1;
        // Each kind of fault is one sentence, whatever its numbers are.
        let kind = format!("malformed {:?}", std::mem::discriminant(error));
        report.fault(&kind, || format!("a message of {} was dropped: {error}", self.settings.source));
        Then::GoOn
    }

    /// Sets a new description; false if the message is of a stream that is not known, or that the region could not be
    /// told. An end belongs to no stream.
    fn describe(&mut self, header: &Header, new: Option<Stream<'_>>, report: &Report) -> Result<bool, String> {
        if header.kind == Kind::Description && !self.is_current(header) {
            return Ok(true);
        }
        let number = (header.instance, header.stream);
        let known = self.stream == Some(number);
        let Some(Stream { caps, blob }) = new.filter(|_| !known) else {
            let is_described = known || matches!(header.kind, Kind::Description | Kind::End);
            if !is_described {
                self.wait_for_description(report);
            }
            return Ok(is_described);
        };
        let old = self.described.as_ref();
        // The blob has tags, which change within a stream.
        let is_other = old.is_none_or(|old| old.caps != caps);
        if is_other || old.is_some_and(|old| old.blob != blob) {
            let media = Media::from_caps(caps).ok();
            self.described = Some(Described { caps: caps.to_vec(), blob: blob.to_vec(), media });
            if !self.set_stream(report)? {
                return Ok(false);
            }
        }
        if is_other {
            self.needs_keyframe = self.is_encoded();
        }
        (self.stream, self.undescribed_since) = (Some(number), None);
        Ok(true)
    }

    fn wait_for_description(&mut self, report: &Report) {
        let since = *self.undescribed_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= NO_ANSWER {
            report.fault("undescribed", || {
                format!(
                    "frames of {} come, but no answer says what they are: the access control of a router may not \
                     permit this host to query",
                    self.settings.source
                )
            });
        }
    }

    /// Whether a description is of the sender that is followed, and not older than what that has sent since. Another
    /// bridge of the same name answers, too, and an answer may come late.
    fn is_current(&self, header: &Header) -> bool {
        let is_followed = self.gaps.instance().is_none_or(|instance| instance == header.instance);
        is_followed && self.stream.is_none_or(|known| known.0 != header.instance || header.stream >= known.1)
    }

    /// Tells the region what its frames are. If that fails, frames must not have the description of the ones before:
    /// they wait until the publisher has described them again.
    fn set_stream(&mut self, report: &Report) -> Result<bool, String> {
        let described = self.described.take().unwrap_or_default();
        match self.producer().and_then(|producer| producer.set_stream(&described.caps, &described.blob)) {
            Ok(()) => self.described = Some(described),
            Err(error) => {
                self.stream = None;
                self.fault(&error, report)?;
            }
        }
        Ok(self.described.is_some())
    }

    fn frame(&mut self, message: &Message<'_>, sample: &Sample, report: &Report) -> Result<Then, String> {
        let (header, bytes) = (&message.header, sample.payload().len());
        if let Some(Err(error)) = self.media().map(|media| media.for_frame(message.meta, bytes as u64)) {
            self.counts.malformed += 1;
            report.fault("layout", || format!("a frame of {} was dropped: {error}", self.settings.source));
            return Ok(Then::GoOn);
        }
        if self.needs_keyframe && is_delta(header.info.flags) {
            self.counts.not_decodable += 1;
            return Ok(Then::Ask);
        }
        self.needs_keyframe = false;
        let mut info = self.local_info(header, report);
        if std::mem::take(&mut self.is_interrupted) {
            info.flags |= DISCONT;
        }
        if !self.grow_for(bytes as u64, report)? {
            self.counts.undescribed += 1;
            self.interrupted();
            return Ok(Then::Ask);
        }
        let sent = self.publish(sample, &info, message.meta);
        match self.sent(sent, report)? {
            true => self.counts.published += 1,
            false => self.interrupted(),
        }
        Ok(if self.needs_keyframe { Then::Ask } else { Then::GoOn })
    }

    fn publish(&mut self, sample: &Sample, info: &FrameInfo, meta: &[u8]) -> Result<u64, SendError> {
        let producer = self.producer()?;
        let mut slot = producer.reserve(sample.payload().len())?;
        let mut at = 0;
        for slice in sample.payload().slices() {
            slot.write_at(at, slice)?;
            at += slice.len();
        }
        producer.publish_with_meta(slot, info, meta)
    }

    /// Makes a larger region for larger frames, as far as the limit goes; consumers attach to it. Where there is no space
    /// it stays small: it is not made again for each frame. As [`set_stream`](Self::set_stream).
    fn grow_for(&mut self, bytes: u64, report: &Report) -> Result<bool, String> {
        let wanted = bytes.saturating_mul(FRAMES).min(self.settings.limit);
        let is_refused = self.refused.is_some_and(|refused| wanted >= refused);
        if self.settings.arena.is_some() || wanted <= self.arena || is_refused {
            return Ok(true);
        }
        match self.replace(wanted) {
            Ok(()) => self.arena = wanted,
            Err(error) => {
                self.refused = Some(wanted);
                report.fault("grow", || format!("the local region stays small: {error}"));
                self.replace(self.arena)?;
            }
        }
        self.set_stream(report)
    }

    /// A new producer in place of this one, which is closed first: both have the same name.
    fn replace(&mut self, arena: u64) -> Result<(), String> {
        self.producer = None;
        self.producer = Some(make(&self.settings, arena)?);
        Ok(())
    }

    /// False for an item that was dropped, which is counted; an error of the region ends its use.
    fn sent(&mut self, sent: Result<u64, SendError>, report: &Report) -> Result<bool, String> {
        if let Err(error) = &sent {
            self.fault(error, report)?;
            self.counts.dropped += 1;
            self.is_interrupted = true;
        }
        Ok(sent.is_ok())
    }

    /// Says what failed, unless it ends the use of the region.
    fn fault(&self, error: &SendError, report: &Report) -> Result<(), String> {
        if matches!(error, SendError::Closed | SendError::Superseded { .. } | SendError::Truncated { .. }) {
            return Err(error.to_string());
        }
        report.fault("dropped", || format!("{}: {error}", self.settings.source));
        Ok(())
    }

    /// An item's times on this host's clock.
    fn local_info(&mut self, header: &Header, report: &Report) -> FrameInfo {
        match self.mapping.observe(header.clocks, Pair::now()) {
            Observed::Same => {}
            Observed::Set => self.is_interrupted |= self.counts.published > 0,
            Observed::Disagree(by) => report.fault("clocks", || {
                let source = &self.settings.source;
                format!(
                    "the clocks of this host and of {source} differ by {:.1} s, so frames have their time of arrival: \
                     synchronize both (NTP or PTP)",
                    by.as_secs_f64()
                )
            }),
        }
        let mut info = header.info;
        info.time = info.time.and_then(|time| self.mapping.to_local(time));
        info
    }
}

fn make(settings: &Settings, arena: u64) -> Result<Producer, String> {
    let policy = match settings.lossless {
        true => FullPolicy::Block { timeout: Some(PATIENCE) },
        false => FullPolicy::DropOldest,
    };
    let builder = Producer::builder(&settings.path.to_string_lossy()).map_err(|error| error.to_string())?;
    let builder = builder.arena(arena).history(settings.history).full_policy(policy).perms(settings.perms);
    builder.create().map_err(|error| error.to_string())
}
