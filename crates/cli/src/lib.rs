//! Shared parts of the command-line tools: options, a payload that can be checked, a summary of the received frames.

#![deny(clippy::unwrap_used)]

pub mod camera;
pub mod pattern;
pub mod stop;
pub mod summary;

use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// The default region.
pub const DEFAULT_REGION: &str =
    if cfg!(windows) { "winshm://Local/gst-shm2-default" } else { "shm:///dev/shm/gst-shm2-default" };

/// Prints a line. Unlike `println!` it does not panic when the pipe is closed.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

/// As [`say!`], to standard error.
#[macro_export]
macro_rules! complain {
    ($($arguments:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($arguments)*);
    }};
}

/// Prints the result of a tool.
///
/// # Errors
/// When it could not be written for another reason than a closed pipe.
pub fn print_result(text: &str) -> Result<(), String> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot print the result: {error}"))
        }
        _ => Ok(()),
    }
}

/// Prints the manual page of a tool, made from its options.
pub fn print_man_page(tool: &'static str, options: clap::Command) -> ExitCode {
    let mut page = Vec::new();
    let made = clap_mangen::Man::new(options.name(tool)).render(&mut page).map_err(|error| error.to_string());
    match made.and_then(|()| print_result(String::from_utf8_lossy(&page).trim_end())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{tool}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `work`, and prints what it waits for when it takes longer than a second.
pub fn say_if_slow<T>(waits_for: impl FnOnce() -> String + Send, work: impl FnOnce() -> T) -> T {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let say = move || {
            if ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                complain!("waiting for {}", waits_for());
            }
        };
        // Without a thread the line is not printed.
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
    /// The start, the end and 64 samples in between of each frame.
    Sampled,
    /// Not at all.
    None,
}

/// The longest time that an option takes, about 30 years: a clock can always add it.
pub const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// Parses the name of a region, also a path that is not UTF-8.
pub fn region() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().try_map(region_name)
}

/// The text of a path that is not UTF-8 is a URI with escapes.
fn region_name(given: OsString) -> Result<String, String> {
    let bytes = match given.into_string() {
        Ok(text) => return Ok(text),
        Err(given) => given.into_encoded_bytes(),
    };
    let is_uri = bytes.starts_with(b"shm://");
    if cfg!(windows) || !is_uri && !bytes.starts_with(b"/") {
        return Err("a name that is not UTF-8 must be an absolute path".into());
    }
    let mut name = String::from(if is_uri { "" } else { "shm://" });
    for chunk in bytes.utf8_chunks() {
        // In a URI a percent sign begins an escape already.
        name += &if is_uri { chunk.valid().to_owned() } else { chunk.valid().replace('%', "%25") };
        chunk.invalid().iter().for_each(|byte| name += &format!("%{byte:02X}"));
    }
    Ok(name)
}

/// Parses a time: a number is in seconds (`0.5`), or a number has a unit (`250ms`, `1m 30s`).
///
/// # Errors
/// A sentence with the value in it.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let time = match text.parse() {
        Ok(number) => Duration::try_from_secs_f64(number).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    time.filter(|time| *time <= LONGEST)
        .ok_or_else(|| format!("{text:?} is not a time in seconds: write for example 0.5 or 500ms"))
}

/// Parses a lease time as [`seconds`] does, such as `2`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_of_seconds_or_has_a_unit() {
        for (text, ms) in
            [("0", 0), ("0.5", 500), (".5", 500), ("2", 2000), ("1e3", 1_000_000), ("1000000000", 1_000_000_000_000)]
        {
            assert_eq!(seconds(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, ms) in [("250ms", 250), ("2s", 2000), ("1m 30s", 90_000), ("1h", 3_600_000)] {
            assert_eq!(seconds(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "-1", "1e19", "1000000001", "inf", "NaN", "soon", "1 parsec", "900years"] {
            assert!(seconds(text).unwrap_err().contains(&format!("{text:?} is not a time in seconds")), "{text}");
        }
        assert_eq!((lease_time("2"), lease_time("0.1")), (Ok(Duration::from_secs(2)), Ok(Duration::from_millis(100))));
        assert!(lease_time("99ms").is_err() && lease_time("3601").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf_8_becomes_a_uri() {
        use std::os::unix::ffi::OsStringExt;
        let name = |bytes: &[u8]| region_name(OsString::from_vec(bytes.to_vec()));
        assert_eq!(name(b"/dev/shm/50%25"), Ok("/dev/shm/50%25".into()));
        assert_eq!(name(b"/dev/shm/50%25\xff a"), Ok("shm:///dev/shm/50%2525%FF a".into()));
        assert_eq!(name(b"shm:///dev/shm/50%25\xff"), Ok("shm:///dev/shm/50%25%FF".into()));
        assert!(name(b"\xff").is_err() && name(b"http://\xff").is_err());
    }

    #[test]
    fn a_size_is_a_number_of_bytes_with_units_of_1024() {
        for (text, expected) in [
            ("0", 0),
            ("64", 64),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("64M", 64 << 20),
            ("6m", 6 << 20),
            ("3G", 3 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "M", "6Q", "1.5M", "-1", "64 M", "18446744073709551616", "17179869184G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
