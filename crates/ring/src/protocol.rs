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

use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Shows elements, or free slots, up to `count`. Comes before [`take_ask`].
#[inline]
pub(crate) fn publish(word: &AtomicU64, count: u64) {
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

/// The peer's count; everything that it shows may be used.
#[inline]
pub(crate) fn observe(word: &AtomicU64) -> u64 {
    // SYNC: ring-count
    word.load(Ordering::Acquire)
}

/// Whether the peer asked for a signal; takes the asking back. Comes after [`publish`].
#[inline]
pub(crate) fn take_ask(word: &AtomicU32) -> bool {
    // Relaxed: ordered by the fence of `publish`. Nothing but the word itself is handed over.
    word.load(Ordering::Relaxed) != 0 && word.swap(0, Ordering::Relaxed) != 0
}

/// Asks for a signal. The peer's count must be looked at after this, and before sleeping.
#[inline]
pub(crate) fn ask(word: &AtomicU32) {
    // Relaxed: the fence orders it before the second look.
    word.store(1, Ordering::Relaxed);
    full_fence(Site::Ask);
}

/// Takes back what was asked. False when the peer took it: then its signal has come, or will.
#[inline]
pub(crate) fn take_back(word: &AtomicU32) -> bool {
    // Relaxed: as in `take_ask`.
    word.swap(0, Ordering::Relaxed) != 0
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
