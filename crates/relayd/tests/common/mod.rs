//! A daemon as a process, its clients and its consumers.

#![allow(dead_code, clippy::unwrap_used)]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest time for anything that must happen.
pub const LIMIT: Duration = Duration::from_secs(20);
pub const SMALL: &str = "video/x-raw,format=I420,width=64,height=48,framerate=100/1";

/// A daemon with its region, its control socket and whatever else it puts somewhere.
pub struct Daemon {
    pub child: Child,
    pub region: String,
    pub control: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

/// A fresh name for files of one test.
pub fn fresh(what: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("shm2-test-relay-{what}-{}-{number}", std::process::id()))
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm2_relayd"));
    command.args(arguments).env_remove("RUNTIME_DIRECTORY");
    command
}

/// Runs it to its end, which must come by itself.
pub fn output(arguments: &[&str]) -> Output {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the daemon ends", || child.try_wait().unwrap().is_some());
    child.wait_with_output().unwrap()
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn source(pattern: &str) -> String {
    format!("videotestsrc is-live=true pattern={pattern} ! {SMALL}")
}

impl Daemon {
    /// With this input, other arguments, and an output into a region of its own.
    pub fn start(input: &str, arguments: &[&str]) -> Self {
        let region = format!("/dev/shm/{}", fresh("region").file_name().unwrap().to_str().unwrap());
        let output =
            format!("appsrc name=appsrc is-live=true format=time ! shm2sink shm-size=8000000 shm-path={region}");
        Self::start_with(&output, region, input, arguments)
    }

    pub fn start_with(output: &str, region: String, input: &str, arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.args(["--output", output, "--input", input]);
        Self::spawn(command, region)
    }

    /// All settings of it in a file.
    pub fn start_config(file: &str, region: String) -> Self {
        Self::spawn(command(&["--config", file]), region)
    }

    fn spawn(mut command: Command, region: String) -> Self {
        let control = fresh("control");
        let mut child = command.arg("--control").arg(&control).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, own) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| own.lock().unwrap().push(line)));
        let mut daemon = Self { child, region, control, log };
        until("the daemon answers", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon ended");
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
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its open files that have this in their names.
    pub fn open_files(&self, name: &str) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        let targets = std::fs::read_dir(folder).unwrap().flatten().map(|entry| std::fs::read_link(entry.path()));
        targets.flatten().filter(|target| target.to_string_lossy().contains(name)).count()
    }

    /// Ends it as a service manager would; returns how, and how long it took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        self.signal(rustix::process::Signal::TERM);
        let begun = Instant::now();
        until("the daemon ends", || self.child.try_wait().unwrap().is_some());
        (self.child.wait().unwrap(), begun.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.region);
        let _ = std::fs::remove_file(&self.control);
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
