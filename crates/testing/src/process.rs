//! What `/proc` reports about a process. Where there is no `/proc`, everything is `None`, zero or empty.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Resources that a process uses.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident anonymous pages; mapped regions do not count.
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

/// Resources that a process uses now; `None` when it has ended.
pub fn usage(id: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    Some(Usage {
        resident_bytes: field(&status, "RssAnon")? * 1024,
        descriptors: fs::read_dir(format!("/proc/{id}/fd")).ok()?.count(),
        threads: field(&status, "Threads")?,
    })
}

/// Largest resident size that a process had so far, in bytes.
pub fn peak_bytes(id: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{id}/status")).ok()?, "VmHWM").map(|kib| kib * 1024)
}

/// One entry for each thread, for a message: name, state, processor time in ticks, and the kernel function it waits in.
pub fn threads(id: u32) -> String {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
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

/// Processor time that all threads of a process used so far, from the scheduler's statistics.
pub fn busy(id: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let times = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}

/// Context switches of all threads so far.
pub fn switches(id: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let statuses = threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    statuses
        .map(|s| {
            field(&s, "voluntary_ctxt_switches").unwrap_or(0) + field(&s, "nonvoluntary_ctxt_switches").unwrap_or(0)
        })
        .sum()
}

/// Whether a process is stopped, as by SIGSTOP.
pub fn is_stopped(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

/// Whether a process has a handler for the signal with this number.
pub fn catches(id: u32, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}
