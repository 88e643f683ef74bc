//! A guard against SIGBUS. A peer that can write the file can also truncate it, and access to a mapped page beyond the
//! new end raises this signal. The handler replaces everything from that page to the mapping's end by private zero
//! pages and marks the mapping as broken. The interrupted access continues and reads zeros, and the next operation on
//! the region returns an error because of the mark. Other mappings and other regions are not affected.
//!
//! The handler is installed with the first mapping of a region. It passes every signal that does not concern a region
//! to the handler that was installed before. Not guarded are: a program that installs its own handler afterwards and
//! does not call the previous one, a thread that blocks SIGBUS, and mappings beyond [`MAX_MAPPINGS`] at a time.
//!
//! # Safety
//! The handler makes only system calls that are async-signal-safe and reads only atomics. It replaces only pages of a
//! mapping in the table. A mapping is removed from the table before it is unmapped, and the access that faulted keeps
//! it alive meanwhile.

#![expect(unsafe_code, reason = "a signal handler")]

use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings that can be guarded at a time.
const MAX_MAPPINGS: usize = 1024;

struct Slot {
    /// First address; 0 for a free slot, 1 while it is being filled.
    start: AtomicUsize,
    end: AtomicUsize,
    broken: AtomicBool,
}

static SLOTS: [Slot; MAX_MAPPINGS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), broken: AtomicBool::new(false) } };
        MAX_MAPPINGS];
/// Slots from this index on have never been used.
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

    /// Ends the guard. Must be called before the range is unmapped.
    pub(super) fn end(&mut self) {
        if let Some(index) = self.0.take() {
            SLOTS[index].start.store(0, Ordering::Release);
        }
    }

    /// Whether pages of the mapping have been replaced.
    #[inline]
    pub(super) fn is_broken(&self) -> bool {
        self.0.is_some_and(|index| SLOTS[index].broken.load(Ordering::Relaxed))
    }
}

fn install() {
    PREVIOUS.get_or_init(|| {
        // SAFETY: both structs are plain data, for which zeros are valid; the handler is a function of the right
        // signature.
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
        // Only a signal from the kernel carries an address; one sent by `kill` does not.
        let is_fault = (*info).si_code > 0;
        if !is_fault || !replace((*info).si_addr() as usize) {
            pass_on(signal, info, context);
        }
        *libc::__errno_location() = errno;
    }
}

/// Replaces the pages from the address to the end of its mapping. False if no guarded mapping contains the address.
fn replace(address: usize) -> bool {
    let used = USED.load(Ordering::Acquire);
    let Some((slot, end)) = SLOTS[..used].iter().find_map(|slot| Some((slot, end_of(slot, address)?))) else {
        return false;
    };
    slot.broken.store(true, Ordering::Release);
    // SAFETY: reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let first = address & !(page - 1);
    // If memory is too short for all pages, only the touched one is replaced, and the next one when it is touched.
    zero_pages(first, end - first) || zero_pages(first, page)
}

/// The end of the slot's mapping, if it contains the address. The start is read again, because another thread may reuse
/// the slot meanwhile.
fn end_of(slot: &Slot, address: usize) -> Option<usize> {
    let start = slot.start.load(Ordering::Acquire);
    let end = slot.end.load(Ordering::Acquire);
    (start > 1 && address >= start && address < end && slot.start.load(Ordering::Acquire) == start).then_some(end)
}

fn zero_pages(first: usize, bytes: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the range is inside a guarded mapping, which the interrupted access keeps alive.
    let mapped = unsafe { libc::mmap(first as *mut _, bytes, access, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

/// Empties the table in a forked child. The mappings do not exist there, and other memory may get their addresses.
pub(super) fn forget_all() {
    for slot in &SLOTS[..USED.load(Ordering::Relaxed)] {
        slot.start.store(0, Ordering::Relaxed);
    }
}

/// Does what would have happened without this handler.
///
/// # Safety
/// Must be called from the handler, with the arguments that the kernel passed.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: plain data. A faulting access is repeated after return and then ends the process, as it would
            // have without the handler. A signal that a program sent is ignored as before, or raised again.
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
            // SAFETY: SA_SIGINFO says that the previous handler is a function of this type.
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
