//! Commands and files that several rigs use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xtask::run::{command, root};

/// A file of the folder `rigs`, such as `vm/guest-init.sh`.
pub fn rig_file(name: &str) -> PathBuf {
    root().join("rigs").join(name)
}

/// The path without links and relative parts.
pub fn absolute(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))
}

/// Runs a program for so many seconds at most; `program` is its first argument. It ends with this process, however that
/// ends: on Ctrl+C, and when it is killed. The thread that starts it has to outlive it.
pub fn bounded(seconds: u32, program: &str) -> Command {
    let mut bounded = command("setpriv --pdeathsig KILL timeout --foreground --kill-after=10");
    bounded.arg(seconds.to_string()).args(["setpriv", "--pdeathsig", "KILL", program]);
    bounded
}

/// Runs a command without its output; true when it succeeds.
pub fn quietly(mut command: Command) -> bool {
    command.env("DEBIAN_FRONTEND", "noninteractive").env_remove("TMPDIR");
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Starts a bounded program, and ends as a rig does that is killed.
    #[test]
    fn a_bounded_program_ends_with_the_thread_that_started_it() {
        let mark = format!("{}.5", 8_000_000 + std::process::id());
        let mut line = bounded(60, "sleep");
        line.arg(&mark);
        let mut child = std::thread::spawn(move || {
            let child = line.stderr(Stdio::null()).spawn().unwrap();
            // Until the last program of the chain runs.
            let begun = Instant::now();
            while !runs(&mark) {
                assert!(begun.elapsed() < Duration::from_secs(5), "it does not start");
                std::thread::sleep(Duration::from_millis(10));
            }
            (child, mark)
        })
        .join()
        .unwrap();
        let _ = child.0.wait();
        let begun = Instant::now();
        while runs(&child.1) {
            assert!(begun.elapsed() < Duration::from_secs(5), "it is left");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether a process `sleep MARK` is there.
    fn runs(mark: &str) -> bool {
        let line = format!("sleep\0{mark}\0");
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes.map(|it| std::fs::read(it.path().join("cmdline")).unwrap_or_default()).any(|it| it == line.as_bytes())
    }

    #[test]
    fn a_bounded_program_ends_after_its_time() {
        let begun = Instant::now();
        let status = bounded(1, "sleep").arg("30").status().unwrap();
        assert_eq!(status.code(), Some(124));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
