//! A producer whose region has lost its name: it gets the name back, or the tool says so.

#![cfg(target_os = "linux")]

use shm2_testing::{ChildGuard, LIMIT, Signal, TempRegion, until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// Starts `shm2_producer`; returns its lines on standard error, too.
fn produce(path: &Path) -> (ChildGuard, Receiver<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm2_producer"));
    command.arg(path).args(["100000", "--rate", "50", "--wait", "0", "--quiet", "--full-policy", "drop-oldest"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = ChildGuard::spawn(&mut command).unwrap();
    let (sender, lines) = channel();
    let pipe = BufReader::new(child.take_stderr().unwrap());
    std::thread::spawn(move || pipe.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    until("a region", || path.exists());
    (child, lines)
}

fn consume(path: &Path) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm2_consumer"));
    command.arg(path).args(["5", "--timeout", "5", "--quiet"]).stdout(Stdio::null()).stderr(Stdio::null());
    ChildGuard::spawn(&mut command).unwrap().wait().success()
}

#[test]
fn a_removed_region_is_reported_once_with_its_path() {
    let name = TempRegion::new();
    let (producer, lines) = produce(name.path());
    fs::remove_file(name.path()).unwrap();
    let line = lines.recv_timeout(LIMIT / 6).expect("a warning");
    assert!(line.contains(&*name) && line.contains("warning"), "{line}");
    // A region of another producer at the name.
    let (second, _) = produce(name.path());
    let line = lines.recv_timeout(LIMIT / 6).expect("a warning that another file is there");
    assert!(line.contains(&*name) && line.contains("another file"), "{line}");
    producer.signal(Signal::TERM);
    assert_eq!(lines.recv_timeout(LIMIT).ok(), None, "each is reported once");
    assert!(consume(name.path()), "the second region stays");
    drop(second);
}

#[test]
fn a_moved_region_has_its_name_again() {
    let name = TempRegion::new();
    let moved = TempRegion::new();
    let (producer, _lines) = produce(name.path());
    let inode = name.inode();
    fs::rename(name.path(), moved.path()).unwrap();
    assert!(consume(name.path()), "a newcomer gets frames");
    assert_eq!((name.inode(), moved.inode()), (inode, inode));
    drop(producer);
}
