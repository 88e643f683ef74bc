//! What the system says of a process.

use std::fmt;
use std::fs;

/// What a process uses.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Memory of its own: anonymous pages that are resident, without the regions that it maps.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} descriptors, {} threads", self.resident_bytes >> 10, self.descriptors, self.threads)
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// What a process uses now; `None` when it is gone.
pub fn usage(id: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    Some(Usage {
        resident_bytes: field(&status, "RssAnon")? * 1024,
        descriptors: fs::read_dir(format!("/proc/{id}/fd")).ok()?.count(),
        threads: field(&status, "Threads")?,
    })
}

/// Most bytes of memory that a process ever had.
pub fn peak_bytes(id: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{id}/status")).ok()?, "VmHWM").map(|kib| kib * 1024)
}

/// What each thread of a process is doing, for a message: its name, state, processor time in ticks, and where it waits.
pub fn threads(id: u32) -> String {
    let read = |path: std::path::PathBuf| fs::read_to_string(path).unwrap_or_default();
    let describe = |thread: fs::DirEntry| {
        let stat = read(thread.path().join("stat"));
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or("?").to_owned();
        let (name, place) = (read(thread.path().join("comm")), read(thread.path().join("wchan")));
        format!("{} {} user {} system {} at {place}", name.trim(), field(0), field(11), field(12))
    };
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    threads.map(describe).collect::<Vec<_>>().join("; ")
}

/// Processor time that a process has taken so far; in steps of the system's scheduler statistics, nanoseconds.
pub fn busy(id: u32) -> std::time::Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let times = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    std::time::Duration::from_nanos(times.sum())
}

/// How often all of its threads were switched to so far.
pub fn switches(id: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let statuses = threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    statuses
        .map(|s| {
            field(&s, "voluntary_ctxt_switches").unwrap_or(0) + field(&s, "nonvoluntary_ctxt_switches").unwrap_or(0)
        })
        .sum()
}
