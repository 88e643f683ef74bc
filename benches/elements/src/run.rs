//! One run: a sender and its receivers.

use crate::case::Case;
use crate::{Result, syscalls};
use figures::{Quantiles, Record};
use shm2_testing::ChildGuard;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A process of this program.
struct Side {
    child: ChildGuard,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Side {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).env("G_MESSAGES_DEBUG", "");
        let mut child = ChildGuard::spawn(&mut command)?;
        let stdin = child.take_stdin();
        let lines = BufReader::new(child.take_stdout().ok_or("no standard output")?).lines();
        Ok(Self { child, stdin, lines })
    }

    /// The next line; an error when the process ended instead.
    fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().ok_or("the process ended early; its message is above")??)
    }

    fn record(&mut self) -> Result<Record> {
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

/// Measures a way once.
pub(crate) fn run(way: &str, case: &Case, seconds: Option<f64>, counts_calls: bool) -> Result<Record> {
    let seconds = seconds.unwrap_or(if case.rate == 0 { 0.5 } else { 1.5 });
    let path = path(way);
    let (text, length) = (case.to_string(), seconds.to_string());
    let mut sender = Side::start(&["send", way, &text, &length, &path])?;
    let outcome = (|| {
        sender.line()?;
        let start = |_| Side::start(&["receive", way, &text, &path]);
        let mut receivers = (0..case.consumers).map(start).collect::<Result<Vec<_>>>()?;
        for receiver in &mut receivers {
            receiver.line()?;
        }
        // What a start leaves behind in the kernel is done by then.
        std::thread::sleep(Duration::from_millis(50));
        let counting = counts_calls.then(|| syscalls::Counting::start(&[sender.child.id(), receivers[0].child.id()]));
        sender.stdin.as_mut().ok_or("no standard input")?.write_all(b"go\n")?;
        let mut record = sender.record()?;
        if let Some(counting) = counting {
            let frames = record.figures.get("sent/s").map_or(1.0, |rate| rate * seconds);
            counting?.finish(frames, &mut record)?;
        }
        std::thread::sleep(Duration::from_millis(30));
        let ends: Vec<_> = receivers
            .iter_mut()
            .map(|receiver| {
                receiver.stdin = None;
                receiver.record()
            })
            .collect::<Result<_>>()?;
        Ok(with_receivers(record, &ends))
    })();
    sender.stdin = None;
    let _ = sender.line();
    let _ = std::fs::remove_file(&path);
    outcome
}

fn path(way: &str) -> String {
    let directory = if way.starts_with("shm2") { "/dev/shm" } else { "/tmp" };
    format!("{directory}/shm2-bench-{}-{way}", std::process::id())
}

/// Adds the means over all receivers.
fn with_receivers(mut record: Record, receivers: &[Record]) -> Record {
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let names: std::collections::BTreeSet<_> = receivers.iter().flat_map(|one| one.figures.keys()).collect();
    for name in names {
        let values = receivers.iter().filter_map(|one| one.figures.get(name).copied()).collect();
        record.figures.insert(name.clone(), mean(values));
    }
    let all: Vec<_> = receivers.iter().filter_map(|one| one.latency.as_ref()).collect();
    if !all.is_empty() {
        let at = |index| mean(all.iter().map(|quantiles| quantiles.0[index]).collect());
        record.latency = Some(Quantiles((0..Quantiles::SHARES.len()).map(at).collect()));
    }
    record
}
