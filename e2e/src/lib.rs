//! Drives processes that produce and consume (`shm2_peer`).
//!
//! A peer checks every guarantee that it can observe and exits with code 3 at the first violation: order and accounting
//! of sequences, the content of each frame when it arrives and again after it was held, extents that add up to the
//! arena. A test starts, kills, stops and disturbs peers, and checks that the others go on.

#![forbid(unsafe_code)]

use shm2_testing::{ChildGuard, Signal, process};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Last value of each count that a peer has reported.
pub type Counts = HashMap<String, u64>;

/// A running `shm2_peer`; killed when dropped.
pub struct Peer {
    child: ChildGuard,
    stdin: Option<ChildStdin>,
    counts: Arc<Mutex<Counts>>,
}

/// Path of `shm2_peer`: in the directory of the running program, or above it.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    let directory = here.parent().unwrap_or(Path::new("."));
    let directory = if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    directory.join("shm2_peer")
}

impl Peer {
    /// Starts `shm2_peer ARGUMENTS`.
    pub fn start(arguments: &str) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts it with an environment.
    pub fn start_with(arguments: &str, environment: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(program()), arguments, environment)
    }

    /// Starts it by another program, which passes its input on and ends with it.
    pub fn start_under(wrapper: &str, arguments: &str) -> Self {
        let mut words = wrapper.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("env"));
        command.args(words).arg(program());
        Self::spawn(command, arguments, &[])
    }

    fn spawn(mut command: Command, arguments: &str, environment: &[(&str, &str)]) -> Self {
        command.args(arguments.split_whitespace()).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match ChildGuard::spawn(&mut command) {
            Ok(child) => child,
            Err(error) => panic!("cannot start {:?}: {error}", program()),
        };
        let counts = Arc::new(Mutex::new(Counts::new()));
        if let Some(stdout) = child.take_stdout() {
            let counts = counts.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    counts.lock().unwrap_or_else(PoisonError::into_inner).extend(parse(&line));
                }
            });
        }
        let stdin = child.take_stdin();
        Self { child, stdin, counts }
    }

    /// A producer at `name`.
    pub fn producer(name: &str, options: &str) -> Self {
        Self::start(&format!("producer {name} {options}"))
    }

    /// A consumer at `name`.
    pub fn consumer(name: &str, options: &str) -> Self {
        Self::start(&format!("consumer {name} {options}"))
    }

    /// A count of its last report, 0 if it had none.
    pub fn count(&self, key: &str) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or_default()
    }

    /// Waits until `condition` holds for its counts; returns the time it took.
    ///
    /// # Panics
    /// When it does not hold within `limit`, or the peer ends before.
    pub fn wait(&mut self, what: &str, limit: Duration, condition: impl Fn(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !condition(self) {
            if let Some(status) = self.ended() {
                panic!("waiting for {what:?}: the peer ended: {status}");
            }
            if begun.elapsed() >= limit {
                let (counts, threads) = (&self.counts, process::threads(self.id()));
                panic!("no {what:?} within {limit:?}: {counts:?}, threads: {threads}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        begun.elapsed()
    }

    /// Waits until a count has grown by `more`; returns the time it took.
    pub fn wait_more(&mut self, key: &str, more: u64, limit: Duration) -> Duration {
        let before = self.count(key);
        self.wait(key, limit, |peer| peer.count(key) >= before + more)
    }

    /// Exit status of a peer that has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.ended()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait_end(&mut self) -> ExitStatus {
        self.child.wait()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. A peer that has ended gets none.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Whether it is stopped, as by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        process::is_stopped(self.id())
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(self) {
        self.child.kill();
    }

    /// Starts the count of passes of its kill point (`SHM2_POINT_WAITS=1`).
    ///
    /// # Panics
    /// When its standard input is closed.
    pub fn arm(&mut self) {
        let written = self.stdin.as_mut().map(|stdin| stdin.write_all(b"\n"));
        assert!(matches!(written, Some(Ok(()))), "cannot write to the peer: {written:?}");
    }

    /// Asks it to stop in an orderly way.
    pub fn ask_to_stop(&mut self) {
        drop(self.stdin.take());
    }

    /// Stops it in an orderly way; returns its last counts.
    ///
    /// # Panics
    /// When it does not end, or has found a violation.
    pub fn stop(mut self) -> Counts {
        self.ask_to_stop();
        let status = self.wait_end();
        assert!(status.success(), "a peer failed: {status}: {:?}", self.counts);
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn parse(line: &str) -> Counts {
    let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect()
}

/// Adds a value to a checksum that depends on the order of the values.
pub fn checksum(sum: u64, value: u64) -> u64 {
    sum.wrapping_mul(31).wrapping_add(value)
}
