//! The byte layout of a region, fixed for protocol version 3.
//!
//! `docs/protocol.md` holds the same tables in prose; the assertions at the end of this file keep the two equal.
//! All words are little-endian and naturally aligned. Sections, in order:
//!
//! ```text
//! header 64 KiB | ready ring: 4096 cells of 128 bytes | 64 consumer pages, 64 KiB apart | arena: the rest
//! ```
//!
//! The geometry depends on the region's size alone: the file size determines every offset.

use crate::sync::{AtomicU32, AtomicU64};

#[cfg(not(target_has_atomic = "64"))]
compile_error!("the region has 64-bit words that processes share: targets without 64-bit atomics are not supported");
#[cfg(target_endian = "big")]
compile_error!("the region is little-endian and is read in place: big-endian machines are not supported");

/// First eight bytes of every region: `SHM2RGN` and a zero byte.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SHM2RGN\0");
/// Major version of the protocol; a region of another major version is refused.
pub const VERSION_MAJOR: u16 = 3;
/// Minor version of the protocol. A minor version only adds fields in place of zeros.
pub const VERSION_MINOR: u16 = 0;
/// Value of [`Header::version`]: `major << 16 | minor`.
pub const VERSION: u32 = (VERSION_MAJOR as u32) << 16 | VERSION_MINOR as u32;

/// Unit of section offsets, in bytes: a multiple of every page size in use and of Windows' mapping granularity.
pub const SECTION: u64 = 65_536;
/// Cells of the ready ring; a power of two.
pub const CELLS: u64 = 4096;
/// Bytes of one ring cell.
pub const CELL_BYTES: u64 = 128;
/// Consumer pages, which is also the largest number of leasing consumers at one time.
pub const PAGES: usize = 64;
/// Lease entries in one consumer page.
pub const LEASES: usize = 64;
/// Bytes of each consumer page that are backed by memory; the rest of its 64 KiB is never touched.
pub const PAGE_USED: u64 = 4096;
/// Every extent of the arena starts on, and is a multiple of, this many bytes.
pub const GRANULE: u64 = 64;

/// Offset of the ready ring in the region.
pub const RING_OFFSET: u64 = SECTION;
/// Offset of the first consumer page.
pub const PAGES_OFFSET: u64 = RING_OFFSET + CELLS * CELL_BYTES;
/// Offset of the arena.
pub const ARENA_OFFSET: u64 = PAGES_OFFSET + PAGES as u64 * SECTION;
/// The smallest region: everything above and one section of arena.
pub const MIN_REGION: u64 = ARENA_OFFSET + SECTION;
/// The largest region that is accepted, 1 TiB. A larger size is refused as a mistake or a violation.
pub const MAX_REGION: u64 = 1 << 40;

/// Longest caps text, in bytes, that a cell may point to.
pub const MAX_CAPS: u64 = 64 * 1024;
/// Longest per-frame meta blob, in bytes, that a cell may point to.
pub const MAX_META: u64 = 1024 * 1024;

/// Sequence numbers above this are a violation: at ten million frames per second they take 14,000 years.
pub const MAX_SEQUENCE: u64 = 1 << 62;

/// "No value" in the 64-bit time and offset fields.
pub const NONE: u64 = u64::MAX;

/// [`Header::state`]: the producer is, or was until it died, publishing.
pub const STATE_LIVE: u32 = 1;
/// [`Header::state`]: the producer closed the region in an orderly way.
pub const STATE_CLOSED: u32 = 2;

/// [`Header::kept`]: the producer holds the file's lock and shows a heartbeat.
pub const KEPT_BY_LOCK: u32 = 1;
/// [`Header::kept`]: the producer may run on another kernel than its consumers, so only its heartbeat shows that it is
/// alive.
pub const KEPT_BY_HEARTBEAT: u32 = 2;

/// [`Page::claimed`]: the page was never used, and neither was any page after it.
pub const NEVER_CLAIMED: u32 = 0;
/// [`Page::claimed`]: the page's consumer is attached and reads.
pub const READING: u32 = 1;
/// [`Page::claimed`]: the page was used before and is free now.
pub const FREE: u32 = 2;
/// [`Page::claimed`]: the consumer has detached, but frames that it handed out are still held.
pub const HOLDING: u32 = 3;
/// [`Page::claimed`]: a consumer has taken the page and not filled it yet.
pub const CLAIMING: u32 = 4;
/// [`Page::claimed`]: added to [`READING`], [`HOLDING`] or [`CLAIMING`] when the owner has no lock and shows by
/// [`Page::heartbeat`] that it is alive. The upper 16 bits are then the owner's number, from [`Page::claims`].
pub const BY_HEARTBEAT: u32 = 0x100;

/// The page's state in a value of [`Page::claimed`], without [`BY_HEARTBEAT`] and the owner's number.
pub const fn claim_state(claimed: u32) -> u32 {
    claimed & 0xff
}

/// Words without a meaning. A peer can write them, too, so they must be atomics, as all that a reference covers.
type Padding<const WORDS: usize> = [AtomicU64; WORDS];

/// Words that only the producer writes. 1024 bytes. Words that change with frames are 128 bytes apart, so that neither
/// their cache line nor the adjacent line that a CPU prefetches is shared.
#[repr(C, align(128))]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// `major << 16 | minor`.
    pub version: AtomicU32,
    /// Size of this struct in bytes.
    pub header_bytes: AtomicU32,
    /// Size of the whole region in bytes.
    pub region_bytes: AtomicU64,
    /// Random number of this generation, never zero.
    pub generation: AtomicU64,
    /// [`RING_OFFSET`].
    pub ring_offset: AtomicU64,
    /// [`PAGES_OFFSET`].
    pub pages_offset: AtomicU64,
    /// [`ARENA_OFFSET`].
    pub arena_offset: AtomicU64,
    /// Size of the arena in bytes, a multiple of [`GRANULE`].
    pub arena_bytes: AtomicU64,
    /// [`CELLS`].
    pub cells: AtomicU32,
    /// [`CELL_BYTES`].
    pub cell_bytes: AtomicU32,
    /// [`PAGES`].
    pub pages: AtomicU32,
    /// [`SECTION`]: distance between consumer pages in bytes.
    pub page_stride: AtomicU32,
    /// Lease entries that the producer honours in each page, 1 to [`LEASES`].
    pub max_leases: AtomicU32,
    /// Frames kept for consumers that attach later.
    pub history: AtomicU32,
    /// Policy for a new frame without free space: 0 drop-oldest, 1 drop-newest, 2 block.
    pub full_policy: AtomicU32,
    /// Process id of the producer in its own namespace; for display only, never for decisions.
    pub producer_pid: AtomicU32,
    /// Start of this generation, nanoseconds of the real-time clock.
    pub created_ns: AtomicU64,
    /// Sequence of the first item of this generation; 0 means 1.
    pub first_sequence: AtomicU64,
    /// Time in milliseconds after which a peer without a new heartbeat counts as dead; 0 where locks show liveness.
    pub lease_ms: AtomicU32,
    /// [`KEPT_BY_LOCK`] or [`KEPT_BY_HEARTBEAT`] in memory that is never removed and that the next producer reuses;
    /// else 0.
    pub kept: AtomicU32,
    /// Identifies the producer's monotonic clock: a process with the same value has the same clock. 0 if unknown.
    pub clock: AtomicU64,
    /// Sequence of the newest published frame, 0 before the first.
    pub head: AtomicU64,
    pad1: Padding<15>,
    /// Oldest sequence that a consumer may still take. Raised before a cell is overwritten or an extent freed.
    pub oldest: AtomicU64,
    pad2: Padding<15>,
    /// Futex word of waiting consumers; changes with every wake.
    pub wake: AtomicU32,
    pad3: [AtomicU32; 31],
    /// [`STATE_LIVE`] or [`STATE_CLOSED`].
    pub state: AtomicU32,
    /// 1 while the producer waits for free space: a consumer that frees some then signals through [`Page::space`].
    pub producer_waits: AtomicU32,
    pad4: Padding<15>,
    /// Sequence lock of the beacon, a pair of clock readings: odd while it is written, +2 with each beacon.
    pub beacon_sequence: AtomicU64,
    /// Producer's monotonic clock at the beacon, in nanoseconds.
    pub beacon_monotonic_ns: AtomicU64,
    /// Producer's real-time clock at the beacon, in nanoseconds.
    pub beacon_realtime_ns: AtomicU64,
    /// Newest sequence at the beacon.
    pub beacon_head: AtomicU64,
    /// Changes several times in each lease time while the producer of a kept region is alive.
    pub heartbeat: AtomicU64,
    /// Sequence lock of the current caps, which the three words after it describe: odd while they are written.
    pub caps_sequence: AtomicU64,
    /// Current caps text: offset in the region.
    pub caps_offset: AtomicU64,
    /// Current caps text: low 32 bits length, high 32 bits number of these caps, as in a cell; 0 before the first.
    pub caps_length_id: AtomicU64,
    /// Bytes of the stream's blob, which follows the text.
    pub caps_blob: AtomicU64,
    pad5: Padding<7>,
    /// Frames retired before every attached consumer had read them.
    pub dropped_oldest: AtomicU64,
    /// New frames that were dropped, because the policy keeps the old ones or no space could be freed.
    pub dropped_newest: AtomicU64,
    /// Frames that were dropped because they are larger than the arena.
    pub dropped_too_large: AtomicU64,
    pad6: Padding<29>,
}

/// One published frame: its description, and its sequence number, which is stored after all words but the time of
/// publication.
#[repr(C, align(128))]
pub struct Cell {
    /// 16 little-endian words; see the `W_*` constants. A consumer that polls reads the first cache line; most items
    /// need no other.
    pub words: [AtomicU64; 16],
}

/// The words of a cell that was copied as bytes.
#[cfg(not(loom))]
pub(crate) fn cell_words(bytes: &[u8; CELL_BYTES as usize]) -> [u64; 16] {
    std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|byte| bytes[word * 8 + byte])))
}

/// Sequence number: 0 in a cell never used.
pub const W_SEQUENCE: usize = 0;
/// Payload's offset in the region.
pub const W_OFFSET: usize = 1;
/// Payload's length in bytes.
pub const W_LENGTH: usize = 2;
/// Low 32 bits: flags; then 31 bits: kind; highest bit: [`DETAILS`].
pub const W_FLAGS_KIND: usize = 3;
/// Presentation time, nanoseconds, on the producer's own running time.
pub const W_PTS: usize = 4;
/// Duration in nanoseconds.
pub const W_DURATION: usize = 5;
/// Frame's absolute time on the producer's monotonic clock.
pub const W_TIME: usize = 6;
/// Caps text: low 32 bits length, high 32 bits number of this caps (grows by one with each change, 0 none).
pub const W_CAPS_LENGTH_ID: usize = 7;
/// First word of the second cache line: the details.
pub const W_DETAILS: usize = 8;
/// Producer's monotonic clock when the frame was published. [`NONE`] until it is stored, after the sequence.
pub const W_PUBLISHED: usize = 8;
/// Decoding time, nanoseconds, signed; −1 is [`NONE`].
pub const W_DTS: usize = 9;
/// Media specific position of the first unit.
pub const W_MEDIA_OFFSET: usize = 10;
/// Media specific position after the last unit.
pub const W_MEDIA_OFFSET_END: usize = 11;
/// Caps text: offset in the region.
pub const W_CAPS_OFFSET: usize = 12;
/// Meta blob: offset in the region.
pub const W_META_OFFSET: usize = 13;
/// Low 32 bits length of the meta blob; high 32 bits length of the stream's blob, which follows the caps text.
pub const W_META_LENGTH: usize = 14;
/// Latency of the producer's pipeline in nanoseconds.
pub const W_LATENCY: usize = 15;

/// Bit of [`W_FLAGS_KIND`]: the details say something. Without it a reader that knows the caps need not read them:
/// there is no decoding time, position, meta blob or latency.
pub const DETAILS: u64 = 1 << 63;

/// The kind in a cell's word [`W_FLAGS_KIND`].
pub const fn kind_code(word: u64) -> u32 {
    ((word & !DETAILS) >> 32) as u32
}

/// Kind of a ring item: a frame with payload.
pub const KIND_FRAME: u32 = 0;
/// Kind of a ring item: no more frames of this stream.
pub const KIND_END: u32 = 1;
/// Kind of a ring item: an event between frames. Its times and meta blob describe it; it has no payload.
pub const KIND_EVENT: u32 = 2;

/// A lease of one frame, which holds the frame's bytes as long as `sequence` is not zero.
#[repr(C)]
pub struct Lease {
    /// Sequence of the frame held, or 0. In a page by heartbeat the upper 16 bits are the owner's number.
    pub sequence: AtomicU64,
    /// Payload's offset in the region, in bytes.
    pub offset: AtomicU64,
    /// Payload's length in bytes.
    pub length: AtomicU64,
    reserved: Padding<1>,
}

/// The part of the region that one consumer writes. The producer trusts none of its words.
#[repr(C, align(64))]
pub struct Page {
    /// Next sequence that the consumer will take.
    pub cursor: AtomicU64,
    /// All lease entries in use have an index below this.
    pub lease_count: AtomicU32,
    /// [`NEVER_CLAIMED`], [`READING`], [`FREE`], [`HOLDING`] or [`CLAIMING`], perhaps with [`BY_HEARTBEAT`].
    pub claimed: AtomicU32,
    pad0: Padding<1>,
    /// The generation to which the consumer attached. Stored before [`READING`].
    pub generation: AtomicU64,
    /// Leases of frames; the first shares the cursor's cache line.
    pub leases: [Lease; LEASES],
    pad1: Padding<4>,
    /// Changes each time the consumer is about to sleep.
    pub ticket: AtomicU32,
    pad2: [AtomicU32; 15],
    /// Space word: the futex on which a producer sleeps that waits for this consumer to free space.
    pub space: AtomicU32,
    pad3: [AtomicU32; 15],
    /// Process id in its own namespace, for display only.
    pub pid: AtomicU32,
    /// Counts the claims without a lock; each claim takes the next number.
    pub claims: AtomicU32,
    /// Consumer's monotonic clock at attach, in nanoseconds.
    pub attached_ns: AtomicU64,
    /// Frames taken.
    pub received: AtomicU64,
    /// Items that were retired before this consumer could take them.
    pub missed: AtomicU64,
    /// Frames that latest-only skipped.
    pub skipped: AtomicU64,
    /// Frames that were copied because the lease budget was used up.
    pub copied: AtomicU64,
    /// Changes several times in each lease time while an owner without a lock is alive.
    pub heartbeat: AtomicU64,
    /// Counts the consumer's requests of a frame that depends on no other. Never reset.
    pub keyframe_requests: AtomicU32,
    pad4: AtomicU32,
}

/// Number of steps of 64 bytes by which a page's words are displaced, so that 64 pages do not compete for one cache
/// set.
pub const STAGGER_STEPS: u64 = 28;

/// Offset in the region of consumer page `index`'s [`Page`] words.
pub const fn page_words_offset(index: usize) -> u64 {
    page_offset(index) + (index as u64 % STAGGER_STEPS) * 64
}

/// Offset in the region of consumer page `index`, the unit of mapping.
pub const fn page_offset(index: usize) -> u64 {
    PAGES_OFFSET + index as u64 * SECTION
}

/// Offset in the region of a word of consumer page `index` that no consumer reads or writes.
pub(crate) const fn page_spare_offset(index: usize) -> u64 {
    page_words_offset(index) + std::mem::offset_of!(Page, pad0) as u64
}

/// Offset in the region of the cell that holds `sequence`.
pub const fn cell_offset(sequence: u64) -> u64 {
    RING_OFFSET + (sequence % CELLS) * CELL_BYTES
}

/// Bytes of arena in a region of `region_bytes` bytes, or `None` when that is not from [`MIN_REGION`] to
/// [`MAX_REGION`].
pub const fn arena_bytes(region_bytes: u64) -> Option<u64> {
    if region_bytes < MIN_REGION || region_bytes > MAX_REGION {
        return None;
    }
    Some((region_bytes - ARENA_OFFSET) / GRANULE * GRANULE)
}

/// Smallest region size in bytes, in whole sections, whose arena is at least `arena` bytes.
pub const fn region_bytes_for_arena(arena: u64) -> u64 {
    let bytes = arena.div_ceil(SECTION).saturating_mul(SECTION).saturating_add(ARENA_OFFSET);
    if bytes < MIN_REGION { MIN_REGION } else { bytes }
}

#[cfg(not(loom))]
mod assertions {
    use super::*;
    use std::mem::{offset_of, size_of};

    macro_rules! at {
        ($($t:ident . $f:ident = $n:expr),* $(,)?) => { $(const _: () = assert!(offset_of!($t, $f) == $n);)* }
    }
    at!(
        Header.magic = 0,
        Header.version = 8,
        Header.header_bytes = 12,
        Header.region_bytes = 16,
        Header.generation = 24,
        Header.ring_offset = 32,
        Header.pages_offset = 40,
        Header.arena_offset = 48,
        Header.arena_bytes = 56,
        Header.cells = 64,
        Header.cell_bytes = 68,
        Header.pages = 72,
        Header.page_stride = 76,
        Header.max_leases = 80,
        Header.history = 84,
        Header.full_policy = 88,
        Header.producer_pid = 92,
        Header.created_ns = 96,
        Header.first_sequence = 104,
        Header.lease_ms = 112,
        Header.kept = 116,
        Header.clock = 120,
        Header.head = 128,
        Header.oldest = 256,
        Header.wake = 384,
        Header.state = 512,
        Header.producer_waits = 516,
        Header.beacon_sequence = 640,
        Header.beacon_monotonic_ns = 648,
        Header.beacon_realtime_ns = 656,
        Header.beacon_head = 664,
        Header.heartbeat = 672,
        Header.caps_sequence = 680,
        Header.caps_offset = 688,
        Header.caps_length_id = 696,
        Header.caps_blob = 704,
        Header.dropped_oldest = 768,
        Header.dropped_newest = 776,
        Header.dropped_too_large = 784,
        Page.cursor = 0,
        Page.lease_count = 8,
        Page.claimed = 12,
        Page.generation = 24,
        Page.leases = 32,
        Page.ticket = 2112,
        Page.space = 2176,
        Page.pid = 2240,
        Page.claims = 2244,
        Page.attached_ns = 2248,
        Page.received = 2256,
        Page.missed = 2264,
        Page.skipped = 2272,
        Page.copied = 2280,
        Page.heartbeat = 2288,
        Page.keyframe_requests = 2296,
        Lease.sequence = 0,
        Lease.offset = 8,
        Lease.length = 16,
    );
    const _: () = assert!(size_of::<Header>() == 1024);
    const _: () = assert!(size_of::<Cell>() as u64 == CELL_BYTES);
    const _: () = assert!(size_of::<Lease>() == 32);
    const _: () = assert!(size_of::<Page>() == 2304);
    const _: () = assert!((STAGGER_STEPS - 1) * 64 + size_of::<Page>() as u64 <= PAGE_USED);
    const _: () = assert!(CELLS.is_power_of_two());
    const _: () = assert!(RING_OFFSET == 65_536 && PAGES_OFFSET == 589_824 && ARENA_OFFSET == 4_784_128);
    const _: () = assert!(ARENA_OFFSET % SECTION == 0 && MIN_REGION == 4_849_664);
}
