//! Distribution of times.

use serde::{Deserialize, Serialize};

/// Buckets for each power of two.
const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Counts of times in nanoseconds, in buckets of at most 1.6 % of the time. Recording costs a few instructions.
pub struct Times {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: vec![0; (STEPS * u64::from(65 - STEP_BITS)) as usize], total: 0 }
    }
}

impl Times {
    /// Counts one time.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
    }

    /// Number of times.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The distribution in microseconds.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles(Quantiles::SHARES.map(|share| self.at(share) / 1e3).to_vec())
    }

    /// The time in nanoseconds that this share of all times does not exceed; NaN without any.
    fn at(&self, share: f64) -> f64 {
        let rank = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(f64::NAN, middle)
    }
}

fn bucket(ns: u64) -> usize {
    let power = ns.max(1).ilog2().saturating_sub(STEP_BITS);
    // Below STEPS each time has a bucket of its own; above, `power` bits are cut off.
    (u64::from(power) * STEPS + (ns >> power)) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let power = (bucket as u64 / STEPS).saturating_sub(1);
    let first = (bucket as u64 - power * STEPS) << power;
    first as f64 + ((1u64 << power) - 1) as f64 / 2.0
}

/// Times in microseconds at [`Quantiles::SHARES`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quantiles(pub Vec<f64>);

impl Quantiles {
    /// Shares of all times.
    pub const SHARES: [f64; 13] = [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0];

    /// The named ones: p50, p90, p99, p99.9.
    pub fn named(&self) -> [(&'static str, f64); 4] {
        [("p50", 4), ("p90", 6), ("p99", 9), ("p99.9", 11)].map(|(name, at)| (name, self.0[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_found_again_within_two_percent() {
        for ns in [1, 63, 64, 65, 127, 128, 129, 1000, 55_555, 1_234_567, 10_000_000_000] {
            let mut times = Times::default();
            times.record(ns);
            let found = times.at(0.5);
            assert!((found - ns as f64).abs() <= ns as f64 * 0.02, "{ns} became {found}");
        }
    }
}
