//! The memory behind planes: who keeps it, and whether it may be exported.
//!
//! # Safety
//! [`Picture`] hands out a pointer by which Python code may write. No reference to its bytes is made after that.

#![expect(unsafe_code, reason = "bytes that Python code may write")]

use crate::error::Class;
use crate::fork::{Guard, Origin};
use crate::sigbus;
use pyo3::PyResult;
use shm2::{Frame, Reservation};
use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Memory that planes share.
#[derive(Debug, Clone)]
pub enum Memory {
    /// A received frame.
    Frame(Arc<HeldFrame>),
    /// A frame that is being filled.
    Slot(Arc<Slot>),
    /// A private picture.
    Picture(Arc<Picture>),
}

impl Memory {
    /// Whether exported memory may be written.
    pub fn is_writable(&self) -> bool {
        !matches!(self, Self::Frame(_))
    }

    /// Fails in a forked child.
    pub fn check(&self) -> PyResult<()> {
        match self {
            Self::Frame(frame) => frame.origin.check("frame"),
            Self::Slot(slot) => slot.origin.check("frame"),
            Self::Picture(_) => Ok(()),
        }
    }

    /// Begins one export; returns the address of the first byte. [`end_export`](Self::end_export) must follow.
    pub fn begin_export(&self) -> PyResult<*mut u8> {
        match self {
            Self::Frame(frame) => frame.address().map(<*const u8>::cast_mut),
            Self::Slot(slot) => slot.begin_export(),
            Self::Picture(picture) => Ok(picture.0.get().cast()),
        }
    }

    /// Ends one export.
    pub fn end_export(&self) {
        if let Self::Slot(slot) = self {
            slot.end_export();
        }
    }
}

/// A received frame, with its lease.
#[derive(Debug)]
pub struct HeldFrame {
    frame: ManuallyDrop<Frame>,
    origin: Origin,
    /// Registered with the first export.
    guard: OnceLock<Guard>,
}

impl HeldFrame {
    /// Holds a frame that was received in this process.
    pub fn new(frame: Frame) -> Self {
        Self { frame: ManuallyDrop::new(frame), origin: Origin::here(), guard: OnceLock::new() }
    }

    /// The frame. Fails in a forked child.
    pub fn get(&self) -> PyResult<&Frame> {
        self.origin.check("frame")?;
        Ok(&self.frame)
    }

    /// Fails when the file was truncated and bytes of this frame may be lost.
    pub fn check_intact(&self) -> PyResult<()> {
        if self.get()?.read_at(0, &mut []) {
            return Ok(());
        }
        Err(Class::Truncated.error("the region's file was truncated while the frame was held: bytes of it are lost"))
    }

    /// A private copy of the bytes.
    pub fn to_vec(&self) -> PyResult<Vec<u8>> {
        sigbus::ensure();
        let bytes = self.get()?.to_vec();
        self.check_intact()?;
        Ok(bytes)
    }

    fn address(&self) -> PyResult<*const u8> {
        sigbus::ensure();
        self.check_intact()?;
        let frame = self.get()?;
        if frame.is_leased() && self.guard.get().is_none() {
            let guard = Guard::new(frame.as_ptr(), frame.len(), false).ok_or_else(too_many)?;
            // Another thread may have been first; then this guard is dropped.
            let _ = self.guard.set(guard);
        }
        Ok(frame.as_ptr())
    }
}

impl Drop for HeldFrame {
    fn drop(&mut self) {
        // While the mapping still exists.
        drop(self.guard.take());
        if self.origin.is_here() {
            // SAFETY: the frame is not used after this. In a forked child it is left alone: locks that it takes may have
            // been held by another thread during the fork.
            unsafe { ManuallyDrop::drop(&mut self.frame) };
        }
    }
}

fn too_many() -> pyo3::PyErr {
    Class::Error.error("more than 4096 frames have views at a time: delete some")
}

/// A frame that is being filled, with its exports.
#[derive(Debug)]
pub struct Slot {
    origin: Origin,
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    reservation: Option<Reservation>,
    guard: Option<Guard>,
    exports: usize,
    /// Why it can no longer be written or published.
    ended: Option<&'static str>,
}

impl Slot {
    /// Wraps a reservation of this process.
    pub fn new(reservation: Reservation) -> Self {
        let bytes = reservation.len();
        let state = State { reservation: Some(reservation), guard: None, exports: 0, ended: None };
        Self { origin: Origin::here(), bytes, state: Mutex::new(state) }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Fails in a forked child, and when the frame was published or dropped.
    pub fn check_open(&self) -> PyResult<()> {
        self.state()?.check_open()
    }

    /// Takes the reservation for its publication. Fails while views exist; then nothing can be published any more.
    pub fn take(&self) -> PyResult<Reservation> {
        let mut state = self.state()?;
        state.check_open()?;
        if state.exports > 0 {
            state.ended = Some("was not published, because views of it existed");
            let (count, views) = (state.exports, if state.exports == 1 { "view" } else { "views" });
            return Err(Class::Views.error(format!(
                "nothing was published: {count} {views} of the frame's memory could still write to it; delete the arrays \
                 and memoryviews of it before the end of the block (del array), or copy what is needed later"
            )));
        }
        state.ended = Some("was published");
        state.guard = None;
        state.reservation.take().ok_or_else(|| Class::Closed.error("this frame has no memory"))
    }

    /// Gives the memory back, now or when its last view goes. False if the frame has ended already.
    pub fn cancel(&self) -> PyResult<bool> {
        let mut state = self.state()?;
        let was_open = state.ended.is_none();
        state.ended.get_or_insert("was dropped");
        state.free_when_unused();
        Ok(was_open)
    }

    fn begin_export(&self) -> PyResult<*mut u8> {
        sigbus::ensure();
        let mut state = self.state()?;
        state.check_open()?;
        let reservation = state.reservation.as_mut().ok_or_else(|| Class::Closed.error("this frame has no memory"))?;
        let (address, bytes) = (reservation.as_mut_ptr(), reservation.len());
        if state.guard.is_none() && bytes > 0 {
            state.guard = Some(Guard::new(address, bytes, true).ok_or_else(too_many)?);
        }
        state.exports += 1;
        Ok(address)
    }

    fn end_export(&self) {
        if self.origin.is_here() {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.exports -= 1;
            state.free_when_unused();
        }
    }

    fn state(&self) -> PyResult<MutexGuard<'_, State>> {
        self.origin.check("frame")?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn check_open(&self) -> PyResult<()> {
        match self.ended {
            None => Ok(()),
            Some(why) => Err(Class::Closed.error(format!("this frame {why}: take a new one by Producer.frame()"))),
        }
    }

    fn free_when_unused(&mut self) {
        if self.exports == 0 && self.ended.is_some() {
            self.guard = None;
            self.reservation = None;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.guard = None;
        if !self.origin.is_here() {
            // As for a received frame.
            std::mem::forget(state.reservation.take());
        }
    }
}

/// Private bytes that Python code may write.
#[derive(Debug)]
pub struct Picture(Box<UnsafeCell<[u8]>>);

// SAFETY: the bytes are reached by raw pointers only, as those of any writable object of the buffer protocol: Python
// code that writes them from several threads synchronises itself.
unsafe impl Sync for Picture {}

impl Picture {
    /// Takes over the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        let pointer = Box::into_raw(bytes.into_boxed_slice());
        // SAFETY: `UnsafeCell<[u8]>` has the layout of `[u8]`, and the box was just given up.
        Self(unsafe { Box::from_raw(pointer as *mut UnsafeCell<[u8]>) })
    }
}
