//! Waits that Ctrl-C ends: they are cut into slices, and signals are handled between two of them.

use crate::error::Class;
use pyo3::prelude::*;
use std::time::{Duration, Instant};

/// Longest time without a look at signals.
pub const SLICE: Duration = Duration::from_millis(100);

/// A time limit in seconds; `None` for no limit.
pub fn seconds(name: &str, value: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let time = Duration::try_from_secs_f64(value);
    let wrong = |_| Class::Argument.error(format!("{name}={value} is not a time in seconds: give 0 or more, or None"));
    time.map(Some).map_err(wrong)
}

/// A point in time up to which is waited.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// `None` for no limit.
    pub fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// The next slice, at most up to the deadline.
    pub fn slice(self) -> Duration {
        self.0.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()).min(SLICE))
    }

    /// Whether the time is up.
    pub fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}
