//! Buffers that a stream of PipeWire lends: pictures are written into them.
//!
//! # Safety
//! A buffer belongs to this program from `dequeue` to `send`. Both are called on the thread that also runs PipeWire's
//! loop, and no callback runs in between, so none removes the buffer. PipeWire's library maps the memory
//! (`MAP_BUFFERS`); the descriptions with its lengths are this process's own, which no reader writes. Readers share the
//! memory of pictures, chunk and header with this process, and may write there at any time: nothing is read from chunk
//! or header, no references to them are made, and any bytes are a picture. PipeWire's daemon seals the memory against
//! being made shorter. A buffer that was sent is with the readers; it is only read here, until its removal is reported,
//! which is before its memory is unmapped.

#![expect(unsafe_code, reason = "buffers of PipeWire are raw pointers")]

use crate::format::Format;
use crate::pixels::Target;
use pipewire::spa::buffer::meta::{MetaHeader, Metadata};
use pipewire::spa::sys;
use pipewire::stream::Stream;
use pipewire::sys::pw_buffer;
use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};

/// Times and number of a picture.
#[derive(Debug, Clone, Copy, Default)]
pub struct Header {
    /// Nanoseconds of the monotonic clock.
    pub time_ns: u64,
    pub sequence: u64,
    /// Pictures are missing before this one.
    pub is_discontinuity: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    buffer: *mut pw_buffer,
    data: NonNull<sys::spa_data>,
    bytes: u32,
    format: Format,
}

impl Sent {
    /// The picture, if it is not longer than the memory.
    fn copy_of(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.bytes as usize);
        // SAFETY: the buffer exists, as `Last` has it only until it is removed, and was mapped when it was sent. The
        // length is checked, and the vector has room for as many bytes.
        unsafe {
            let from = self.data.as_ref();
            if self.bytes > from.maxsize {
                return None;
            }
            ptr::copy_nonoverlapping::<u8>(from.data.cast(), bytes.as_mut_ptr(), self.bytes as usize);
            bytes.set_len(self.bytes as usize);
        }
        Some(bytes)
    }
}

/// The picture that was sent last: in its buffer, or a copy made when that is removed, as after the last reader.
#[derive(Default)]
pub struct Last {
    sent: Cell<Option<Sent>>,
    kept: RefCell<Option<(Format, Vec<u8>)>>,
}

impl Last {
    pub fn forget(&self) {
        self.sent.set(None);
        self.kept.replace(None);
    }

    /// To be called when the format changes: its buffers go.
    pub fn keep(&self) {
        if let Some(sent) = self.sent.take() {
            self.kept.replace(sent.copy_of().map(|bytes| (sent.format, bytes)));
        }
    }

    /// To be called when a buffer is removed.
    pub fn removed(&self, buffer: *mut pw_buffer) {
        if self.sent.get().is_some_and(|sent| sent.buffer == buffer) {
            self.keep();
        }
    }

    fn set(&self, sent: Sent) {
        self.sent.set(Some(sent));
        self.kept.replace(None);
    }
}

/// A buffer that is being filled; it must be sent.
pub struct Outgoing<'s> {
    stream: &'s Stream,
    buffer: NonNull<pw_buffer>,
    data: NonNull<sys::spa_data>,
}

impl<'s> Outgoing<'s> {
    /// A free buffer; `None` when the readers have all of them, or its memory is not mapped.
    pub fn dequeue(stream: &'s Stream) -> Option<Self> {
        // SAFETY: PipeWire's buffer has a valid description with `n_datas` entries. The buffer is returned here if it
        // has no memory, and else by `send`.
        unsafe {
            let buffer = NonNull::new(stream.dequeue_raw_buffer())?;
            let description = (*buffer.as_ptr()).buffer;
            let data = NonNull::new((*description).datas).filter(|_| (*description).n_datas > 0);
            let is_mapped =
                |data: &NonNull<sys::spa_data>| !data.as_ref().data.is_null() && !data.as_ref().chunk.is_null();
            let data = data.filter(is_mapped);
            if data.is_none() {
                stream.queue_raw_buffer(buffer.as_ptr());
            }
            Some(Self { stream, buffer, data: data? })
        }
    }

    /// The memory of the picture.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the memory is mapped for `maxsize` bytes, and ours until it is sent.
        unsafe {
            let data = self.data.as_ref();
            std::slice::from_raw_parts_mut(data.data.cast(), data.maxsize as usize)
        }
    }

    /// Copies the picture that was sent last, and returns its length. `None` if there is none of the format.
    pub fn repeat(&mut self, last: &Last, format: &Format) -> Option<u32> {
        let Some(sent) = last.sent.get() else {
            let kept = last.kept.borrow();
            let (_, bytes) = kept.as_ref().filter(|(kept, _)| kept.is_like(format))?;
            self.bytes().get_mut(..bytes.len())?.copy_from_slice(bytes);
            return u32::try_from(bytes.len()).ok();
        };
        if sent.data == self.data {
            return Some(sent.bytes);
        }
        // SAFETY: the buffer exists, as `Last` forgets one that is removed, and was mapped when it was sent. It is
        // another one than this, so the ranges do not overlap. Both lengths are checked.
        unsafe {
            let (from, to) = (sent.data.as_ref(), self.data.as_ref());
            if sent.bytes > from.maxsize.min(to.maxsize) {
                return None;
            }
            ptr::copy_nonoverlapping::<u8>(from.data.cast(), to.data.cast(), sent.bytes as usize);
        }
        Some(sent.bytes)
    }

    /// Hands the picture to the readers.
    pub fn send(self, bytes: u32, target: &Target, header: Header, last: &Last) {
        let chunk = sys::spa_chunk { offset: 0, size: bytes, stride: target.stride as i32, flags: 0 };
        let time = sys::spa_meta_header {
            flags: if header.is_discontinuity { sys::SPA_META_HEADER_FLAG_DISCONT } else { 0 },
            offset: 0,
            pts: header.time_ns as i64,
            dts_offset: 0,
            seq: header.sequence,
        };
        last.set(Sent { buffer: self.buffer.as_ptr(), data: self.data, bytes, format: target.format });
        // SAFETY: chunk and header are memory of this buffer, which is ours until it is queued; then it is not used any
        // more, except as `Last` may. PipeWire finds a header only if it has room for all fields.
        unsafe {
            self.data.as_ref().chunk.write(chunk);
            let size = size_of::<sys::spa_meta_header>();
            let meta = sys::spa_buffer_find_meta_data(self.buffer.as_ref().buffer, MetaHeader::META_TYPE, size);
            if !meta.is_null() {
                meta.cast::<sys::spa_meta_header>().write(time);
            }
            self.stream.queue_raw_buffer(self.buffer.as_ptr());
        }
    }
}
