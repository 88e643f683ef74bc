//! Records of measurements: each benchmark program writes them as lines of JSON, and the report reads them.

#![forbid(unsafe_code)]

mod clock;
mod record;
mod times;
mod usage;

pub use clock::{now_ns, sleep_until, spin_until};
pub use record::{Figures, Record, Recorder, group, median};
pub use times::{Quantiles, Times};
pub use usage::Usage;

/// Reads all bytes.
pub fn read_all(bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)));
    std::hint::black_box((sum, rest));
}
