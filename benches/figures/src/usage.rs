//! What this process used: processor time, page faults, context switches.

use crate::{Figures, now_ns};
use std::fs;

/// Counters of this process, all its threads together.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    time_ns: u64,
    processor_ns: u64,
    delay_ns: u64,
    page_faults: u64,
    switches: u64,
}

impl Usage {
    /// The counters now.
    pub fn now() -> Self {
        Self {
            time_ns: now_ns(),
            processor_ns: processor_ns(),
            delay_ns: delay_ns(),
            page_faults: page_faults(),
            switches: switches(),
        }
    }

    /// Adds what was used since `begun`, for each of `frames` frames, under names that start with `side`.
    pub fn per_frame(self, begun: Self, frames: u64, side: &str, figures: &mut Figures) {
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / frames.max(1) as f64;
        let mut add = |what: &str, figure| figures.insert(format!("{side} {what}"), figure);
        add("CPU us", each(self.processor_ns, begun.processor_ns) / 1e3);
        add("page faults", each(self.page_faults, begun.page_faults));
        add("context switches", each(self.switches, begun.switches));
        let took = self.time_ns.saturating_sub(begun.time_ns).max(1);
        add("waited for a CPU %", 100.0 * self.delay_ns.saturating_sub(begun.delay_ns) as f64 / took as f64);
    }
}

/// The process's clock has a resolution of nanoseconds and includes threads that have ended.
fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Minor and major faults: fields 10 and 12 of `/proc/self/stat`.
fn page_faults() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // The name, which may contain blanks, and the number before it are cut off.
    [7, 9].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum()
}

/// Voluntary and other context switches of all threads.
fn switches() -> u64 {
    let count = |status: String| -> u64 {
        let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        lines.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
    };
    threads("status").map(count).sum()
}

/// Nanoseconds for which threads were ready to run but others ran: the second field of `schedstat`.
fn delay_ns() -> u64 {
    threads("schedstat").filter_map(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// What the kernel's file of this name says of each thread.
fn threads(file: &str) -> impl Iterator<Item = String> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(move |thread| fs::read_to_string(thread.path().join(file)).ok())
}
