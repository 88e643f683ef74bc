//! The daemon on Windows: an input that runs only while a TCP client is connected, into a named section.

#![cfg(windows)]

use shm2::{Consumer, Start};
use shm2_testing::{ChildGuard, LIMIT, TempRegion};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

struct Daemon {
    _child: ChildGuard,
    lines: Receiver<String>,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shm2_relayd"));
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = ChildGuard::spawn(&mut command).unwrap();
        let stderr = child.take_stderr().unwrap();
        let (said, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|l| drop(said.send(l)))
        });
        Self { _child: child, lines }
    }

    /// Waits for a line that holds `what`.
    fn says(&self, what: &str) -> String {
        let begun = Instant::now();
        loop {
            let left = LIMIT.saturating_sub(begun.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(what) => return line,
                Ok(_) => {}
                Err(error) => panic!("it did not say {what:?}: {error}"),
            }
        }
    }
}

#[test]
fn the_input_runs_while_a_tcp_client_is_connected() {
    let name = TempRegion::new();
    let output = format!("appsrc name=appsrc is-live=true format=time ! queue ! shm2sink shm-path={}", &*name);
    let input =
        "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 ! videoconvert";
    let settings = ["--listen", "tcp://127.0.0.1:0", "--output", &output, "--input", input, "--cool-down", "0"];
    let daemon = Daemon::start(&settings);
    let line = daemon.says("listening at tcp://");
    let address = line.rsplit("tcp://").next().unwrap().trim().to_owned();
    daemon.says("input off");
    let mut consumer = Consumer::builder(&name).unwrap().start(Start::Next).build();
    for _ in 0..3 {
        let client = TcpStream::connect(&address).unwrap();
        daemon.says("input on");
        for _ in 0..20 {
            assert!(!consumer.next(Some(LIMIT)).unwrap().is_empty());
        }
        drop(client);
        daemon.says("input off");
    }
}

#[test]
fn unsupported_addresses_are_refused_with_the_reason() {
    let output = "appsrc name=appsrc ! fakesink";
    for (arguments, expected) in [
        (["--listen", "unix:///tmp/x"], "unix"),
        (["--listen", "vsock://any:5"], "vsock"),
        (["--listen", "tcp://127.0.0.1:99999"], "99999"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shm2_relayd"));
        let settings = ["--output", output, "--input", "videotestsrc"];
        let done = command.args(arguments).args(settings).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && text.contains(expected), "{arguments:?}: {text}");
    }
}
