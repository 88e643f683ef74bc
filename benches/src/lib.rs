//! Ways to pass messages, shm2's and others', to be measured beside each other.

pub mod both_ways;
pub mod bus;
pub mod chart;
pub mod ping_pong;
pub mod stream;

/// Makes so many round trips; returns nanoseconds for each.
pub type RoundTrip = fn(usize) -> f64;

/// Median of some figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
