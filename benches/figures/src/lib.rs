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
