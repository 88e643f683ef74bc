//! Counts and times of the received frames, printed at the end as text or as JSON.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// Longest latency that is recorded, in nanoseconds: longer ones count as one hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Gathers latencies and the time from the first frame to the last.
#[derive(Debug)]
pub struct Summary {
    first: Option<Instant>,
    last: Option<Instant>,
    latencies_ns: Histogram<u64>,
    /// Frames received.
    pub frames: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Frames that were overwritten before the consumer took them.
    pub missed: u64,
    /// Frames skipped by `--latest-only`.
    pub skipped: u64,
    /// Frames read in place.
    pub leased: u64,
    /// Frames copied.
    pub copied: u64,
    /// Frames marked as a discontinuity.
    pub discontinuities: u64,
    /// Frames whose content or order was wrong.
    pub mismatches: u64,
    /// Times attached to a producer.
    pub attaches: u64,
    /// Looks ahead of time that found a frame, and that found none; `None` without any.
    pub looks: Option<(u64, u64)>,
}

/// The fields of `--json`, in their order.
#[derive(Serialize)]
struct Report {
    frames: u64,
    bytes: u64,
    missed: u64,
    skipped: u64,
    leased: u64,
    copied: u64,
    discontinuities: u64,
    attaches: u64,
    mismatches: u64,
    seconds: f64,
    rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    looks_found: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    looks_missed: Option<u64>,
    latency_us: Latency,
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Default for Summary {
    fn default() -> Self {
        // Constants within the documented bounds: 1 <= lowest, 2 * lowest <= highest, at most 5 digits.
        let latencies_ns = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are valid");
        Self {
            first: None,
            last: None,
            latencies_ns,
            frames: 0,
            bytes: 0,
            missed: 0,
            skipped: 0,
            leased: 0,
            copied: 0,
            discontinuities: 0,
            mismatches: 0,
            attaches: 0,
            looks: None,
        }
    }
}

impl Summary {
    /// Counts one frame; its latency, if it is known.
    pub fn frame(&mut self, bytes: usize, latency_ns: Option<u64>) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.frames += 1;
        self.bytes += bytes as u64;
        if let Some(latency_ns) = latency_ns {
            self.latencies_ns.saturating_record(latency_ns);
        }
    }

    /// Time from the first frame to the last.
    pub fn elapsed(&self) -> Duration {
        self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// Frames per second between the first frame and the last.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed().as_secs_f64();
        if seconds > 0.0 { (self.frames - 1) as f64 / seconds } else { 0.0 }
    }

    /// The latency in microseconds that this share of the frames did not exceed, to three digits.
    pub fn latency_us(&self, share: f64) -> f64 {
        self.latencies_ns.value_at_quantile(share) as f64 / 1000.0
    }

    /// One JSON object in one line.
    ///
    /// # Errors
    /// None in practice: every field is a number.
    pub fn json(&self) -> serde_json::Result<String> {
        let rounded = |value: f64, scale: f64| (value * scale).round() / scale;
        let latency = |share| rounded(self.latency_us(share), 10.0);
        serde_json::to_string(&Report {
            frames: self.frames,
            bytes: self.bytes,
            missed: self.missed,
            skipped: self.skipped,
            leased: self.leased,
            copied: self.copied,
            discontinuities: self.discontinuities,
            attaches: self.attaches,
            mismatches: self.mismatches,
            seconds: rounded(self.elapsed().as_secs_f64(), 1e6),
            rate: rounded(self.rate(), 1e3),
            looks_found: self.looks.map(|(found, _)| found),
            looks_missed: self.looks.map(|(_, missed)| missed),
            latency_us: Latency { p50: latency(0.5), p99: latency(0.99), max: latency(1.0) },
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "frames {}  missed {}  skipped {}  mismatches {}  breaks {}  producers {}",
            self.frames, self.missed, self.skipped, self.mismatches, self.discontinuities, self.attaches
        )?;
        let megabytes = self.bytes as f64 / 1e6;
        writeln!(
            f,
            "read in place {}  copied {}  {megabytes:.1} MB in {:.3} s, {:.1} frames/s",
            self.leased,
            self.copied,
            self.elapsed().as_secs_f64(),
            self.rate()
        )?;
        write!(
            f,
            "latency us: p50 {:.1}  p99 {:.1}  max {:.1}",
            self.latency_us(0.5),
            self.latency_us(0.99),
            self.latency_us(1.0)
        )?;
        match self.looks {
            Some((found, missed)) => write!(f, "\nlooks ahead of time: found a frame {found}  found none {missed}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_all_counts_in_their_order() {
        let mut summary = Summary { missed: 3, attaches: 1, ..Summary::default() };
        for latency_us in 1..=100 {
            summary.frame(64, Some(latency_us * 1000));
        }
        let json = summary.json().unwrap();
        assert!(json.starts_with("{\"frames\":100,\"bytes\":6400,\"missed\":3,\"skipped\":0,"), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let latency = |key: &str| value["latency_us"][key].as_f64().unwrap();
        let is_near = |found: f64, expected: f64| (found - expected).abs() <= expected / 1000.0 + 0.1;
        assert!(is_near(latency("p50"), 50.0) && is_near(latency("p99"), 99.0) && is_near(latency("max"), 100.0));
    }

    #[test]
    fn without_frames_all_figures_are_zero() {
        let value: serde_json::Value = serde_json::from_str(&Summary::default().json().unwrap()).unwrap();
        assert_eq!((&value["rate"], &value["latency_us"]["max"]), (&0.0.into(), &0.0.into()));
    }
}
