//! Writing the region's header.

use super::settings::Settings;
use crate::backend;
use crate::description::CapsRange;
use crate::layout;
use crate::mapped::Memory;
use crate::sync::{AtomicU64, Ordering, fence};

/// Writes the constants, the settings and the current caps, and the live state last.
pub(super) fn go_live(memory: &Memory, settings: &Settings, caps: CapsRange) {
    fill_constants(memory, settings);
    write_caps(memory, caps);
    // The memory may be write-combining, where a Release store orders nothing; so below.
    fence(Ordering::SeqCst);
    memory.header().state.store(layout::STATE_LIVE, Ordering::Release);
}

/// Writes the constants and the settings, which show that a producer is alive. The region is complete when its state is
/// live.
pub(super) fn fill_constants(memory: &Memory, settings: &Settings) {
    let header = memory.header();
    let relaxed = Ordering::Relaxed;
    header.version.store(layout::VERSION, relaxed);
    header.header_bytes.store(size_of::<layout::Header>() as u32, relaxed);
    header.region_bytes.store(settings.bytes, relaxed);
    header.ring_offset.store(layout::RING_OFFSET, relaxed);
    header.pages_offset.store(layout::PAGES_OFFSET, relaxed);
    header.arena_offset.store(layout::ARENA_OFFSET, relaxed);
    header.arena_bytes.store(layout::arena_bytes(settings.bytes).unwrap_or_default(), relaxed);
    header.cells.store(layout::CELLS as u32, relaxed);
    header.cell_bytes.store(layout::CELL_BYTES as u32, relaxed);
    header.pages.store(layout::PAGES as u32, relaxed);
    header.page_stride.store(layout::SECTION as u32, relaxed);
    header.max_leases.store(settings.max_leases, relaxed);
    header.history.store(settings.history, relaxed);
    let lease_ms = if settings.keep_region { settings.lease_time.as_millis() as u32 } else { 0 };
    header.lease_ms.store(lease_ms, relaxed);
    header.kept.store(settings.kept(), relaxed);
    header.full_policy.store(settings.policy.code(), relaxed);
    header.producer_pid.store(backend::process_id(), relaxed);
    header.clock.store(backend::clock_name(), relaxed);
    header.created_ns.store(backend::realtime_ns(), relaxed);
    // The caps of the previous generation are not in this one's arena.
    write_caps(memory, CapsRange::default());
    // The beacon of the previous generation may be of another clock.
    renew_beacon(memory, backend::monotonic_ns(), header.head.load(relaxed));
    fence(Ordering::SeqCst);
    // Written last: a peer that sees it sees everything above.
    header.magic.store(layout::MAGIC, Ordering::Release);
}

/// Writes where the current caps are; their bytes are already in the arena.
pub(super) fn write_caps(memory: &Memory, caps: CapsRange) {
    let header = memory.header();
    write_locked(&header.caps_sequence, || {
        header.caps_offset.store(caps.text.offset, Ordering::Relaxed);
        header.caps_length_id.store(caps.text.length | u64::from(caps.id) << 32, Ordering::Relaxed);
        header.caps_blob.store(caps.blob, Ordering::Relaxed);
    });
}

/// Writes the beacon: a pair of readings of the two clocks.
pub(super) fn renew_beacon(memory: &Memory, now: u64, head: u64) {
    let header = memory.header();
    write_locked(&header.beacon_sequence, || {
        header.beacon_monotonic_ns.store(now, Ordering::Relaxed);
        header.beacon_realtime_ns.store(backend::realtime_ns(), Ordering::Relaxed);
        header.beacon_head.store(head, Ordering::Relaxed);
    });
}

/// Runs `write` under a sequence lock: readers skip words whose number is odd or changes while they read.
fn write_locked(sequence: &AtomicU64, write: impl FnOnce()) {
    let number = sequence.load(Ordering::Relaxed);
    sequence.store(number | 1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    write();
    fence(Ordering::SeqCst);
    sequence.store((number | 1).wrapping_add(1), Ordering::Release);
}
