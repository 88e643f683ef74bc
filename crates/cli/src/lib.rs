//! What the command-line tools share: a payload that can be checked, and a summary of what was received.

#![deny(clippy::unwrap_used)]

pub mod pattern;
pub mod stop;
pub mod summary;

use clap::ValueEnum;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// The region that is used when none is named.
pub const DEFAULT_REGION: &str =
    if cfg!(windows) { "winshm://Local/gst-shm2-default" } else { "shm:///dev/shm/gst-shm2-default" };

/// Prints a line; that nobody reads it any more is no reason to fail.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

/// As `eprintln!`, but that nobody reads it is no reason to fail here, either.
#[macro_export]
macro_rules! complain {
    ($($arguments:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($arguments)*);
    }};
}

/// Prints what a tool was run for.
///
/// # Errors
/// When it could not be written, though somebody may read it.
pub fn print_result(text: &str) -> Result<(), String> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot print the result: {error}"))
        }
        _ => Ok(()),
    }
}

/// Does `work`, and says what it waits for if that takes longer than a second.
pub fn say_if_slow<T>(waits_for: &str, work: impl FnOnce() -> T) -> T {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let say = move || {
            if ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                complain!("waiting for {waits_for}");
            }
        };
        // Without a thread it is not said.
        let _ = std::thread::Builder::new().name("slow".into()).spawn_scoped(scope, say);
        let result = work();
        drop(done);
        result
    })
}

/// How closely received payloads are compared with what `shm2_producer` sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Every byte.
    Full,
    /// The start, the end and 64 places in between of each frame.
    Sampled,
    /// Not at all.
    None,
}

/// Thirty years: what is added to a clock must not be too much for it.
pub const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// Parses a time in seconds, such as `0.5`.
///
/// # Errors
/// A sentence with the value in it.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time in seconds: write for example 0.5");
    let time = text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    time.filter(|time| *time <= LONGEST).ok_or_else(wrong)
}

/// Parses a lease time in seconds, such as `2`.
///
/// # Errors
/// A sentence with the value in it.
pub fn lease_time(text: &str) -> Result<Duration, String> {
    let fits = |time: &Duration| (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(time);
    seconds(text).ok().filter(fits).ok_or_else(|| format!("{text:?} is not a time from 0.1 to 3600 seconds"))
}

/// Parses a number of bytes with an optional K, M or G (1024 each).
///
/// # Errors
/// A sentence with the value in it.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number of bytes: write for example 64M");
    let (digits, shift) = match text.chars().last().map(|c| c.to_ascii_uppercase()) {
        Some('K') => (&text[..text.len() - 1], 10),
        Some('M') => (&text[..text.len() - 1], 20),
        Some('G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Parses permission bits in octal, such as `660`.
///
/// # Errors
/// A sentence with the value in it.
pub fn octal(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0o");
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("{text:?} is not an octal mode: write for example 660"))
}
