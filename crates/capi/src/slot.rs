//! Memory of the region that is being filled.

#![expect(unsafe_code, reason = "exports names of C")]

use crate::boundary::{Bytes, Handle, Outcome, Structure, call, exclusive, known, value};
use crate::fork;
use crate::frame::{NO_DTS, NONE};
use crate::media::{PlaneForC, plane};
use crate::status::{Failure, Status};
use crate::stream::{Stream, described};
use shm2::{FrameInfo, Reservation};
use shm2_media::Media;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

/// `shm2_slot`.
pub struct Slot {
    fork_depth: u32,
    stream: Option<Arc<Stream>>,
    filled: Mutex<Filled>,
}

impl Handle for Slot {
    const NAME: &'static str = "slot";

    fn fork_depth(&self) -> u32 {
        self.fork_depth
    }
}

/// What is published.
pub(crate) struct Filled {
    pub(crate) reservation: Reservation,
    pub(crate) info: FrameInfo,
    pub(crate) meta: Vec<u8>,
}

impl Slot {
    pub(crate) fn new(reservation: Reservation, stream: Option<Arc<Stream>>) -> Self {
        let filled = Mutex::new(Filled { reservation, info: FrameInfo::new(), meta: Vec::new() });
        Self { fork_depth: fork::depth(), stream, filled }
    }

    pub(crate) fn into_filled(self) -> Outcome<Filled> {
        let poisoned = |_| Failure::new(Status::Internal, "an earlier call for this slot failed inside libshm2");
        self.filled.into_inner().map_err(poisoned)
    }
}

/// Runs `body` with a slot that no other thread uses.
fn with<T>(slot: Option<&Slot>, body: impl FnOnce(&mut Filled) -> Outcome<T>) -> Outcome<T> {
    body(&mut *exclusive(&known(slot)?.filled, "slot")?)
}

fn set(slot: Option<&Slot>, change: impl FnOnce(&mut FrameInfo)) -> Status {
    call(|| {
        with(slot, |filled| {
            change(&mut filled.info);
            Ok(())
        })
    })
}

fn known_value(value: u64) -> Option<u64> {
    (value != NONE).then_some(value)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_free(slot: Option<Box<Slot>>) {
    value((), || {
        drop(slot);
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_data(slot: Option<&Slot>) -> *mut c_void {
    value(std::ptr::null_mut(), || with(slot, |filled| Ok(filled.reservation.as_mut_ptr().cast())))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_size(slot: Option<&Slot>) -> usize {
    value(0, || with(slot, |filled| Ok(filled.reservation.len())))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_write(slot: Option<&Slot>, offset: usize, data: Bytes, size: usize) -> Status {
    call(|| with(slot, |filled| Ok(filled.reservation.write_at(offset, data.slice(size, "data")?)?)))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_plane(
    slot: Option<&Slot>,
    index: u32,
    mut to: Structure<PlaneForC>,
    size: usize,
) -> Status {
    call(|| {
        to.check(size, "plane")?;
        let described = described(known(slot)?.stream.as_ref())?;
        with(slot, |filled| {
            let media = described.media.for_frame(&[], filled.reservation.len() as u64)?;
            let Media::Video(video) = &media else { return Err(described.other_than("raw video")) };
            let start = filled.reservation.as_mut_ptr();
            let address = |offset| start.wrapping_add(offset as usize).cast_const();
            to.fill(size, &plane(video, index, address)?, "plane")
        })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_pts(slot: Option<&Slot>, pts: u64) -> Status {
    set(slot, |info| info.pts = known_value(pts))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_dts(slot: Option<&Slot>, dts: i64) -> Status {
    set(slot, |info| info.dts = (dts != NO_DTS).then_some(dts))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_duration(slot: Option<&Slot>, duration: u64) -> Status {
    set(slot, |info| info.duration = known_value(duration))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_time(slot: Option<&Slot>, time: u64) -> Status {
    set(slot, |info| info.time = known_value(time))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_offset(slot: Option<&Slot>, offset: u64) -> Status {
    set(slot, |info| info.offset = known_value(offset))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_offset_end(slot: Option<&Slot>, offset_end: u64) -> Status {
    set(slot, |info| info.offset_end = known_value(offset_end))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_latency(slot: Option<&Slot>, latency: u64) -> Status {
    set(slot, |info| info.latency = latency)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_flags(slot: Option<&Slot>, flags: u32) -> Status {
    set(slot, |info| info.flags = flags)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_slot_set_meta(slot: Option<&Slot>, meta: Bytes, size: usize) -> Status {
    call(|| {
        with(slot, |filled| {
            filled.meta = meta.slice(size, "meta")?.to_vec();
            Ok(())
        })
    })
}
