//! The steps whose memory order matters, each once. The loom models run these very functions.
//!
//! Two counts, each with one writer, say everything: what was written and not read is `written - read`. Elements come
//! before the count that shows them (Release), and are looked at after it (Acquire); the same for slots that are free
//! again.
//!
//! A side that finds nothing to do may ask for a signal before it sleeps. It sets its word, passes a full fence and
//! looks at the other's count once more. The other side stores its count, passes a full fence and looks at the word. Of the
//! two fences one comes first: either the first side sees the new count and need not sleep, or the second side sees
//! the word. Who sees the word takes it back with one exchange, so that each asking is answered by one signal.
//!
//! A side that never asks says so in the same word, once and for good; then the other side can do without its fence.

use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// What a side's word says: nothing, that it waits for a signal, or that it looks by itself and never will.
const NOTHING: u32 = 0;
const ASKED: u32 = 1;
const POLLS: u32 = 2;

/// Shows elements, or free slots, up to `count`. Returns whether the peer asked for a signal, and takes the asking back.
/// A peer that was seen to poll never asks, so it needs no fence: `polls` is this side's memory of that.
#[inline]
pub(crate) fn publish(word: &AtomicU64, count: u64, asks: &AtomicU32, polls: &mut bool) -> bool {
    if *polls {
        // SYNC: ring-count
        word.store(count, Ordering::Release);
        // Relaxed: it only tells whether there is another peer by now.
        if asks.load(Ordering::Relaxed) == POLLS {
            return false;
        }
        *polls = false;
        full_fence(Site::Publish);
    } else {
        publish_and_fence(word, count);
    }
    // Relaxed: ordered by the fence. Nothing but the word itself is handed over.
    match asks.load(Ordering::Relaxed) {
        NOTHING => false,
        POLLS => {
            *polls = true;
            false
        }
        _ => asks.swap(NOTHING, Ordering::Relaxed) == ASKED,
    }
}

#[inline]
fn publish_and_fence(word: &AtomicU64, count: u64) {
    // On this architecture an exchange is a full fence, and cheaper than one that stands alone.
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    word.swap(count, Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    {
        // SYNC: ring-count
        word.store(count, Ordering::Release);
        full_fence(Site::Publish);
    }
}

/// Says that this side never asks, from now on.
pub(crate) fn poll(word: &AtomicU32) {
    // Relaxed: who sees it late makes a fence too many.
    word.store(POLLS, Ordering::Relaxed);
}

/// Takes back what another side said that had this place before.
pub(crate) fn begin(word: &AtomicU32) {
    // Relaxed: the two sides meet by other means before either uses the ring.
    if word.load(Ordering::Relaxed) == POLLS {
        word.store(NOTHING, Ordering::Relaxed);
    }
}

/// The peer's count; everything that it shows may be used.
#[inline]
pub(crate) fn observe(word: &AtomicU64) -> u64 {
    // SYNC: ring-count
    word.load(Ordering::Acquire)
}

/// Asks for a signal. The peer's count must be looked at after this, and before sleeping.
#[inline]
pub(crate) fn ask(word: &AtomicU32) {
    // Relaxed: the fence orders it before the second look.
    word.store(ASKED, Ordering::Relaxed);
    full_fence(Site::Ask);
}

/// Takes back what was asked. False when the peer took it: then its signal has come, or will.
#[inline]
pub(crate) fn take_back(word: &AtomicU32) -> bool {
    // Relaxed: as in `publish`.
    word.swap(NOTHING, Ordering::Relaxed) != NOTHING
}

/// The fences, so that a model can leave one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(loom), allow(dead_code))]
pub(crate) enum Site {
    Publish,
    Ask,
}

#[inline]
fn full_fence(site: Site) {
    #[cfg(all(loom, test))]
    if crate::models::weakened() == Some(site) {
        return;
    }
    let _ = site;
    fence(Ordering::SeqCst);
}
