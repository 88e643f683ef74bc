//! Ways to pass messages, of shm2 and of other libraries, for comparison.

pub mod both_ways;
pub mod bus;
pub mod chart;
pub mod ping_pong;
pub mod stream;

/// Makes a number of round trips; returns nanoseconds per round trip.
pub type RoundTrip = fn(usize) -> f64;

/// Median of the figures of a few runs; NaN without any. The figures are fractions, which a histogram would round.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
