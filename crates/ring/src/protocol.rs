//! The steps of the ring whose memory order matters, each in one function. The loom models run these same functions.
//!
//! The state is two counts, each with one writer; `written - read` elements are in the ring. The sender stores elements
//! before the count that publishes them (Release), and the receiver loads the count (Acquire) before it reads them. The
//! receiver's count publishes free slots in the same way.
//!
//! A side that finds nothing to do may request a signal before it sleeps. It stores its request word, executes a full
//! fence, and loads the other side's count again. The other side stores its count, executes a full fence, and loads
//! the request word. One of the two fences comes first in the total order: either the first side sees the new count
//! and need not sleep, or the second side sees the request. The side that sees the request resets the word with one
//! exchange, so each request is answered by one signal.
//!
//! A side that polls stores this in its request word once and never requests a signal; the other side then skips its
//! fence.

use crate::sync::{AtomicU32, AtomicU64, Ordering, Site, full_fence, store_and_fence};

/// Values of a request word: no request; a signal is requested; the side polls and never requests one.
const IDLE: u32 = 0;
const REQUESTED: u32 = 1;
const POLLING: u32 = 2;

/// Publishes elements, or free slots, up to `count`. Returns whether the peer requested a signal, and resets that
/// request. A polling peer makes no request, so it needs no fence; `peer_polls` remembers that between calls.
#[inline]
pub(crate) fn publish(word: &AtomicU64, count: u64, request: &AtomicU32, peer_polls: &mut bool) -> bool {
    if *peer_polls {
        // SYNC: ring-count
        word.store(count, Ordering::Release);
        // Relaxed: only detects that another peer, which does not poll, replaced the polling one.
        if request.load(Ordering::Relaxed) == POLLING {
            return false;
        }
        *peer_polls = false;
        full_fence(Site::Publish);
    } else {
        store_and_fence(word, count);
    }
    // Relaxed: ordered by the fence. The word publishes no other data.
    match request.load(Ordering::Relaxed) {
        IDLE => false,
        POLLING => {
            *peer_polls = true;
            false
        }
        // A request that was withdrawn meanwhile is not answered.
        _ => request.compare_exchange(REQUESTED, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok(),
    }
}

/// Declares that this side polls from now on and never requests a signal.
pub(crate) fn declare_polling(word: &AtomicU32) {
    // Relaxed: a peer that sees it late executes one fence too many.
    word.store(POLLING, Ordering::Relaxed);
}

/// Removes the declaration of a polling predecessor on this side.
pub(crate) fn clear_polling(word: &AtomicU32) {
    // Relaxed: the memory is handed over by other means before either side uses the ring.
    if word.load(Ordering::Relaxed) == POLLING {
        word.store(IDLE, Ordering::Relaxed);
    }
}

/// Loads the peer's count; the elements, or slots, up to it may be used.
#[inline]
pub(crate) fn observe(word: &AtomicU64) -> u64 {
    // SYNC: ring-count
    word.load(Ordering::Acquire)
}

/// Requests a signal. The caller must load the peer's count again after this and before it sleeps.
#[inline]
pub(crate) fn request_signal(word: &AtomicU32) {
    // Relaxed: the fence orders it before the second load of the count.
    word.store(REQUESTED, Ordering::Relaxed);
    full_fence(Site::Request);
}

/// Withdraws a request. False when the peer has reset it: then its signal was sent, or will be.
#[inline]
pub(crate) fn withdraw_request(word: &AtomicU32) -> bool {
    // Relaxed: as in `publish`.
    word.swap(IDLE, Ordering::Relaxed) != IDLE
}
