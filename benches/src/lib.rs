//! Ways to pass messages, of shm2 and of other libraries, for comparison.

pub mod both_ways;
pub mod bus;
pub mod ping_pong;
pub mod stream;

pub use figures::median;

use figures::Recorder;

/// Makes a number of round trips; returns nanoseconds per round trip.
pub type RoundTrip = fn(usize) -> f64;

/// What the programs are asked for: `--rounds N`, `--json FILE`.
pub struct Options {
    /// Alternating rounds.
    pub rounds: usize,
    /// Where each run is recorded.
    pub recorder: Recorder,
}

impl Options {
    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// A text for the user.
    pub fn from_arguments(rounds: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let mut options = Self { rounds, recorder: Recorder::append(None)? };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            match (name.as_str(), arguments.next()) {
                ("--rounds", Some(rounds)) => options.rounds = rounds.parse()?,
                ("--json", Some(path)) => options.recorder = Recorder::append(Some(path.as_ref()))?,
                _ => return Err("options: --rounds N, --json FILE".into()),
            }
        }
        Ok(options)
    }
}
