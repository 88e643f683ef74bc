//! What the tests of the workspace share: temporary names, guarded child processes, waiting with a limit, random
//! numbers.
//!
//! Each temporary name contains `shm2-test-`, is used by one test only, and is removed when its owner is dropped, also
//! when the test fails. Each child process is killed and waited for when its owner is dropped. Functions panic where a
//! test has to fail.
//!
//! [`TempRegion`] and [`until`] also work on Windows and under Miri. [`process`] reads `/proc` and reports nothing
//! elsewhere.
//!
//! ```
//! use shm2_testing::{Rng, TempRegion, until};
//!
//! let region = TempRegion::new();
//! assert!(!region.exists());
//! let mut rng = Rng::with_seed(7);
//! until("a number above 200", || rng.u8(..) > 200);
//! ```

#![deny(unsafe_code)]

#[cfg(all(unix, feature = "browser"))]
pub mod browser;
pub mod fences;
#[cfg(target_os = "linux")]
pub mod page;
pub mod process;
pub mod words;

mod child;
#[cfg(target_os = "linux")]
mod deny;
#[cfg(unix)]
mod device_file;
mod temp;

pub use child::ChildGuard;
#[cfg(target_os = "linux")]
pub use deny::{Deny, deny};
#[cfg(unix)]
pub use device_file::DeviceFile;
pub use fastrand::Rng;
#[cfg(unix)]
pub use rustix::process::Signal;
pub use temp::{TempPath, TempRegion};

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

/// Longest time a test waits for anything; a machine under load needs most of it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Longest time until frames flow again after a fault.
///
/// One second is promised, and tests print the time it took. A busy machine may stop a process for several seconds.
pub const RECOVERY: Duration = Duration::from_secs(5);

/// Time between two checks of a condition.
const POLL: Duration = Duration::from_millis(2);

/// Whether a program is in one of the folders of PATH.
pub fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Waits until `condition` holds; returns the time it took.
///
/// # Panics
/// When it does not hold within [`LIMIT`]; the message contains `what`.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) -> Duration {
    until_within(LIMIT, what, condition)
}

/// Waits until `condition` holds; returns the time it took.
///
/// # Panics
/// When it does not hold within `limit`; the message contains `what`.
#[track_caller]
pub fn until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(POLL);
    }
    begun.elapsed()
}

/// Reports that a test does not run, and why.
///
/// The line goes to standard output and is appended to the file that the environment variable `SHM2_SKIPPED` names;
/// `cargo xtask test` prints that file.
pub fn skip(why: &str) {
    let line = format!("skipped: {why}\n");
    print!("{line}");
    if let Some(path) = std::env::var_os("SHM2_SKIPPED") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// Seed of a randomised test: the environment variable `SHM2_SEED`, or else a new one. Prints it, so that a failed run
/// can be repeated.
pub fn seed() -> u64 {
    let given = std::env::var("SHM2_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("SHM2_SEED={seed}");
    seed
}
