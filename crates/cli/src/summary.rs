//! Counts and times of what was received, printed at the end for people or for programs.

use std::fmt;
use std::time::{Duration, Instant};

/// Latencies kept for percentiles; later ones replace a random earlier one, so that the sample stays fair.
const MOST: usize = 1 << 20;

/// Gathers latencies and the time from the first frame to the last.
#[derive(Debug, Default)]
pub struct Summary {
    first: Option<Instant>,
    last: Option<Instant>,
    latencies_ns: Vec<u64>,
    seed: u64,
    /// Frames received.
    pub frames: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Frames that were gone before they could be taken.
    pub missed: u64,
    /// Frames passed over on purpose.
    pub skipped: u64,
    /// Frames read in place.
    pub leased: u64,
    /// Frames copied.
    pub copied: u64,
    /// Breaks in the stream that were marked.
    pub discontinuities: u64,
    /// Frames whose content or order was wrong.
    pub mismatches: u64,
    /// Times attached to a producer.
    pub attaches: u64,
}

impl Summary {
    /// Books one frame.
    pub fn frame(&mut self, bytes: usize, latency_ns: u64) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.frames += 1;
        self.bytes += bytes as u64;
        if self.latencies_ns.len() < MOST {
            self.latencies_ns.push(latency_ns);
            return;
        }
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (self.seed >> 33) % self.frames;
        if let Some(slot) = self.latencies_ns.get_mut(place as usize) {
            *slot = latency_ns;
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

    /// The latency in microseconds that this share of the frames did not exceed.
    pub fn latency_us(&self, share: f64) -> f64 {
        let mut sorted = self.latencies_ns.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).round() as usize).map_or(0.0, |ns| *ns as f64 / 1000.0)
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        format!(
            "{{\"frames\":{},\"bytes\":{},\"missed\":{},\"skipped\":{},\"leased\":{},\"copied\":{},\
             \"discontinuities\":{},\"attaches\":{},\"mismatches\":{},\"seconds\":{:.6},\"rate\":{:.3},\
             \"latency_us\":{{\"p50\":{:.1},\"p99\":{:.1},\"max\":{:.1}}}}}",
            self.frames,
            self.bytes,
            self.missed,
            self.skipped,
            self.leased,
            self.copied,
            self.discontinuities,
            self.attaches,
            self.mismatches,
            self.elapsed().as_secs_f64(),
            self.rate(),
            self.latency_us(0.5),
            self.latency_us(0.99),
            self.latency_us(1.0),
        )
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
        )
    }
}
