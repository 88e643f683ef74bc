//! From a buffer to a frame: in place if its memory belongs to the arena, else by one copy.

pub(super) use super::timing::Timing;
use crate::caps::Media;
use crate::meta::Warning;
use crate::{allocator, flags, meta};
use shm2::{FrameInfo, Producer, SendError};
use std::fmt;

/// The producer with the caps and the description of its stream.
pub(super) struct Publisher {
    producer: Producer,
    caps: String,
    /// Sticky events of the stream, as [`crate::events::Stream::bytes`] encodes them.
    description: Vec<u8>,
    /// Caps or description changed and go with the next item; until then the arena may have no free space for them.
    is_changed: bool,
    /// The caps that the region shows, if it shows them without a description.
    shown: Option<String>,
    /// No item was published with the present caps and description.
    is_unpublished: bool,
    media: Media,
    /// Fallback or cleared memory. The reference keeps upstream's pool from reusing it, so that the pool allocates new
    /// memory.
    _unusable: Option<gst::Buffer>,
}

/// How a buffer was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) path: Path,
    /// Metas that have no form in a region, or were too large.
    pub(super) metas_dropped: u64,
    /// What was dropped and is worth a warning.
    pub(super) warnings: Vec<Warning>,
    /// The stream's description was too large for the region.
    pub(super) is_description_dropped: bool,
}

/// Path of a buffer's bytes into the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    ZeroCopy,
    Copy,
}

impl Publisher {
    /// `description` is that of [`set_description`](Self::set_description).
    pub(super) fn new(producer: Producer, description: Vec<u8>) -> Self {
        let is_changed = !description.is_empty();
        Self {
            producer,
            caps: String::new(),
            description,
            is_changed,
            shown: None,
            is_unpublished: is_changed,
            media: Media::default(),
            _unusable: None,
        }
    }

    pub(super) fn into_producer(self) -> Producer {
        self.producer
    }

    /// Continues the stream with another producer; returns the previous one.
    pub(super) fn replace_producer(&mut self, producer: Producer) -> Producer {
        self.is_changed = !self.caps.is_empty() || !self.description.is_empty();
        let previous = std::mem::replace(&mut self.producer, producer);
        let shown = self.shown.take().unwrap_or_else(|| self.caps.clone());
        // A new region has space for them.
        if !shown.is_empty() && self.producer.set_caps(shown.as_bytes()).is_ok() {
            self.shown = Some(shown);
        }
        previous
    }

    /// Caps for the frames that follow.
    pub(super) fn set_caps(&mut self, caps: &gst::CapsRef) {
        self.caps = caps.to_string();
        (self.is_changed, self.is_unpublished) = (true, true);
        self.media = Media::of(caps);
    }

    /// Shows caps in the region before the first item with them, for programs that list regions. They are shown with that
    /// item at the latest, when there is no free space now.
    pub(super) fn show_caps(&mut self, caps: &gst::CapsRef) {
        let text = caps.to_string();
        let is_shown = self.shown.as_ref() == Some(&text) || self.producer.set_caps(text.as_bytes()).is_ok();
        if is_shown {
            self.is_changed = text != self.caps || !self.description.is_empty();
            self.shown = Some(text);
        }
    }

    /// Sticky events for the frames that follow, besides their caps.
    pub(super) fn set_description(&mut self, description: Vec<u8>) {
        let is_other = self.description != description;
        self.is_changed |= is_other;
        self.is_unpublished |= is_other;
        self.description = description;
    }

    /// Publishes a buffer; of its metas only the layout unless `with_metas`.
    pub(super) fn publish(
        &mut self,
        buffer: &gst::Buffer,
        timing: Timing,
        latency: u64,
        with_metas: bool,
    ) -> Result<Sent, PublishError> {
        let is_described = self.publish_stream().inspect_err(|error| {
            if error.is_drop() {
                self.producer.handle().count_dropped();
            }
        })?;
        let info = frame_info(buffer, timing, latency);
        let mut metas = meta::encode(buffer, &self.media).map_err(PublishError::Layout)?;
        if !with_metas {
            metas.drop_others();
        }
        let path = self.publish_bytes(metas.packed.as_ref().unwrap_or(buffer), &info, &metas.bytes)?;
        self.is_unpublished = false;
        let (metas_dropped, warnings) = (metas.dropped, metas.warnings);
        Ok(Sent { path, metas_dropped, warnings, is_description_dropped: !is_described })
    }

    /// Publishes an event between two frames.
    pub(super) fn publish_event(&mut self, info: &FrameInfo, items: &[u8]) -> Result<(), SendError> {
        self.publish_stream()?;
        self.producer.send_event(info, items)?;
        self.is_unpublished = false;
        Ok(())
    }

    pub(super) fn end_of_stream(&mut self) -> Result<(), SendError> {
        if self.is_unpublished {
            // An empty event carries sticky events that no frame followed.
            self.publish_event(&FrameInfo::new(), &[])?;
        }
        self.producer.end_of_stream().map(drop)
    }

    /// Publishes caps and description if they changed. False if the region has space for the caps only.
    fn publish_stream(&mut self) -> Result<bool, SendError> {
        if !self.is_changed {
            return Ok(true);
        }
        let mut outcome = self.producer.set_stream(self.caps.as_bytes(), &self.description);
        let is_too_large = matches!(outcome, Err(SendError::TooLarge { .. })) && !self.description.is_empty();
        if is_too_large {
            outcome = self.producer.set_caps(self.caps.as_bytes());
        }
        outcome?;
        self.is_changed = false;
        self.shown = self.description.is_empty().then(|| self.caps.clone());
        Ok(!is_too_large)
    }

    fn publish_bytes(&mut self, buffer: &gst::Buffer, info: &FrameInfo, metas: &[u8]) -> Result<Path, PublishError> {
        let memories = buffer.n_memory();
        let cleared = (0..memories).find(|index| allocator::is_cleared(buffer.peek_memory(*index)));
        self._unusable = cleared.and_then(|index| buffer.memory(index)).map(private_buffer);
        if self._unusable.is_some() {
            self.producer.handle().check()?;
            self.producer.handle().count_dropped();
            return Err(SendError::Cleared { bytes: buffer.size() as u64 }.into());
        }
        if memories == 1 {
            let memory = buffer.peek_memory(0);
            if self.publish_in_place(memory, info, metas)? {
                return Ok(Path::ZeroCopy);
            }
            if allocator::is_fallback(memory) {
                self._unusable = buffer.memory(0).map(private_buffer);
            }
        }
        self.publish_copy(buffer, info, metas)?;
        Ok(Path::Copy)
    }

    /// False if the memory belongs to another arena or none, or is still mapped for writing.
    fn publish_in_place(&mut self, memory: &gst::MemoryRef, info: &FrameInfo, metas: &[u8]) -> Result<bool, SendError> {
        let Some((reservation, part)) = allocator::reservation(memory) else { return Ok(false) };
        if !self.producer.owns(reservation) {
            return Ok(false);
        }
        // The memory is not writable for as long as consumers may read it.
        let Some(keep) = allocator::Hold::new(memory) else { return Ok(false) };
        self.producer.publish_part(reservation, part, info, metas, Box::new(keep)).map(|_| true)
    }

    fn publish_copy(&mut self, buffer: &gst::Buffer, info: &FrameInfo, metas: &[u8]) -> Result<(), PublishError> {
        let mut reservation = self.producer.reserve(buffer.size())?;
        let mut offset = 0;
        for memory in buffer.iter_memories() {
            let map = memory.map_readable().map_err(|_| {
                self.producer.handle().count_dropped();
                PublishError::Unmappable { bytes: buffer.size() as u64 }
            })?;
            reservation.write_at(offset, &map)?;
            offset += map.size();
        }
        Ok(self.producer.publish_with_meta(reservation, info, metas).map(drop)?)
    }
}

/// A buffer of the sink's own around a memory of upstream's.
fn private_buffer(memory: gst::Memory) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    if let Some(buffer) = buffer.get_mut() {
        buffer.append_memory(memory);
    }
    buffer
}

fn frame_info(buffer: &gst::BufferRef, timing: Timing, latency: u64) -> FrameInfo {
    let mut info = timing.frame_info();
    info.offset = Some(buffer.offset()).filter(|o| *o != gst::ffi::GST_BUFFER_OFFSET_NONE);
    info.offset_end = Some(buffer.offset_end()).filter(|o| *o != gst::ffi::GST_BUFFER_OFFSET_NONE);
    info.flags = flags::to_wire(buffer);
    info.latency = latency;
    info
}

/// Why a buffer was not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublishError {
    Send(SendError),
    /// Upstream's memory cannot be mapped for reading. The frame was counted as dropped.
    Unmappable {
        bytes: u64,
    },
    /// The frame's layout contradicts the caps, and that of the caps does not fit. Has the reason.
    Layout(String),
}

/// What the element does after a [`PublishError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Publish the same buffer again after preroll: the pipeline was paused or flushed during the wait.
    Retry,
    /// Continue with the next buffer.
    Drop,
    /// Return flushing.
    Flush,
    /// Replace the region by one for frames of so many bytes, or fail.
    Grow { bytes: u64 },
    /// Post an error.
    Fail(gst::ResourceError),
    /// Post an error about the stream.
    Refuse,
}

impl PublishError {
    pub(super) fn reaction(&self) -> Reaction {
        match self {
            Self::Unmappable { .. } => Reaction::Drop,
            Self::Layout(_) => Reaction::Refuse,
            Self::Send(SendError::Cancelled) => Reaction::Retry,
            Self::Send(error) if error.is_drop() => Reaction::Drop,
            Self::Send(SendError::Closed) => Reaction::Flush,
            Self::Send(SendError::TooLarge { bytes, .. }) => Reaction::Grow { bytes: *bytes },
            Self::Send(SendError::Truncated { .. } | SendError::Superseded { .. }) => {
                Reaction::Fail(gst::ResourceError::Write)
            }
            Self::Send(_) => Reaction::Fail(gst::ResourceError::NoSpaceLeft),
        }
    }

    /// What to do about a dropped frame, for the warning.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Unmappable { .. } => "upstream's memory is not readable; convert it to system memory first",
            Self::Send(SendError::Cleared { .. }) => {
                "the region stays in use; a frame that upstream keeps and sends again is lost each time"
            }
            Self::Layout(_) => "upstream attached a meta that is not for these caps",
            Self::Send(_) => "consumers hold, or have not read, all that is there; stats counts the frames that follow",
        }
    }
}

impl From<SendError> for PublishError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) => error.fmt(f),
            Self::Layout(reason) => f.write_str(reason),
            Self::Unmappable { bytes } => {
                write!(
                    f,
                    "the memory of a frame of {bytes} bytes cannot be mapped for reading; the frame was dropped"
                )?;
                write!(f, " and counted")
            }
        }
    }
}

impl std::error::Error for PublishError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_reaction() {
        let path = std::path::PathBuf::from("/x");
        for (error, reaction) in [
            (SendError::Cancelled, Reaction::Retry),
            (SendError::Recovering, Reaction::Drop),
            (SendError::Full { bytes: 1, shortage: shm2::Shortage::Cells }, Reaction::Drop),
            (SendError::Cleared { bytes: 1 }, Reaction::Drop),
            (SendError::Closed, Reaction::Flush),
            (SendError::TooLarge { bytes: 7, arena: 5 }, Reaction::Grow { bytes: 7 }),
            (SendError::Superseded { path }, Reaction::Fail(gst::ResourceError::Write)),
            (SendError::ForeignReservation, Reaction::Fail(gst::ResourceError::NoSpaceLeft)),
        ] {
            assert_eq!(PublishError::from(error.clone()).reaction(), reaction, "{error}");
        }
        assert_eq!(PublishError::Unmappable { bytes: 1 }.reaction(), Reaction::Drop);
        assert_eq!(PublishError::Layout("reason".into()).reaction(), Reaction::Refuse);
    }
}
