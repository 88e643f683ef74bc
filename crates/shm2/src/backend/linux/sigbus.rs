//! A guard against SIGBUS: a peer that can write the file can also truncate it, and touching a mapped page behind the
//! new end raises this signal. The handler puts private zero pages in place of everything from the touched page to the
//! mapping's end and marks the mapping as broken; the interrupted access goes on and reads zeros, and the next step of
//! the library turns the mark into an error of that region. Other mappings and other regions notice nothing.
//!
//! The handler is put in place with the first mapping of a region and hands every signal that is not about a region to
//! the handler that was there before. What remains: a program that installs a handler of its own afterwards and does
//! not call the one that it found, a thread that blocks SIGBUS, and mappings beyond [`MOST`] at one time are not guarded.
//!
//! # Safety
//! The handler makes only system calls that are async-signal-safe and reads only atomics. It replaces only pages of a
//! mapping that stands in the table; a mapping leaves the table before it is unmapped, and the access that faulted keeps
//! it alive meanwhile.

#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings that can be guarded at one time.
const MOST: usize = 1024;

struct Slot {
    /// First address; 0 for a free slot, 1 while it is being filled.
    start: AtomicUsize,
    end: AtomicUsize,
    broken: AtomicBool,
}

static SLOTS: [Slot; MOST] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), broken: AtomicBool::new(false) } }; MOST];
/// Slots at and above this were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Guards one mapping until [`Guard::end`].
#[derive(Debug)]
pub(super) struct Guard(Option<usize>);

impl Guard {
    /// Guards the mapped range.
    pub(super) fn new(start: usize, bytes: usize) -> Self {
        install();
        let free = |slot: &Slot| slot.start.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let index = SLOTS.iter().position(free);
        if let Some(slot) = index.map(|i| &SLOTS[i]) {
            slot.broken.store(false, Ordering::Relaxed);
            slot.end.store(start + bytes, Ordering::Relaxed);
            slot.start.store(start, Ordering::Release);
        }
        USED.fetch_max(index.map_or(0, |i| i + 1), Ordering::Release);
        Self(index)
    }

    /// Comes before the range is unmapped.
    pub(super) fn end(&mut self) {
        if let Some(index) = self.0.take() {
            SLOTS[index].start.store(0, Ordering::Release);
        }
    }

    /// Whether pages of the mapping had to be replaced.
    #[inline]
    pub(super) fn is_broken(&self) -> bool {
        self.0.is_some_and(|index| SLOTS[index].broken.load(Ordering::Relaxed))
    }
}

fn install() {
    PREVIOUS.get_or_init(|| {
        // SAFETY: both structs are plain data for which zeros are valid; the handler lives for ever.
        unsafe {
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = on_bus_error as extern "C" fn(_, _, _) as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            let mut previous: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGBUS, &ours, &mut previous);
            previous
        }
    });
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`; `errno` of the interrupted code is kept.
    unsafe {
        let errno = *libc::__errno_location();
        // Only the kernel's own say which address; `kill` does not.
        let is_fault = (*info).si_code > 0;
        if !is_fault || !replace((*info).si_addr() as usize) {
            pass_on(signal, info, context);
        }
        *libc::__errno_location() = errno;
    }
}

/// Puts zero pages from the address to the end of its mapping; false when it is in none of ours.
fn replace(address: usize) -> bool {
    let used = USED.load(Ordering::Acquire);
    let Some((slot, end)) = SLOTS[..used].iter().find_map(|slot| Some((slot, end_of(slot, address)?))) else {
        return false;
    };
    slot.broken.store(true, Ordering::Release);
    // SAFETY: a pure look-up.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let first = address & !(page - 1);
    // All of it at once; if the system promises no more memory, the touched page alone, and the next at its turn.
    zero_pages(first, end - first) || zero_pages(first, page)
}

/// The end of the slot's mapping if it holds the address. A slot may be used anew while it is looked at.
fn end_of(slot: &Slot, address: usize) -> Option<usize> {
    let start = slot.start.load(Ordering::Acquire);
    let end = slot.end.load(Ordering::Acquire);
    (start > 1 && address >= start && address < end && slot.start.load(Ordering::Acquire) == start).then_some(end)
}

fn zero_pages(first: usize, bytes: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the range lies inside one mapping of ours, which this signal's own access keeps alive.
    let mapped = unsafe { libc::mmap(first as *mut _, bytes, access, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

/// In a forked child: the mappings are not there, and their addresses may be anything's.
pub(super) fn forget_all() {
    for slot in &SLOTS[..USED.load(Ordering::Relaxed)] {
        slot.start.store(0, Ordering::Relaxed);
    }
}

/// Does what would have happened without us.
///
/// # Safety
/// To be called from the handler with what the kernel passed.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: plain data. A faulting access is repeated on return and then ends the process as it would have; a
            // signal that a program sent is ignored as before, or sent again.
            unsafe {
                let is_fault = (*info).si_code > 0;
                if !is_fault && previous.sa_sigaction == libc::SIG_IGN {
                    return;
                }
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, null_mut());
                if !is_fault {
                    libc::raise(signal);
                }
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the previous owner said that it is a function of this shape.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: as above.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
