//! Buffers that a stream of PipeWire lends: pictures are written into them.
//!
//! # Safety
//! A buffer belongs to this program from `dequeue` to `send`. Both are called on the thread that also runs PipeWire's
//! loop, and no callback runs in between, so none removes the buffer. PipeWire maps the memory (`MAP_BUFFERS`) and says
//! how long it is. A buffer that was sent is with the readers; it is only read here, until its removal is reported.

#![expect(unsafe_code, reason = "buffers of PipeWire are raw pointers")]

use pipewire::spa::buffer::meta::{MetaHeader, Metadata};
use pipewire::spa::sys;
use pipewire::stream::Stream;
use pipewire::sys::pw_buffer;
use std::cell::Cell;
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
}

/// The picture that was sent last, as long as its buffer exists.
#[derive(Default)]
pub struct Last(Cell<Option<Sent>>);

impl Last {
    pub fn forget(&self) {
        self.0.set(None);
    }

    /// To be called when a buffer is removed.
    pub fn removed(&self, buffer: *mut pw_buffer) {
        if self.0.get().is_some_and(|sent| sent.buffer == buffer) {
            self.forget();
        }
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

    /// Copies the picture that was sent last, and returns its length. `None` if there is none.
    pub fn repeat(&mut self, last: &Last) -> Option<u32> {
        let sent = last.0.get()?;
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
    pub fn send(self, bytes: u32, stride: u32, header: Header, last: &Last) {
        // SAFETY: chunk and header are memory of this buffer, which is ours until it is queued; then it is not used any
        // more, except as `Last` may.
        unsafe {
            let chunk = &mut *self.data.as_ref().chunk;
            (chunk.offset, chunk.size, chunk.stride, chunk.flags) = (0, bytes, stride as i32, 0);
            let size = size_of::<sys::spa_meta_header>();
            let meta = sys::spa_buffer_find_meta_data(self.buffer.as_ref().buffer, MetaHeader::META_TYPE, size);
            if let Some(meta) = meta.cast::<sys::spa_meta_header>().as_mut() {
                meta.flags = if header.is_discontinuity { sys::SPA_META_HEADER_FLAG_DISCONT } else { 0 };
                (meta.offset, meta.dts_offset, meta.seq) = (0, 0, header.sequence);
                meta.pts = header.time_ns as i64;
            }
            last.0.set(Some(Sent { buffer: self.buffer.as_ptr(), data: self.data, bytes }));
            self.stream.queue_raw_buffer(self.buffer.as_ptr());
        }
    }
}
