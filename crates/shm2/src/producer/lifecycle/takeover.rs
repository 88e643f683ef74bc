//! Beginning a generation in memory that another kernel may share. Only its heartbeat shows whether another producer is
//! alive there, and of two producers that begin at the same moment only one may continue.

use crate::description::CapsRange;
use crate::error::{CreateError, DeviceError};
use crate::header::LEAST_LEASE_TIME;
use crate::heartbeat::HeartbeatMonitor;
use crate::layout;
use crate::mapped::Memory;
use crate::producer::header_writer::go_live;
use crate::producer::settings::Settings;
use crate::sync::Ordering;
use std::path::Path;
use std::time::Duration;

/// Longest lease time of a previous producer for which a new one waits.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// For how long a region without a heartbeat must not change.
const STILLNESS: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Time within which another producer that begins at the same moment has stored its generation as well.
const TIE_BREAK_WAIT: Duration = Duration::from_millis(30);

/// Waits until a producer that may be alive in `memory`, and has no lock, has shown no heartbeat for its lease time.
///
/// # Errors
/// [`CreateError::Busy`] when it is alive.
pub(in crate::producer) fn await_silence(memory: &Memory, settings: &Settings, path: &Path) -> Result<(), CreateError> {
    let header = memory.header();
    let kept = header.kept.load(Ordering::Acquire);
    // A producer by lock cannot be alive, because this one holds its lock.
    let unseen = settings.shared_by_kernels || kept == layout::KEPT_BY_HEARTBEAT;
    // A producer that closed its region shows a heartbeat until its upstream no longer writes.
    let may_be_alive = || {
        header.magic.load(Ordering::Acquire) == layout::MAGIC
            && (header.state.load(Ordering::Acquire) == layout::STATE_LIVE
                || header.heartbeat.load(Ordering::Acquire) != 0)
    };
    match kept {
        _ if !unseen || !may_be_alive() => {}
        0 => await_stillness(memory, path)?,
        _ => await_end(memory, &may_be_alive, path)?,
    }
    if settings.shared_by_kernels { must_be_writable(memory, path) } else { Ok(()) }
}

/// The lease time of the producer that wrote this header, within limits.
pub(super) fn shown_lease_time(header: &layout::Header) -> Duration {
    let shown = Duration::from_millis(header.lease_ms.load(Ordering::Relaxed).into());
    shown.clamp(LEAST_LEASE_TIME, LONGEST_SILENCE)
}

fn await_end(memory: &Memory, may_be_alive: &dyn Fn() -> bool, path: &Path) -> Result<(), CreateError> {
    let header = memory.header();
    let lease = shown_lease_time(header);
    // Relaxed: only compared with later values.
    let first = header.heartbeat.load(Ordering::Relaxed);
    let mut observed = HeartbeatMonitor::new(first);
    while may_be_alive() {
        let now = header.heartbeat.load(Ordering::Relaxed);
        if now != first {
            return Err(CreateError::Busy { path: path.into() });
        }
        if !observed.is_alive(now, lease) {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A region that was made without `keep_region` has no heartbeat, and its producer does not detect another one. Its
/// published frames and beacons show that it is alive.
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

/// Tests a store, because a device may drop stores silently (QEMU's `readonly=on`). The wake word is used: a change of
/// it only makes consumers check the ring, whereas a change of the heartbeat would count as the previous producer's.
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

/// Of two producers that began at the same moment, the one that stored its generation last continues.
pub(in crate::producer) fn tie_break(
    memory: &Memory,
    settings: &Settings,
    generation: u64,
    path: &Path,
) -> Result<(), CreateError> {
    if !settings.shared_by_kernels {
        return Ok(());
    }
    std::thread::sleep(TIE_BREAK_WAIT);
    if memory.header().generation.load(Ordering::Acquire) != generation {
        return Err(CreateError::Busy { path: path.into() });
    }
    // The other one may have left some of its own settings.
    go_live(memory, settings, CapsRange::default());
    Ok(())
}
