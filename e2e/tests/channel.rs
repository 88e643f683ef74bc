//! Channels between processes: sums, system calls, and a thousand kills.

use shm2_channel::{Receiver, Sender, StepError};
use shm2_e2e::checksum;
use shm2_testing::{RECOVERY, Rng, TempPath, skip};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(60));
const PEER: &str = env!("CARGO_BIN_EXE_shm2_ring_peer");

fn start(mut command: Command, role: &str, count: u64, socket: UnixStream) -> Child {
    command.args([role, &count.to_string()]).stdin(OwnedFd::from(socket)).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_hundred_million_items_pass_from_process_to_process() {
    const COUNT: u64 = 100_000_000;
    let begun = Instant::now();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = start(Command::new(PEER), "send", COUNT, theirs);
    // No power of two, so that each turn starts at another slot.
    let (mut receiver, offer) = Receiver::<u64>::offer(10_007).unwrap();
    offer.send(&ours).unwrap();
    let (mut sum, mut expected) = (0, 0);
    while expected < COUNT {
        receiver.block_until_readable(1, LONG).unwrap();
        let each = |_, value| {
            assert_eq!(value, expected);
            sum = checksum(sum, value);
            expected += 1;
        };
        receiver.recv_foreach(1000, each).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), sum.to_string());
    println!("{COUNT} items, {} turns, equal sums, {:?}", COUNT / 10_007, begun.elapsed());
}

/// Lines of strace's log between the two writes of a mark.
fn calls_between_marks(log: &str) -> Vec<&str> {
    let is_mark = |line: &&str| line.contains("write(1, \"mark");
    let after = log.lines().skip_while(|line| !is_mark(line)).skip(1);
    assert_eq!(log.lines().filter(is_mark).count(), 2, "{log}");
    // Lines that begin with `---` are signals, not calls.
    after.take_while(|line| !is_mark(line)).filter(|line| !line.starts_with("---")).collect()
}

#[test]
fn while_the_ring_is_neither_full_nor_empty_no_side_makes_a_system_call() {
    const COUNT: u64 = 1_000_000;
    if std::env::var_os("SHM2_SANITIZED").is_some() {
        return skip("a leak sanitizer and strace exclude each other: system calls are counted without it");
    }
    if !Command::new("strace").arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skip("strace is missing or may not trace: system calls of a steady ring are not counted");
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let traced = |role: &str, socket| {
        let log = TempPath::new(role);
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(&log).arg(PEER);
        (start(strace, role, COUNT, socket), log)
    };
    for (child, log) in [traced("steady-receive", ours), traced("steady-send", theirs)] {
        let output = child.wait_with_output();
        let text = std::fs::read_to_string(&log);
        assert!(output.unwrap().status.success());
        let text = text.unwrap();
        let calls = calls_between_marks(&text);
        println!("{COUNT} items with {} system calls", calls.len());
        assert!(calls.is_empty(), "{calls:?}");
    }
}

#[test]
fn no_peer_waits_after_any_of_a_thousand_kills() {
    let mut rng = Rng::with_seed(17);
    let (mut longest, mut passed) = (Duration::ZERO, 0);
    for round in 0..1000 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut child = start(Command::new(PEER), "pass", u64::MAX, theirs);
        let capacity = 1 + rng.usize(..50);
        let (mut from, offer) = Receiver::<u64>::offer(capacity).unwrap();
        offer.send(&ours).unwrap();
        let (mut to, offer) = Sender::<u64>::offer(capacity).unwrap();
        offer.send(&ours).unwrap();
        let (mut sent, mut expected) = (0, 0);
        let after = rng.u64(..300);
        let mut killed = None;
        let end = loop {
            if expected >= after && killed.is_none() {
                child.kill().unwrap();
                killed = Some(Instant::now());
            }
            let step = step(&mut to, &mut from, &mut sent, &mut expected);
            if let Err(error) = step {
                break error;
            }
        };
        assert!(matches!(end, StepError::PeerGone), "round {round}: {end}");
        longest = longest.max(killed.expect("it ended by itself").elapsed());
        passed += expected;
        child.wait().unwrap();
    }
    println!("1000 kills, {passed} items passed before them, noticed after {longest:?} at most");
    assert!(longest < RECOVERY, "{longest:?}");
}

/// Sends until the ring is full, and checks what came back; waits when there is nothing to do.
fn step(to: &mut Sender<u64>, from: &mut Receiver<u64>, sent: &mut u64, expected: &mut u64) -> Result<(), StepError> {
    while to.send_all(&[*sent])?.is_some() {
        *sent += 1;
    }
    from.block_until_readable(1, LONG)?;
    from.recv_foreach(usize::MAX, |_, value| {
        assert_eq!(value, *expected);
        *expected += 1;
    })?;
    Ok(())
}
