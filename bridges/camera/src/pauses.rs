//! Pauses between attempts.

use std::time::{Duration, Instant};

/// Doubled each time up to the longest one, and short again after something that was made has lasted longer than that.
pub struct Pauses {
    next: Duration,
    made: Option<Instant>,
}

impl Pauses {
    pub const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(5);

    pub fn new() -> Self {
        Self { next: Self::FIRST, made: None }
    }

    /// To be called when an attempt was successful.
    pub fn made(&mut self) {
        self.made = Some(Instant::now());
    }

    /// The pause before the next attempt.
    pub fn next(&mut self) -> Duration {
        if self.made.take().is_some_and(|made| made.elapsed() > Self::LONGEST) {
            self.next = Self::FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_something_lasts() {
        let mut pauses = Pauses::new();
        assert_eq!([0; 7].map(|_| pauses.next().as_millis()), [250, 500, 1000, 2000, 4000, 5000, 5000]);
        pauses.made();
        assert_eq!(pauses.next(), Pauses::LONGEST, "it did not last");
        pauses.made = Instant::now().checked_sub(Duration::from_secs(6));
        assert_eq!(pauses.next(), Pauses::FIRST);
    }
}
