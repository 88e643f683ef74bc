//! A process of the demonstration: `shm2_demo`, which prints counts and ends with its input.

use crate::run::target;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts that a program printed last.
pub type Counts = HashMap<String, f64>;

/// One running program; killed when dropped.
pub struct Program {
    pub name: &'static str,
    child: Child,
    counts: Arc<Mutex<Counts>>,
}

/// A GStreamer program that finds this project's plugin.
pub fn gstreamer(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("GST_PLUGIN_PATH", target().join("debug")).env("GST_REGISTRY", target().join("demo/registry.bin"));
    command
}

impl Program {
    /// Starts `shm2_demo ROLE PIPELINE`.
    pub fn start(name: &'static str, role: &str, pipeline: &str) -> Result<Self, String> {
        let mut command = gstreamer(&target().join("debug/examples/shm2_demo").display().to_string());
        command.args([role, pipeline]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C ends this program, the closed pipe then ends the others in an orderly way.
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| format!("cannot start the {name}: {e}"))?;
        let counts = Arc::new(Mutex::new(Counts::new()));
        if let Some(stdout) = child.stdout.take() {
            let counts = counts.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    *counts.lock().unwrap_or_else(PoisonError::into_inner) = parse(&line);
                }
            });
        }
        Ok(Self { name, child, counts })
    }

    /// A count of its last report, 0 if it had none.
    pub fn count(&self, key: &str) -> f64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or_default()
    }

    /// Its name and last report.
    pub fn result(&self) -> (&'static str, Counts) {
        (self.name, self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<(&'static str, Counts), String> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_err(|e| format!("cannot kill the {}: {e}", self.name))?;
        Ok((self.name, self.result().1))
    }

    /// Closes its standard input and waits for its end.
    pub fn stop(mut self) -> Result<(&'static str, Counts), String> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => break,
                Ok(Some(status)) => return Err(format!("the {} failed: {status}", self.name)),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                _ => return Err(format!("the {} does not end", self.name)),
            }
        }
        // Its last line may still be on the way.
        std::thread::sleep(Duration::from_millis(50));
        Ok(self.result())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Counts {
    let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect()
}
