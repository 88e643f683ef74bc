//! The sending side.

#![expect(unsafe_code, reason = "exports names of C")]

use crate::boundary::{
    Bytes, Handle, Outcome, Place, Structure, Text, call, exclusive, give, handle, known, limit, result, value,
};
use crate::fork;
use crate::frame::NONE;
use crate::producer_options::{ProducerOptions, builder};
use crate::slot::Slot;
use crate::status::{Failure, Status, c_text};
use crate::stream::{Stream, described};
use shm2::producer::Handle as SharedPart;
use shm2::{FrameInfo, Producer as Sender};
use shm2_media::Media;
use std::ffi::{CString, c_char};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// `shm2_producer`.
pub struct Producer {
    fork_depth: u32,
    path: CString,
    /// For the functions that any thread may call.
    shared: SharedPart,
    /// The current caps.
    stream: Mutex<Option<Arc<Stream>>>,
    sender: Mutex<Sender>,
}

impl Handle for Producer {
    const NAME: &'static str = "producer";

    fn fork_depth(&self) -> u32 {
        self.fork_depth
    }
}

/// `shm2_producer_stats`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProducerStats {
    published: u64,
    dropped_oldest: u64,
    dropped_newest: u64,
    dropped_too_large: u64,
    wakes: u64,
    ready: u64,
    held: u64,
    arena_bytes: u64,
    free_bytes: u64,
    used_bytes: u64,
}

impl Producer {
    fn new(sender: Sender) -> Self {
        let path = c_text(sender.path().as_os_str().as_encoded_bytes());
        let (shared, stream) = (sender.handle(), Mutex::default());
        Self { fork_depth: fork::depth(), path, shared, stream, sender: Mutex::new(sender) }
    }

    /// The current caps. The lock is held for moments, and no code of others runs meanwhile.
    fn stream(&self) -> Option<Arc<Stream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_stream(&self, caps: &[u8], blob: &[u8]) -> Outcome {
        exclusive(&self.sender, "producer")?.set_stream(caps, blob)?;
        let stream = Arc::new(Stream::new(1, caps));
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        Ok(())
    }
}

/// Runs `body` with a producer that no other thread uses.
fn with<T>(producer: Option<&Producer>, body: impl FnOnce(&mut Sender) -> Outcome<T>) -> Outcome<T> {
    body(&mut *exclusive(&known(producer)?.sender, "producer")?)
}

/// A result that any thread may ask for.
fn read<T>(
    producer: Option<&Producer>,
    memory: Place<'_, T>,
    name: &str,
    body: impl FnOnce(&SharedPart) -> T,
) -> Status {
    call(|| {
        let memory = result(memory, name)?;
        memory.write(body(&known(producer)?.shared));
        Ok(())
    })
}

fn info_with(pts: u64) -> FrameInfo {
    if pts == NONE { FrameInfo::new() } else { FrameInfo::new().with_pts(pts) }
}

fn number(memory: Place<'_, u64>, sequence: u64) {
    if let Some(memory) = memory {
        memory.write(sequence);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_create(
    name: Text,
    options: Option<&ProducerOptions>,
    producer: Place<'_, *mut Producer>,
) -> Status {
    call(|| {
        let producer = handle(producer, "producer")?;
        give(producer, Producer::new(builder(name.str("name")?, options)?.create()?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_free(producer: Option<Box<Producer>>) {
    value((), || {
        drop(producer);
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_path(producer: Option<&Producer>) -> *const c_char {
    value(std::ptr::null(), || Ok(known(producer)?.path.as_ptr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_set_caps(producer: Option<&Producer>, caps: Text) -> Status {
    call(|| known(producer)?.set_stream(caps.bytes("caps")?, &[]))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_set_stream(
    producer: Option<&Producer>,
    caps: Text,
    blob: Bytes,
    size: usize,
) -> Status {
    call(|| known(producer)?.set_stream(caps.bytes("caps")?, blob.slice(size, "blob")?))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_frame_size(producer: Option<&Producer>, bytes: Place<'_, usize>) -> Status {
    call(|| {
        let bytes = result(bytes, "bytes")?;
        let stream = known(producer)?.stream();
        let described = described(stream.as_ref())?;
        let Media::Video(video) = &described.media else { return Err(described.other_than("raw video")) };
        bytes.write(usize::try_from(video.size()).map_err(|error| Failure::new(Status::TooLarge, error))?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_reserve(
    producer: Option<&Producer>,
    bytes: usize,
    slot: Place<'_, *mut Slot>,
) -> Status {
    call(|| {
        let slot = handle(slot, "slot")?;
        let reservation = with(producer, |sender| Ok(sender.reserve(bytes)?))?;
        give(slot, Slot::new(reservation, known(producer)?.stream()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_try_reserve(
    producer: Option<&Producer>,
    bytes: usize,
    slot: Place<'_, *mut Slot>,
) -> Status {
    call(|| {
        let slot = handle(slot, "slot")?;
        let producer = known(producer)?;
        give(slot, Slot::new(producer.shared.try_reserve(bytes)?, producer.stream()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_publish(
    producer: Option<&Producer>,
    slot: Option<Box<Slot>>,
    sequence: Place<'_, u64>,
) -> Status {
    call(|| {
        known(slot.as_deref())?;
        let filled = slot.map(|slot| slot.into_filled()).transpose()?;
        let published = with(producer, |sender| {
            let filled = filled.ok_or_else(|| Failure::invalid("slot is NULL"))?;
            Ok(sender.publish_with_meta(filled.reservation, &filled.info, &filled.meta)?)
        })?;
        number(sequence, published);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_send(
    producer: Option<&Producer>,
    data: Bytes,
    size: usize,
    pts: u64,
    sequence: Place<'_, u64>,
) -> Status {
    call(|| {
        let published = with(producer, |sender| Ok(sender.send(data.slice(size, "data")?, &info_with(pts))?))?;
        number(sequence, published);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_send_event(
    producer: Option<&Producer>,
    meta: Bytes,
    size: usize,
    pts: u64,
    sequence: Place<'_, u64>,
) -> Status {
    call(|| {
        let published = with(producer, |sender| Ok(sender.send_event(&info_with(pts), meta.slice(size, "meta")?)?))?;
        number(sequence, published);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_end_of_stream(producer: Option<&Producer>) -> Status {
    call(|| {
        with(producer, |sender| {
            sender.end_of_stream()?;
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_drain(producer: Option<&Producer>, timeout_ns: i64) -> Status {
    call(|| {
        let is_drained = with(producer, |sender| Ok(sender.drain(limit(timeout_ns).unwrap_or(Duration::MAX))))?;
        let late = || Failure::new(Status::TimedOut, "a consumer has not taken every item in time");
        if is_drained { Ok(()) } else { Err(late()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_consumers(producer: Option<&Producer>, consumers: Place<'_, usize>) -> Status {
    read(producer, consumers, "consumers", SharedPart::consumers)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_has_snapshots(producer: Option<&Producer>, has_snapshots: Place<'_, bool>) -> Status {
    read(producer, has_snapshots, "has_snapshots", SharedPart::has_snapshot_consumers)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_keyframe_requests(producer: Option<&Producer>, requests: Place<'_, u64>) -> Status {
    read(producer, requests, "requests", SharedPart::keyframe_requests)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_changes(producer: Option<&Producer>, changes: Place<'_, u32>) -> Status {
    read(producer, changes, "changes", SharedPart::changes)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_wait_change(producer: Option<&Producer>, seen: u32, timeout_ns: i64) -> Status {
    call(|| {
        let has_changed = known(producer)?.shared.wait_change(seen, limit(timeout_ns));
        let late = || Failure::new(Status::TimedOut, "nothing changed in time");
        if has_changed { Ok(()) } else { Err(late()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_cancel(producer: Option<&Producer>, cancelled: bool) -> Status {
    call(|| {
        known(producer)?.shared.set_cancelled(cancelled);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_check(producer: Option<&Producer>) -> Status {
    call(|| Ok(known(producer)?.shared.check()?))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_lost_name(producer: Option<&Producer>, lost: Place<'_, bool>) -> Status {
    read(producer, lost, "lost", |shared| shared.lost_name().is_some())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_get_stats(
    producer: Option<&Producer>,
    mut stats: Structure<ProducerStats>,
    size: usize,
) -> Status {
    call(|| {
        let now = known(producer)?.shared.stats();
        let content = ProducerStats {
            published: now.published,
            dropped_oldest: now.dropped_oldest,
            dropped_newest: now.dropped_newest,
            dropped_too_large: now.dropped_too_large,
            wakes: now.wakes,
            ready: now.ready,
            held: now.held,
            arena_bytes: now.arena_bytes,
            free_bytes: now.free_bytes,
            used_bytes: now.used_bytes,
        };
        stats.fill(size, &content, "stats")
    })
}
