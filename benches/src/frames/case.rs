//! What can be measured.

/// How frames are sent, and how they are received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// So many frames a second; the sender reads the clock, the receiver looks for frames, until they are there.
    Polled(u32),
    /// So many frames a second; both sides sleep in between.
    Woken(u32),
    /// As fast as the receiver takes them; both sides look, no frame is lost.
    Stream,
}

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) bytes: usize,
    pub(crate) pace: Pace,
    /// The sender writes all bytes, the receiver reads all of them. Otherwise nothing but the stamp is touched.
    pub(crate) touched: bool,
}

/// A frame of 1920x1080 NV12.
const PICTURE: usize = 3_110_400;

const fn case(name: &'static str, text: &'static str, bytes: usize, pace: Pace) -> Case {
    Case { name, text, bytes, pace, touched: false }
}

/// All cases.
pub(crate) const CASES: [Case; 8] = [
    case("paced", "1 KiB at 2,000/s, polled: latency", 1024, Pace::Polled(2000)),
    case("paced-3m", "3 MB at 2,000/s, polled: latency", PICTURE, Pace::Polled(2000)),
    case("stream-64", "64 B unthrottled, polled", 64, Pace::Stream),
    case("stream-1k", "1 KiB unthrottled, polled", 1024, Pace::Stream),
    case("stream-3m", "3 MB unthrottled, polled", PICTURE, Pace::Stream),
    case("woken", "3 MB at 60/s, the receiver sleeps: latency", PICTURE, Pace::Woken(60)),
    Case { touched: true, ..case("touched-3m", "3 MB unthrottled, polled, written and read", PICTURE, Pace::Stream) },
    case("ping", "round trips of one word", 0, Pace::Stream),
];

impl Case {
    /// The ways that can do it.
    pub(crate) fn ways(&self) -> Vec<&'static str> {
        match self.pace {
            _ if self.is_ping() => vec!["raw spin", "raw futex"],
            Pace::Stream => vec!["shm2", "iceoryx2"],
            Pace::Polled(_) | Pace::Woken(_) => vec!["shm2", "iceoryx2", "raw"],
        }
    }

    /// Whether this is the ping-pong of the raw limits.
    pub(crate) fn is_ping(&self) -> bool {
        self.bytes == 0
    }

    /// Frames that fit into the memory between the two sides.
    pub(crate) fn depth(&self) -> usize {
        if self.bytes > 1 << 20 { 8 } else { 64 }
    }

    /// The figure that is compared.
    pub(crate) fn main_figure(&self) -> &'static str {
        if self.pace == Pace::Stream && !self.is_ping() { "M/s" } else { "p50 us" }
    }

    /// Frames before the measured ones.
    pub(crate) fn warm_up(&self) -> u64 {
        match self.pace {
            Pace::Polled(_) => 100,
            Pace::Woken(_) => 6,
            Pace::Stream => 1000,
        }
    }
}
