//! Numbers and texts as people read them, and a region as JSON.

use crate::output::plain;
use serde::Serialize;
use shm2::Overview;
use shm2::discovery::ConsumerOverview;
use shm2_media::Media;
use std::time::Duration;

/// Bytes with a unit of 1,024: `64.0 MiB`.
pub fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A time in the unit that suits it: `3.2 ms`.
pub fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

/// Caps as text; bytes that are not UTF-8 and control characters are replaced.
pub fn caps(region: &Overview) -> Option<String> {
    Some(plain(&String::from_utf8_lossy(region.caps.as_deref()?)))
}

/// Name of the process with this number here; in another process namespace it is another one's. A dash without one.
pub fn process(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or("-".into(), |name| plain(name.trim_end()))
}

/// The last part of the region's name.
pub fn name(region: &Overview) -> String {
    plain(&region.path.file_name().unwrap_or(region.path.as_os_str()).to_string_lossy())
}

/// What the frames are, in a few words; the caps where those do not tell.
pub fn words(region: &Overview) -> Option<String> {
    media(region).map(|media| media.to_string()).or_else(|| caps(region))
}

/// What the caps describe; `None` without caps, and when they cannot be parsed.
pub fn media(region: &Overview) -> Option<Media> {
    Media::from_caps(region.caps.as_deref()?).ok()
}

/// One region as an object. Times are in nanoseconds, sizes in bytes.
#[derive(Serialize)]
pub struct RegionJson {
    region: String,
    bytes: u64,
    arena_bytes: u64,
    generation: String,
    producer_pid: u32,
    kept: bool,
    created_ns: u64,
    full_policy: Option<String>,
    history: u32,
    max_leases: u32,
    oldest: u64,
    newest: u64,
    published_ns: Option<u64>,
    age_ns: Option<u64>,
    frame_bytes: Option<u64>,
    caps: Option<String>,
    dropped_oldest: u64,
    dropped_newest: u64,
    dropped_too_large: u64,
    consumers: Vec<ConsumerJson>,
}

#[derive(Serialize)]
struct ConsumerJson {
    page: usize,
    pid: u32,
    next: Option<u64>,
    lag: u64,
    held: u32,
    held_bytes: u64,
    received: u64,
    missed: u64,
    skipped: u64,
    copied: u64,
}

impl From<&Overview> for RegionJson {
    fn from(region: &Overview) -> Self {
        Self {
            region: region.uri(),
            bytes: region.bytes,
            arena_bytes: region.arena_bytes,
            // As text: numbers in JSON are exact up to 2^53 only.
            generation: format!("{:016x}", region.generation),
            producer_pid: region.producer_pid,
            kept: region.is_kept,
            created_ns: region.created_ns,
            full_policy: region.full_policy.map(|policy| policy.to_string()),
            history: region.history,
            max_leases: region.max_leases,
            oldest: region.oldest,
            newest: region.newest,
            published_ns: region.published_ns,
            age_ns: region.age.map(|age| age.as_nanos() as u64),
            frame_bytes: region.frame_bytes,
            caps: caps(region),
            dropped_oldest: region.dropped_oldest,
            dropped_newest: region.dropped_newest,
            dropped_too_large: region.dropped_too_large,
            consumers: region.consumers.iter().map(ConsumerJson::from).collect(),
        }
    }
}

impl From<&ConsumerOverview> for ConsumerJson {
    fn from(consumer: &ConsumerOverview) -> Self {
        let &ConsumerOverview { page, pid, next, lag, held, held_bytes, received, missed, skipped, copied, .. } =
            consumer;
        Self { page, pid, next, lag, held, held_bytes, received, missed, skipped, copied }
    }
}
