//! The clock that both processes of a measurement read.

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Reads the clock until `due`.
pub fn spin_until(due: u64) {
    while now_ns() < due {
        std::hint::spin_loop();
    }
}

/// Sleeps until `due`.
pub fn sleep_until(due: u64) {
    let until = Timespec { tv_sec: (due / 1_000_000_000) as i64, tv_nsec: (due % 1_000_000_000) as i64 };
    while clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &until).is_err() {}
}
