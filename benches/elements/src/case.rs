//! What can be measured.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    Pool,
    Fresh,
    Heap,
}

/// A picture's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    format: &'static str,
    width: usize,
    height: usize,
    pub(crate) bytes: usize,
    /// Buffers in flight at most.
    pub(crate) depth: usize,
}

const SIZES: [Size; 4] = [
    Size { name: "S", format: "I420", width: 320, height: 240, bytes: 115_200, depth: 32 },
    Size { name: "M", format: "NV12", width: 1920, height: 1080, bytes: 3_110_400, depth: 16 },
    Size { name: "L", format: "BGRx", width: 3840, height: 2160, bytes: 33_177_600, depth: 6 },
    Size { name: "8K", format: "BGRx", width: 7680, height: 4320, bytes: 132_710_400, depth: 4 },
];

/// One case; its text is `SIZE:FEED:PIXELS:RATE:CONSUMERS`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) size: Size,
    pub(crate) feed: Feed,
    pub(crate) touched: bool,
    /// Frames a second; 0: as fast as possible.
    pub(crate) rate: u32,
    pub(crate) consumers: usize,
}

impl Case {
    pub(crate) fn caps(&self) -> String {
        let Size { format, width, height, .. } = self.size;
        format!("video/x-raw,format={format},width={width},height={height},framerate=60/1")
    }

    /// Memory for the buffers in flight, and for those that the sink or the receivers hold beside them.
    pub(crate) fn memory_bytes(&self) -> usize {
        (self.size.depth + 3) * self.size.bytes + (8 << 20)
    }

    /// The figure that is compared.
    pub(crate) fn main_figure(&self) -> &'static str {
        if self.rate == 0 { "frames/s" } else { "p50 us" }
    }

    /// Why it cannot be measured here.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let free = rustix::fs::statvfs("/dev/shm").ok()?;
        let (free, needed) = (free.f_bavail * free.f_frsize, self.memory_bytes() as u64);
        (free < needed).then(|| format!("/dev/shm has {free} bytes, {needed} are needed"))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let feed = match self.feed {
            Feed::Pool => "pool",
            Feed::Fresh => "fresh",
            Feed::Heap => "heap",
        };
        let pixels = if self.touched { "touched" } else { "untouched" };
        write!(f, "{}:{feed}:{pixels}:{}:{}", self.size.name, self.rate, self.consumers)
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no case; one is M:pool:untouched:60:1");
        let words: Vec<_> = text.split(':').collect();
        let [size, feed, pixels, rate, consumers] = words[..] else { return Err(wrong()) };
        let feed = match feed {
            "pool" => Feed::Pool,
            "fresh" => Feed::Fresh,
            "heap" => Feed::Heap,
            _ => return Err(wrong()),
        };
        Ok(Self {
            size: *SIZES.iter().find(|known| known.name == size).ok_or_else(wrong)?,
            feed,
            touched: match pixels {
                "touched" => true,
                "untouched" => false,
                _ => return Err(wrong()),
            },
            rate: rate.parse().map_err(|_| wrong())?,
            consumers: consumers.parse().map_err(|_| wrong())?,
        })
    }
}

/// Cases of a quick report: those that have a target.
const QUICK: [&str; 7] = [
    "M:pool:untouched:60:1",
    "M:pool:untouched:0:1",
    "M:pool:touched:0:1",
    "M:heap:untouched:0:1",
    "L:heap:untouched:0:1",
    "M:pool:untouched:60:4",
    "M:pool:untouched:0:4",
];

/// The cases of a report.
pub(crate) fn set(name: &str) -> Result<Vec<Case>, String> {
    match name {
        "quick" => QUICK.iter().map(|case| case.parse()).collect(),
        "complete" => complete(),
        _ => Err(format!("{name:?} is no set of cases: quick or complete")),
    }
}

fn complete() -> Result<Vec<Case>, String> {
    let mut names = Vec::new();
    for rate in [60, 0] {
        for size in SIZES.map(|size| size.name) {
            for feed in ["pool", "fresh", "heap"] {
                for pixels in ["untouched", "touched"] {
                    names.push(format!("{size}:{feed}:{pixels}:{rate}:1"));
                }
            }
        }
        names.extend([2, 4, 8, 32].map(|consumers| format!("M:pool:untouched:{rate}:{consumers}")));
    }
    names.iter().map(|name| name.parse()).collect()
}
