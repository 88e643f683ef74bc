//! The limits of the machine: two processes on words in a shared mapping.

#![expect(unsafe_code, reason = "memory is mapped, and its words are seen as atomics")]

use crate::Result;
use crate::way::{Inbound, Outbound};
use figures::{Times, now_ns};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::futex::{self, Flags};
use std::convert::Infallible;
use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};

const BYTES: usize = 4096;
/// Words on cache lines of their own; the stamp lies behind the first word, in the same line.
const FRAME: usize = 0;
const STAMP: usize = 8;
const ANSWER: usize = 256;
const PRESENT: usize = 512;

/// A shared mapping of [`BYTES`] bytes; the side that created it removes its file.
pub(crate) struct Memory {
    at: *mut u8,
    path: String,
    is_owner: bool,
}

impl Memory {
    pub(crate) fn new(name: &str, is_owner: bool) -> Result<Self> {
        let path = format!("/dev/shm/{name}");
        let file = File::options().read(true).write(true).create(is_owner).truncate(false).open(&path)?;
        file.set_len(BYTES as u64)?;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: a new mapping, placed by the kernel.
        let at = unsafe { mmap(std::ptr::null_mut(), BYTES, protection, flags, &file, 0)? };
        Ok(Self { at: at.cast(), path, is_owner })
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping, which lives as long as `self`; aligned; only used as an atomic.
        unsafe { &*self.at.add(offset).cast() }
    }

    /// Sets a word and wakes who sleeps on it, if asked to.
    #[inline]
    fn tell(&self, offset: usize, value: u32, wakes: bool) {
        self.word(offset).store(value, Ordering::Release);
        if wakes {
            let _ = futex::wake(self.word(offset), Flags::empty(), 1);
        }
    }

    /// Waits until a word has this value, the one before it plus 1.
    #[inline]
    fn follow(&self, offset: usize, value: u32, sleeps: bool) {
        let word = self.word(offset);
        while word.load(Ordering::Acquire) != value {
            if sleeps {
                let _ = futex::wait(word, Flags::empty(), value.wrapping_sub(1), None);
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, of which no reference is left.
        let _ = unsafe { munmap(self.at.cast(), BYTES) };
        if self.is_owner {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

pub(crate) struct Out {
    memory: Memory,
    sent: u32,
}

impl Outbound for Out {
    fn create(name: &str, _: usize, _: usize, _: Option<u64>) -> Result<Self> {
        Ok(Self { memory: Memory::new(name, true)?, sent: 0 })
    }

    fn wait_for_receiver(&mut self) {
        self.memory.follow(PRESENT, 1, false);
    }

    #[inline]
    fn send(&mut self, bytes: usize, wakes: bool, fill: impl FnOnce(*mut u8)) -> Result<()> {
        self.memory.follow(ANSWER, self.sent, false);
        self.memory.word(FRAME + 4).store(bytes as u32, Ordering::Relaxed);
        // SAFETY: inside the mapping; the receiver reads it only between the two words.
        fill(unsafe { self.memory.at.add(STAMP) });
        self.sent += 1;
        self.memory.tell(FRAME, self.sent, wakes);
        Ok(())
    }
}

pub(crate) struct In {
    memory: Memory,
    taken: u32,
}

/// The current frame; the next may be sent once it is dropped.
pub(crate) struct Held {
    answer: *const AtomicU32,
    at: *const u8,
    bytes: usize,
    number: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the receiver, and so the mapping, outlives its frames.
        unsafe { &*self.answer }.store(self.number, Ordering::Release);
    }
}

impl In {
    fn held(&mut self) -> Held {
        self.taken += 1;
        let (memory, number) = (&self.memory, self.taken);
        let bytes = memory.word(FRAME + 4).load(Ordering::Relaxed) as usize;
        // SAFETY: inside the mapping.
        let at = unsafe { memory.at.add(STAMP) };
        Held { answer: memory.word(ANSWER), at, bytes, number }
    }
}

impl Inbound for In {
    type Frame = Held;
    type Error = Infallible;

    fn open(name: &str, _: usize, _: usize, _: bool) -> Result<Self> {
        let memory = Memory::new(name, false)?;
        memory.tell(PRESENT, 1, false);
        Ok(Self { memory, taken: 0 })
    }

    #[inline]
    fn try_take(&mut self) -> std::result::Result<Option<Held>, Infallible> {
        let is_new = self.memory.word(FRAME).load(Ordering::Acquire) != self.taken;
        Ok(is_new.then(|| self.held()))
    }

    fn wait_take(&mut self) -> Result<Held> {
        self.memory.follow(FRAME, self.taken + 1, true);
        Ok(self.held())
    }

    fn payload(frame: &Held) -> (*const u8, usize) {
        (frame.at, frame.bytes)
    }
}

/// Half the times of round trips.
pub(crate) fn ping(memory: &Memory, sleeps: bool, seconds: f64) -> Times {
    memory.follow(PRESENT, 1, false);
    let (mut times, begun, mut number) = (Times::default(), now_ns(), 0);
    let mut last = begun;
    while last < begun + (seconds * 1e9) as u64 {
        // Of 16 round trips one time is read.
        for _ in 0..16 {
            number += 1;
            memory.tell(FRAME, number, sleeps);
            memory.follow(ANSWER, number, sleeps);
        }
        let now = now_ns();
        times.record((now - last) / 32);
        last = now;
    }
    memory.word(FRAME + 4).store(1, Ordering::Relaxed);
    memory.tell(FRAME, number + 1, true);
    times
}

/// The other side of [`ping`].
pub(crate) fn pong(name: &str, sleeps: bool) -> Result<()> {
    let memory = Memory::new(name, false)?;
    memory.tell(PRESENT, 1, false);
    let mut number = 0;
    while memory.word(FRAME + 4).load(Ordering::Relaxed) == 0 {
        number += 1;
        memory.follow(FRAME, number, sleeps);
        memory.tell(ANSWER, number, sleeps);
    }
    Ok(())
}
