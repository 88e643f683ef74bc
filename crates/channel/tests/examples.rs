//! The example programs, run as processes.

#![cfg(target_os = "linux")]

use shm2_testing::{ChildGuard, TempPath};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

fn example(name: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    Command::new(this.parent().unwrap().parent().unwrap().join("examples").join(name))
}

/// A server process that listens. Killed when dropped.
struct Server {
    _child: ChildGuard,
    socket: TempPath,
}

impl Server {
    fn start(name: &str) -> Self {
        let socket = TempPath::new(name);
        let mut child = ChildGuard::spawn(example(name).arg(&socket).stdout(Stdio::piped())).unwrap();
        let mut output = BufReader::new(child.take_stdout().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("listening at"), "{line}");
        // Drains the further output, so that the server never blocks on a full pipe.
        std::thread::spawn(move || output.lines().for_each(drop));
        Self { _child: child, socket }
    }
}

#[test]
fn channel_server_serves_several_clients() {
    let server = Server::start("channel_server");
    let clients: Vec<_> =
        (0..3).map(|_| example("channel_client").arg(&server.socket).stdout(Stdio::piped()).spawn().unwrap()).collect();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("the sum of the server"), "{text}");
    }
}

#[test]
fn duplex_server_answers_several_clients() {
    let server = Server::start("duplex_server");
    let mut clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = example("duplex_client");
            client.arg(&server.socket).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.stdin.take().unwrap().write_all(format!("client {number}\nsecond line\n").as_bytes()).unwrap();
    }
    for (number, client) in clients.into_iter().enumerate() {
        let output = client.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("CLIENT {number}\nSECOND LINE\n"));
    }
}

#[test]
fn duplex_pass_reads_a_file_that_the_client_opened() {
    let server = Server::start("duplex_pass");
    let file = TempPath::new("passed");
    std::fs::write(&file, "a passed file").unwrap();
    for _ in 0..2 {
        let output = example("duplex_pass").args([server.socket.text(), file.text()]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("{}: 13 bytes, begins with \"a passed file\"\n", file.text()));
    }
}

#[test]
#[cfg(feature = "tokio")]
fn channels_tokio_runs_a_hundred_channels() {
    let output = example("channels_tokio").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("100 channels, 10000 values each: sum"), "{text}");
}
