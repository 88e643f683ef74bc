//! Shared parts of the targets: a region, and a peer that writes arbitrary words anywhere into it.

use arbitrary::Arbitrary;
use shm2::producer::Builder;
use shm2::{Consumer, Producer, ReceiveError, layout};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A timeout of zero.
pub const NOW: Option<Duration> = Some(Duration::ZERO);

/// The region's name; one for each fuzzing process. A fuzzer ends without cleaning up: the process that sets
/// `SHM2_FUZZ_NAME` removes the file.
pub fn name() -> String {
    std::env::var("SHM2_FUZZ_NAME").unwrap_or_else(|_| format!("/dev/shm/shm2-fuzz-{}", std::process::id()))
}

/// A builder of the smallest region, which is also the fastest to create.
pub fn builder() -> Builder {
    Producer::builder(&name()).expect("the name is good").size(layout::MIN_REGION)
}

/// The region's file, for a peer that ignores the protocol.
pub fn file() -> File {
    OpenOptions::new().read(true).write(true).open(name()).expect("the region is there")
}

/// Where a peer writes.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Target {
    Header(u16),
    Cell(u8, u8),
    Page(u8, u16),
    Arena(u16),
}

/// Which words may be written.
#[derive(PartialEq)]
pub enum Side {
    /// The whole region.
    Both,
    /// Consumer pages only.
    Pages,
}

/// The written value.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Value {
    Whole(u64),
    Low(u32),
    Small(u8),
    /// Added to the current word.
    Off(i8),
    /// An offset in the region.
    Offset(u32),
}

/// One store of eight or four bytes.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Store {
    target: Target,
    value: Value,
}

impl Store {
    /// Executes the store if it is within that side.
    pub fn apply(&self, file: &File, side: Side) {
        let at = match self.target {
            Target::Header(_) | Target::Cell(..) | Target::Arena(_) if side == Side::Pages => return,
            Target::Header(at) => u64::from(at) % 1024 / 4 * 4,
            // A short run reaches only the first cells.
            Target::Cell(cell, at) => layout::RING_OFFSET + u64::from(cell % 16) * 128 + u64::from(at) % 128 / 4 * 4,
            Target::Page(page, at) => {
                layout::page_words_offset(usize::from(page % 4)) + u64::from(at) % layout::PAGE_USED / 4 * 4 % 2304
            }
            Target::Arena(at) => layout::ARENA_OFFSET + u64::from(at),
        };
        let mut old = [0; 8];
        let _ = file.read_at(&mut old, at);
        let (value, bytes) = match self.value {
            Value::Whole(value) => (value, 8),
            Value::Low(value) => (value.into(), 4),
            Value::Small(value) => (value.into(), 4),
            Value::Off(by) => (u64::from_le_bytes(old).wrapping_add_signed(by.into()), 8),
            Value::Offset(value) => (u64::from(value) % (layout::MIN_REGION + 4096), 8),
        };
        let _ = file.write_at(&value.to_le_bytes()[..bytes], at);
    }
}

/// Takes a frame, if there is one, and reads every byte of it. Errors are valid results.
pub fn take(consumer: &mut Consumer) -> Option<shm2::Frame> {
    match consumer.next(NOW) {
        Ok(frame) => {
            std::hint::black_box((frame.to_vec(), frame.meta().len(), frame.caps().map(|(_, text)| text.len())));
            Some(frame)
        }
        Err(ReceiveError::Cancelled) => unreachable!("no canceller is used"),
        Err(_) => None,
    }
}

/// Every byte of the arena is either free or used.
pub fn check(producer: &Producer) {
    let stats = producer.handle().stats();
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes, "{stats:?}");
}
