//! A child process that does not outlive its test.

use crate::{LIMIT, until_within};
use std::io::{self, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output};
use std::thread::JoinHandle;
use std::time::Duration;

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

/// A child process; killed and waited for at drop.
#[derive(Debug)]
pub struct ChildGuard {
    child: Child,
    /// Known once it was waited for; from then on its process id may belong to another process.
    status: Option<ExitStatus>,
}

impl ChildGuard {
    /// Starts `command`.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        // Under Wine a process sometimes fails before its first instruction (ERROR_INTERNAL_ERROR).
        let is_wine_failure = |error: &io::Error| cfg!(windows) && error.raw_os_error() == Some(1359);
        for _ in 0..9 {
            match command.spawn() {
                Err(error) if is_wine_failure(&error) => {}
                spawned => return spawned.map(|child| Self { child, status: None }),
            }
        }
        command.spawn().map(|child| Self { child, status: None })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input, once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The pipe from its standard output, once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The pipe from its standard error, once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Exit status of a process that has ended, `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.status = self.status.or_else(|| self.child.try_wait().ok().flatten());
        self.status
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not end within [`LIMIT`].
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(LIMIT)
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        until_within(limit, "the process ends", || {
            status = self.ended();
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Waits until it has ended; its exit status and what it wrote to the pipes that were not taken.
    ///
    /// # Panics
    /// When it does not end within [`LIMIT`].
    #[track_caller]
    pub fn output(mut self) -> Output {
        drop(self.take_stdin());
        // Read while it runs: a full pipe would stop it.
        let (stdout, stderr) = (read_to_end(self.take_stdout()), read_to_end(self.take_stderr()));
        let status = self.wait();
        let bytes = |reader: JoinHandle<Vec<u8>>| reader.join().expect("a reading thread");
        Output { status, stdout: bytes(stdout), stderr: bytes(stderr) }
    }

    /// Kills it and waits until it has ended.
    pub fn kill(mut self) {
        self.end();
    }

    /// Sends a signal. A process that has ended gets none.
    #[cfg(unix)]
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    fn end(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        self.end();
    }
}

fn read_to_end(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is kept.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}
