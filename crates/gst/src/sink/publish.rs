//! From a buffer to a frame: in place when its memory is the arena's, by one copy when it is not.

use crate::caps::Media;
use crate::{allocator, flags, meta};
use shm2::{FrameInfo, Producer, SendError};

/// The part of the sink that only the streaming thread uses.
pub(super) struct Stream {
    producer: Producer,
    caps: String,
    /// What describes the stream besides.
    blob: Vec<u8>,
    /// They go with the next frame; there may be no room for them yet.
    is_new: bool,
    /// What the caps say.
    media: Media,
    /// Ordinary memory of an exhausted arena, or what was wiped: held so that upstream's pool does not use it again but
    /// allocates anew.
    _spent: Option<gst::Buffer>,
}

/// A buffer's times, in nanoseconds of this pipeline's running time and of the system's monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) pts: Option<u64>,
    pub(super) dts: Option<u64>,
    pub(super) time: Option<u64>,
    pub(super) duration: Option<u64>,
}

/// What became of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) path: Path,
    /// Metas that did not travel along.
    pub(super) metas_left_behind: u64,
    /// Whether the stream's description was too large for the region.
    pub(super) description_left_behind: bool,
}

/// How its bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    ZeroCopy,
    Copy,
}

impl Stream {
    /// `blob` describes the stream, see [`set_blob`](Self::set_blob).
    pub(super) fn new(producer: Producer, blob: Vec<u8>) -> Self {
        let is_new = !blob.is_empty();
        Self { producer, caps: String::new(), blob, is_new, media: Media::default(), _spent: None }
    }

    /// Caps for the frames that follow.
    pub(super) fn set_caps(&mut self, caps: &gst::CapsRef) {
        self.caps = caps.to_string();
        self.is_new = true;
        self.media = Media::of(caps);
    }

    /// What describes the frames that follow besides their caps.
    pub(super) fn set_blob(&mut self, blob: Vec<u8>) {
        self.is_new |= self.blob != blob;
        self.blob = blob;
    }

    /// False when the region is too small for the description besides the caps.
    fn publish_stream(&mut self) -> Result<bool, SendError> {
        if !self.is_new {
            return Ok(true);
        }
        let mut outcome = self.producer.set_stream(self.caps.as_bytes(), &self.blob);
        let is_too_large = matches!(outcome, Err(SendError::TooLarge { .. })) && !self.blob.is_empty();
        if is_too_large {
            outcome = self.producer.set_caps(self.caps.as_bytes());
        }
        outcome?;
        self.is_new = false;
        Ok(!is_too_large)
    }

    /// Publishes an event that stands between two frames.
    pub(super) fn publish_event(&mut self, info: &FrameInfo, list: &[u8]) -> Result<(), SendError> {
        self.publish_stream()?;
        self.producer.send_event(info, list).map(drop)
    }

    pub(super) fn end_of_stream(&mut self) -> Result<(), SendError> {
        if self.is_new {
            // Tags that came last go with an event that says nothing else.
            self.publish_event(&FrameInfo::new(), &[])?;
        }
        self.producer.end_of_stream().map(drop)
    }

    /// Publishes a buffer.
    pub(super) fn publish(&mut self, buffer: &gst::Buffer, timing: Timing, latency: u64) -> Result<Sent, SendError> {
        let described = self.publish_stream().inspect_err(|error| {
            if error.is_drop() {
                self.producer.handle().count_dropped();
            }
        })?;
        let info = describe(buffer, timing, latency);
        let metas = meta::encode(buffer, &self.media);
        let path = self.publish_bytes(buffer, &info, &metas.bytes)?;
        Ok(Sent { path, metas_left_behind: metas.left_behind, description_left_behind: !described })
    }

    fn publish_bytes(&mut self, buffer: &gst::Buffer, info: &FrameInfo, blob: &[u8]) -> Result<Path, SendError> {
        let mut memories = (0..buffer.n_memory()).filter_map(|index| buffer.memory(index));
        self._spent = memories.find(|memory| allocator::is_cleared(memory)).map(private);
        if self._spent.is_some() {
            self.producer.handle().check()?;
            self.producer.handle().count_dropped();
            return Err(SendError::Cleared { bytes: buffer.size() as u64 });
        }
        if buffer.n_memory() == 1
            && let Some(memory) = buffer.memory(0)
        {
            if self.publish_in_place(&memory, info, blob)? {
                return Ok(Path::ZeroCopy);
            }
            if allocator::is_fallback(&memory) {
                self._spent = Some(private(memory));
            }
        }
        self.publish_copy(buffer, info, blob)?;
        Ok(Path::Copy)
    }

    /// False when the memory is not of this arena, or somebody still may write it.
    fn publish_in_place(&mut self, memory: &gst::Memory, info: &FrameInfo, blob: &[u8]) -> Result<bool, SendError> {
        let Some((reservation, part)) = allocator::reservation(memory) else { return Ok(false) };
        if !self.producer.owns(reservation) {
            return Ok(false);
        }
        // The buffer's own reference makes the memory not writable for as long as consumers may read it. GStreamer
        // copies a memory that is mapped for writing instead of sharing it: then so do we.
        let keep = private(memory.clone());
        if keep.n_memory() != 1 || keep.peek_memory(0).as_ptr() != memory.as_ptr() {
            return Ok(false);
        }
        self.producer.publish_part(reservation, part, info, blob, Box::new(keep)).map(|_| true)
    }

    fn publish_copy(&mut self, buffer: &gst::Buffer, info: &FrameInfo, blob: &[u8]) -> Result<(), SendError> {
        let mut slot = self.producer.reserve(buffer.size())?;
        let mut offset = 0;
        for memory in buffer.iter_memories() {
            let map = memory.map_readable().map_err(|_| {
                self.producer.handle().count_dropped();
                SendError::Full { bytes: buffer.size() as u64 }
            })?;
            slot.write_at(offset, &map)?;
            offset += map.size();
        }
        self.producer.publish_with_meta(slot, info, blob).map(drop)
    }
}

fn private(memory: gst::Memory) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    if let Some(buffer) = buffer.get_mut() {
        buffer.append_memory(memory);
    }
    buffer
}

fn describe(buffer: &gst::BufferRef, timing: Timing, latency: u64) -> FrameInfo {
    let mut info = FrameInfo::new();
    info.pts = timing.pts;
    info.dts = timing.dts;
    info.duration = timing.duration;
    info.offset = Some(buffer.offset()).filter(|o| *o != gst::ffi::GST_BUFFER_OFFSET_NONE);
    info.offset_end = Some(buffer.offset_end()).filter(|o| *o != gst::ffi::GST_BUFFER_OFFSET_NONE);
    info.flags = flags::to_wire(buffer.flags());
    info.time = timing.time;
    info.latency = latency;
    info
}
