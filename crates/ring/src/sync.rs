//! Atomics and fences: `core` in the product, `loom` when a model runs (`--cfg loom`).
//!
//! Each fence has a [`Site`], so that a model can leave it out and show that the protocol needs it.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};

pub(crate) use core::sync::atomic::Ordering;

/// The place of a fence in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// Between a store of a count and the load of the peer's request word.
    Publish,
    /// Between a store of the own request word and the second load of the peer's count.
    Request,
}

/// Stores `count` with Release, then a full fence.
#[inline]
pub(crate) fn store_and_fence(word: &AtomicU64, count: u64) {
    // An exchange is a full fence on x86-64, and cheaper than a store with a separate fence.
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    word.swap(count, Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    {
        // SYNC: ring-count
        word.store(count, Ordering::Release);
        full_fence(Site::Publish);
    }
}

/// A sequentially consistent fence.
#[inline]
pub(crate) fn full_fence(site: Site) {
    #[cfg(all(loom, test))]
    if crate::models::weakened() == Some(site) {
        return;
    }
    let _ = site;
    fence(Ordering::SeqCst);
}
