//! A daemon as a process, its clients and its consumers.

#![allow(dead_code, reason = "each test file uses a part")]

use serde_json::Value;
use shm2_testing::{ChildGuard, TempPath, TempRegion, until};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const SMALL: &str = "video/x-raw,format=I420,width=64,height=48,framerate=100/1";

/// A daemon with its region, its control socket and whatever else it puts somewhere.
pub struct Daemon {
    pub child: ChildGuard,
    pub region: TempRegion,
    pub control: TempPath,
    log: Arc<Mutex<Vec<String>>>,
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm2_relayd"));
    command.args(arguments).env_remove("RUNTIME_DIRECTORY");
    command
}

/// Runs it to its end, which must come by itself.
pub fn output(arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    ChildGuard::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap().output()
}

pub fn source(pattern: &str) -> String {
    format!("videotestsrc is-live=true pattern={pattern} ! {SMALL}")
}

impl Daemon {
    /// With this input, other arguments, and an output into a region of its own.
    pub fn start(input: &str, arguments: &[&str]) -> Self {
        let region = TempRegion::new();
        let sink = format!("shm2sink shm-size=8000000 shm-path={}", &*region);
        let output = format!("appsrc name=appsrc is-live=true format=time ! {sink}");
        Self::start_with(&output, region, input, arguments)
    }

    pub fn start_with(output: &str, region: TempRegion, input: &str, arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.args(["--output", output, "--input", input]);
        Self::spawn(command, region)
    }

    /// As [`start`](Self::start), with a variable of its environment.
    pub fn start_env(input: &str, arguments: &[&str], (name, value): (&str, &str)) -> Self {
        let region = TempRegion::new();
        let mut command = command(arguments);
        command.env(name, value).args(["--output", "appsrc name=appsrc ! fakesink", "--input", input]);
        Self::spawn(command, region)
    }

    /// All settings of it in a file.
    pub fn start_config(file: &str, region: TempRegion) -> Self {
        Self::spawn(command(&["--config", file]), region)
    }

    fn spawn(mut command: Command, region: TempRegion) -> Self {
        let control = TempPath::new("control");
        command.arg("--control").arg(&control).stderr(Stdio::piped());
        let mut child = ChildGuard::spawn(&mut command).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, own) = (BufReader::new(child.take_stderr().unwrap()).lines(), log.clone());
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| own.lock().unwrap().push(line)));
        let mut daemon = Self { child, region, control, log };
        until("the daemon answers", || {
            assert!(daemon.child.is_running(), "the daemon ended");
            daemon.try_status().is_some()
        });
        daemon
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub fn waits_for_log(&self, text: &str) {
        until(text, || self.log().contains(text));
    }

    /// Where it listens by TCP.
    pub fn address(&self) -> String {
        self.waits_for_log("listening at tcp://");
        let log = self.log();
        let line = log.lines().find(|line| line.contains("listening at tcp://")).unwrap();
        line.rsplit_once("tcp://").unwrap().1.into()
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    fn try_status(&self) -> Option<Value> {
        let output = command(&["--status", "--control"]).arg(&self.control).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    pub fn status(&self) -> Value {
        self.try_status().expect("the daemon answers")
    }

    pub fn waits_for(&self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        until(&format!("{key} is {value}"), || self.status()[key] == value);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        self.child.signal(signal);
    }

    /// Its open files that have this in their names.
    pub fn open_files(&self, name: &str) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        let targets = std::fs::read_dir(folder).unwrap().flatten().map(|entry| std::fs::read_link(entry.path()));
        targets.flatten().filter(|target| target.to_string_lossy().contains(name)).count()
    }

    /// Ends it by this signal.
    pub fn end(mut self, signal: rustix::process::Signal) {
        self.signal(signal);
        self.child.wait();
    }

    /// Ends it as a service manager would; returns how, and how long it took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        self.signal(rustix::process::Signal::TERM);
        let begun = Instant::now();
        (self.child.wait(), begun.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
