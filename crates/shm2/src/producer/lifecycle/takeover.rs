//! Memory that another kernel may share: whether somebody lives there can only be seen by its heart, and two who begin at
//! the same moment must find out who was second.

use crate::error::CreateError;
use crate::error::DeviceError;
use crate::heartbeat::Observed;
use crate::layout;
use crate::mapped::Memory;
use crate::producer::builder::{LEAST_LEASE_TIME, Settings, go_live};
use crate::sync::Ordering;
use std::path::Path;
use std::time::Duration;

/// However long the lease time of the life before.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// For a region without a heart.
const STILLNESS: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Time in which whoever begins at the same moment has stored its number, too.
const SETTLE: Duration = Duration::from_millis(30);

/// Waits until the producer that may live in `memory`, where no lock tells, was silent for its lease time.
pub(in crate::producer) fn await_silence(memory: &Memory, settings: &Settings, path: &Path) -> Result<(), CreateError> {
    let header = memory.header();
    let kept = header.kept.load(Ordering::Acquire);
    // With a lock of ours, a producer that has one cannot live.
    let unseen = settings.shared_by_kernels || kept == layout::KEPT_BY_HEARTBEAT;
    // One that closed its region beats until upstream writes no more.
    let lives = || {
        header.magic.load(Ordering::Acquire) == layout::MAGIC
            && (header.state.load(Ordering::Acquire) == layout::STATE_LIVE
                || header.heartbeat.load(Ordering::Acquire) != 0)
    };
    match kept {
        _ if !unseen || !lives() => {}
        0 => await_stillness(memory, path)?,
        _ => await_end(memory, &lives, path)?,
    }
    if settings.shared_by_kernels { must_be_writable(memory, path) } else { Ok(()) }
}

/// For how long the heart of whoever lives there may stand still.
pub(in crate::producer) fn shown_lease_time(header: &layout::Header) -> Duration {
    let shown = Duration::from_millis(header.lease_ms.load(Ordering::Relaxed).into());
    shown.clamp(LEAST_LEASE_TIME, LONGEST_SILENCE)
}

fn await_end(memory: &Memory, lives: &dyn Fn() -> bool, path: &Path) -> Result<(), CreateError> {
    let header = memory.header();
    let lease = shown_lease_time(header);
    // Relaxed: only its change counts.
    let first = header.heartbeat.load(Ordering::Relaxed);
    let mut heart = Observed::new(first);
    while lives() {
        let now = header.heartbeat.load(Ordering::Relaxed);
        if now != first {
            return Err(CreateError::Busy { path: path.into() });
        }
        if !heart.is_alive(now, lease) {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A region made without `keep-region` has no heart, and its producer would not notice another one. What it publishes
/// shows that it is there.
fn await_stillness(memory: &Memory, path: &Path) -> Result<(), CreateError> {
    let header = memory.header();
    let seen = || (header.head.load(Ordering::Acquire), header.beacon_sequence.load(Ordering::Acquire));
    let first = seen();
    for _ in 0..STILLNESS.as_millis() / LOOK_EVERY.as_millis() {
        std::thread::sleep(LOOK_EVERY);
        if seen() != first {
            return Err(CreateError::Busy { path: path.into() });
        }
    }
    Ok(())
}

/// A device may drop what is written without a word (QEMU's `readonly=on`). The word that is tried lets consumers look around at
/// most; a heartbeat would be taken for that of the life before.
fn must_be_writable(memory: &Memory, path: &Path) -> Result<(), CreateError> {
    let word = &memory.header().wake;
    let before = word.load(Ordering::Relaxed);
    word.store(before.wrapping_add(1), Ordering::Relaxed);
    if word.load(Ordering::Relaxed) != before {
        return Ok(());
    }
    let problem = DeviceError::ReadOnly;
    Err(CreateError::Device { path: path.into(), problem })
}

/// Of two producers that began at the same moment, the one that wrote its number last goes on.
pub(in crate::producer) fn settle(
    memory: &Memory,
    settings: &Settings,
    generation: u64,
    path: &Path,
) -> Result<(), CreateError> {
    if !settings.shared_by_kernels {
        return Ok(());
    }
    std::thread::sleep(SETTLE);
    if memory.header().generation.load(Ordering::Acquire) != generation {
        return Err(CreateError::Busy { path: path.into() });
    }
    // The other one may have left some of its own settings.
    go_live(memory, settings);
    Ok(())
}
