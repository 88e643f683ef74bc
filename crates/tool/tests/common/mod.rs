//! The command as a process, and regions for it to look at.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod http;

use shm2::{FrameInfo, Producer};
use shm2_testing::{ChildGuard, TempPath, TempRegion, until};
use std::process::{Command, Stdio};

/// How the command ended.
pub struct Ended {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub error: String,
}

impl Ended {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// The lines of standard output, each one JSON object.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.text().lines().map(parse).collect()
    }

    /// Asserts that the command succeeded.
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.text(), self.error);
        self
    }

    /// Asserts that the command failed with one line on standard error that has `text`, and without a panic.
    pub fn failed_with(self, text: &str) -> Self {
        assert_eq!(self.code, Some(1), "{}{}", self.text(), self.error);
        assert!(self.error.starts_with("shm2: ") && self.error.contains(text), "{}", self.error);
        assert_eq!(self.error.trim_end().lines().count(), 1, "{}", self.error);
        self
    }
}

/// `shm2` with `arguments`, which runs to its end.
pub fn shm2(arguments: &[&str]) -> Ended {
    ended(begin(arguments))
}

/// `shm2` with `arguments` by a user who may not read each file: for root without the capabilities that override
/// rights. `None`, after a line that says so, where that cannot be had.
#[cfg(unix)]
pub fn shm2_without_override(arguments: &[&str]) -> Option<Ended> {
    if !rustix::process::geteuid().is_root() {
        return Some(shm2(arguments));
    }
    let without = |program: &str| {
        let mut command = Command::new("setpriv");
        let capabilities = "-dac_override,-dac_read_search";
        command.args(["--inh-caps", capabilities, "--bounding-set", capabilities, program]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    if !without("true").status().is_ok_and(|status| status.success()) {
        shm2_testing::skip("setpriv cannot take capabilities away from root");
        return None;
    }
    let mut command = without(env!("CARGO_BIN_EXE_shm2"));
    Some(ended(ChildGuard::spawn(command.args(arguments)).unwrap()))
}

fn ended(child: ChildGuard) -> Ended {
    let output = child.output();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Ended { code: output.status.code(), out: output.stdout, error }
}

/// `shm2` with `arguments`, in the background.
pub fn begin(arguments: &[&str]) -> ChildGuard {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm2"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ChildGuard::spawn(&mut command).unwrap()
}

/// A producer with `frames` frames of `bytes`, under `caps` unless they are empty.
pub fn producer(name: &str, caps: &str, frames: u64, bytes: &[u8]) -> Producer {
    let mut producer = Producer::builder(name).unwrap().size(16 << 20).create().unwrap();
    if !caps.is_empty() {
        producer.set_caps(caps.as_bytes()).unwrap();
    }
    for number in 0..frames {
        producer.send(bytes, &FrameInfo::new().with_pts(number * 40_000_000)).unwrap();
    }
    producer
}

/// A folder with a region whose producer, `shm2 replay`, was killed.
pub fn folder_with_a_dead_region() -> TempRegion {
    let (name, file, folder) = (TempRegion::new(), TempPath::new("mcap"), TempRegion::new());
    std::fs::create_dir(folder.path()).unwrap();
    let source = producer(&name, "video/x-raw", 1, b"frame");
    shm2(&["record", "-o", file.text(), &name, "-n", "1"]).succeeded();
    drop(source);
    let dead = folder.path().join("dead");
    let map = format!("{}={}", &*name, dead.display());
    let player = begin(&["replay", file.text(), "--loop", "--map", &map]);
    until("the region is there", || shm2::Overview::of(dead.to_str().unwrap()).is_ok());
    player.kill();
    folder
}
