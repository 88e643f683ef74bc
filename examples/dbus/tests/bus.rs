//! Server and clients on a private bus.

use shm2_testing::{ChildGuard, skip};
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};

/// A process, killed on drop.
struct Running {
    _child: ChildGuard,
    /// Kept open so that the program can write.
    _output: BufReader<ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> std::io::Result<(Self, String)> {
        let mut child = ChildGuard::spawn(command.stdout(Stdio::piped()))?;
        let mut output = BufReader::new(child.take_stdout().unwrap());
        let mut line = String::new();
        output.read_line(&mut line)?;
        Ok((Self { _child: child, _output: output }, line.trim().to_string()))
    }
}

#[test]
fn a_channel_is_handed_over_by_the_bus() {
    let mut daemon = Command::new("dbus-daemon");
    let Ok((_bus, address)) = Running::start(daemon.args(["--session", "--nofork", "--print-address"])) else {
        return skip("dbus-daemon is missing: no channel is handed over by D-Bus");
    };
    let on_bus = |program: &str| {
        let mut command = Command::new(program);
        command.env("DBUS_SESSION_BUS_ADDRESS", &address);
        command
    };
    let (_server, line) = Running::start(&mut on_bus(env!("CARGO_BIN_EXE_shm2_dbus_server"))).unwrap();
    assert_eq!(line, "serving org.shm2.Example");
    for _ in 0..2 {
        let output = on_bus(env!("CARGO_BIN_EXE_shm2_dbus_client")).output().unwrap();
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}{errors}");
        assert_eq!(text, "sum 500000500000, the server says 500000500000\n");
    }
}
