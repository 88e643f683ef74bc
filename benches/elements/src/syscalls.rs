//! System calls, counted by strace while frames flow.

use crate::Result;
use figures::Record;
use shm2_testing::{ChildGuard, Signal};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// strace, attached to the sender and to one receiver.
pub(crate) struct Counting(Vec<(ChildGuard, PathBuf)>);

impl Counting {
    pub(crate) fn start(processes: &[u32]) -> Result<Self> {
        let attach = |process: &u32| -> Result<_> {
            let report = std::env::temp_dir().join(format!("shm2-bench-strace-{process}"));
            let mut strace = Command::new("strace");
            strace.args(["-f", "-c", "-q", "-o"]).arg(&report).args(["-p", &process.to_string()]);
            let child = ChildGuard::spawn(strace.stdout(Stdio::null()).stderr(Stdio::null()));
            Ok((child.map_err(|error| format!("strace: {error}"))?, report))
        };
        let all = processes.iter().map(attach).collect::<Result<_>>()?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(Self(all))
    }

    /// Detaches, and adds the calls per frame.
    pub(crate) fn finish(self, frames: f64, record: &mut Record) -> Result<()> {
        for ((mut strace, report), side) in self.0.into_iter().zip(["sender", "receiver"]) {
            strace.signal(Signal::INT);
            strace.wait();
            let text = std::fs::read_to_string(&report)?;
            let _ = std::fs::remove_file(&report);
            let calls = total(&text).ok_or("strace reports no total")?;
            record.figures.insert(format!("{side} system calls"), calls / frames);
        }
        Ok(())
    }
}

/// The calls in the last line: share, seconds, microseconds a call, calls, errors, "total".
fn total(report: &str) -> Option<f64> {
    let line = report.lines().rev().find(|line| line.ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
