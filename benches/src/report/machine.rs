//! Where and how it was measured.

use serde::Serialize;
use std::process::Command;

/// One line of the report's head for each field.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    pub(crate) gstreamer: String,
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) command: String,
}

pub(crate) fn describe(command: &str) -> Machine {
    Machine {
        processor: processor().unwrap_or_else(|| "unknown".into()),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: said_by("uname", &["-srm"]),
        gstreamer: said_by("pkg-config", &["--modversion", "gstreamer-1.0"]),
        date: said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        commit: said_by("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
        command: command.into(),
    }
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().into())
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or("unknown".into(), |text| String::from_utf8_lossy(&text).trim().into())
}
