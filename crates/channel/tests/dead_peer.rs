//! No operation reports a ring as full or empty for ever when the other side is gone: dropped, killed, or gone before
//! it attached.

#![cfg(target_os = "linux")]

mod common;

use common::{CAPACITY, LONG, SocketPath};
use rustix::pipe::{PipeFlags, pipe_with};
use shm2_channel::duplex::{Interface, Options};
use shm2_channel::{Element, Offer, Receiver, Sender, Signals, Status, StepError};
use shm2_testing::{ChildGuard, until};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// Capacity of the channels.
const SLOTS: usize = 4;

/// Signals of both sides, and what the second side closes at its end, for each kind that shows the peer's death.
fn signals() -> Vec<(&'static str, Signals, Signals)> {
    let pipe = || pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
    let sockets = UnixStream::pair().unwrap();
    let ((a_read, a_write), (b_read, b_write)) = (pipe(), pipe());
    let watched = UnixStream::pair().unwrap();
    let events = Signals::event_pair().unwrap();
    vec![
        ("socket", Signals::socket(sockets.0.into()), Signals::socket(sockets.1.into())),
        ("pipes", Signals::pipes(a_read, b_write), Signals::pipes(b_read, a_write)),
        ("events", events.0.watch(watched.0.into()), events.1.watch(watched.1.into())),
    ]
}

fn is_gone<R>(outcome: Result<R, StepError>) -> bool {
    matches!(outcome, Err(StepError::PeerGone))
}

/// A sender whose ring is full, and the receiver.
fn full(ours: Signals, theirs: Signals) -> (Sender<u64>, Receiver<u64>) {
    let mut sender = Sender::new(SLOTS, ours).unwrap();
    let memory = sender.memory().try_clone_to_owned().unwrap();
    let receiver = Receiver::open(SLOTS, memory, theirs).unwrap();
    fill(&mut sender);
    (sender, receiver)
}

fn fill(sender: &mut Sender<u64>) {
    while sender.send_all(&[7]).unwrap().is_some() {}
}

/// Each operation of a sender that needs a free slot, by name, and whether it reports that the receiver is gone.
fn sending(sender: &mut Sender<u64>) -> Vec<(&'static str, bool)> {
    let trusted = |sender: &mut Sender<u64>| {
        // SAFETY: no receiver accesses the slots any more.
        #[expect(unsafe_code, reason = "the call under test")]
        unsafe {
            sender.send_trusted(|_| unreachable!("a full ring"))
        }
    };
    vec![
        ("send_all", is_gone(sender.send_all(&[1]))),
        ("send_all of several", is_gone(sender.send_all(&[1, 2, 3]))),
        ("send_foreach", is_gone(sender.send_foreach(2, |_| 1))),
        ("send_slots", is_gone(sender.send_slots(1, |_| unreachable!("a full ring")))),
        ("send_raw", is_gone(sender.send_raw(|_, _| unreachable!("a full ring")))),
        ("send_trusted", is_gone(trusted(sender))),
        ("block_until_writable", is_gone(sender.block_until_writable(1, LONG))),
    ]
}

/// As [`sending`], for a receiver whose ring is empty.
fn receiving(receiver: &mut Receiver<u64>) -> Vec<(&'static str, bool)> {
    let trusted = |receiver: &mut Receiver<u64>| {
        // SAFETY: no sender accesses the elements any more.
        #[expect(unsafe_code, reason = "the call under test")]
        unsafe {
            receiver.receive_trusted(|_| unreachable!("an empty ring"))
        }
    };
    vec![
        ("recv_all", is_gone(receiver.recv_all(&mut [0]))),
        ("recv_foreach", is_gone(receiver.recv_foreach(2, |_, _| unreachable!("an empty ring")))),
        ("recv_items", is_gone(receiver.recv_items(1, |_| unreachable!("an empty ring")))),
        ("receive_raw", is_gone(receiver.receive_raw(|_, _| unreachable!("an empty ring")))),
        ("receive_trusted", is_gone(trusted(receiver))),
        ("block_until_readable", is_gone(receiver.block_until_readable(1, LONG))),
        ("wait_clear", is_gone(receiver.wait_clear())),
    ]
}

fn check(what: &str, operations: Vec<(&'static str, bool)>) {
    let silent: Vec<_> = operations.into_iter().filter(|(_, is_gone)| !is_gone).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "{what}: no PeerGone from {silent:?}");
}

#[test]
fn every_operation_on_a_full_ring_reports_a_receiver_that_was_dropped() {
    for (kind, ours, theirs) in signals() {
        let (mut sender, receiver) = full(ours, theirs);
        assert!(sender.send_all(&[1]).unwrap().is_none(), "{kind}: the receiver lives");
        drop(receiver);
        check(kind, sending(&mut sender));
    }
}

#[test]
fn every_operation_on_an_empty_ring_reports_a_sender_that_was_dropped() {
    for (kind, ours, theirs) in signals() {
        let (mut sender, mut receiver) = full(ours, theirs);
        let mut values = [0; SLOTS];
        receiver.recv_all(&mut values).unwrap().unwrap();
        assert!(receiver.recv_all(&mut [0]).unwrap().is_none(), "{kind}: the sender lives");
        sender.send_all(&[1, 2]).unwrap().unwrap();
        drop(sender);
        // What was sent before the end is received; more than that will never be there.
        assert!(is_gone(receiver.recv_all(&mut [0; 3])), "{kind}");
        assert_eq!(receiver.readable().unwrap(), 2, "{kind}");
        receiver.recv_all(&mut values[..2]).unwrap().unwrap();
        assert_eq!(values[..2], [1, 2], "{kind}");
        check(kind, receiving(&mut receiver));
    }
}

#[test]
fn a_side_that_polls_notices_the_end_of_the_other() {
    let (_, ours, theirs) = signals().swap_remove(0);
    let (mut sender, receiver) = full(ours, theirs);
    sender.poll_always();
    assert!(sender.send_all(&[1]).unwrap().is_none());
    drop(receiver);
    until("the polling sender gets an error", || is_gone(sender.send_all(&[1])));

    let (_, ours, theirs) = signals().swap_remove(0);
    let (sender, mut receiver) = full(ours, theirs);
    receiver.poll_always();
    receiver.recv_all(&mut [0; SLOTS]).unwrap().unwrap();
    assert!(receiver.recv_all(&mut [0]).unwrap().is_none());
    drop(sender);
    until("the polling receiver gets an error", || is_gone(receiver.recv_all(&mut [0])));
}

/// The receiving process of the test that kills one; does nothing without its variable.
#[test]
fn receiving_process() {
    if std::env::var_os("SHM2_TEST_RECEIVER").is_some() {
        let receiver = Offer::receive(std::io::stdin(), LONG).unwrap().into_receiver::<u64>().unwrap();
        println!("attached to {} elements", receiver.capacity());
        loop {
            std::thread::park();
        }
    }
}

#[test]
fn a_full_ring_reports_a_receiver_that_was_killed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut receiving = Command::new(std::env::current_exe().unwrap());
    receiving.args(["--exact", "receiving_process", "--nocapture"]).env("SHM2_TEST_RECEIVER", "1");
    let mut child = ChildGuard::spawn(receiving.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped())).unwrap();
    let (mut sender, offer) = Sender::<u64>::offer(SLOTS).unwrap();
    offer.send(&ours).unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.take_stdout().unwrap()));
    lines.find(|line| line.as_ref().unwrap().contains("attached to 4")).unwrap().unwrap();
    fill(&mut sender);
    child.kill();
    check("killed", sending(&mut sender));
}

#[test]
fn a_full_ring_reports_a_receiver_that_went_before_it_attached() {
    // The offer is dropped.
    let (mut sender, offer) = Sender::<u64>::offer(SLOTS).unwrap();
    fill(&mut sender);
    drop(offer);
    // A side whose peer has not attached looks for it once in each tick of the kernel.
    until("the drop is noticed", || is_gone(sender.send_all(&[1])));
    check("dropped offer", sending(&mut sender));

    // The offer is on its way when the process that would take it closes its end.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut sender, offer) = Sender::<u64>::offer(SLOTS).unwrap();
    offer.send(&ours).unwrap();
    fill(&mut sender);
    drop((ours, theirs));
    until("the kernel closes the descriptors of the message", || is_gone(sender.send_all(&[1])));
    check("offer on its way", sending(&mut sender));

    // The other role.
    let (mut receiver, offer) = Receiver::<u64>::offer(SLOTS).unwrap();
    drop(offer);
    until("the drop is noticed", || is_gone(receiver.recv_all(&mut [0])));
    check("dropped offer of a sender", receiving(&mut receiver));
}

/// Both ends of a connection.
fn connected<T: Element + Send + 'static>(path: &SocketPath) -> (Interface<T>, Interface<T>) {
    let mut listener = path.listener::<T>();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Interface::connect(&path.0, Options::new(CAPACITY)).unwrap());
        let server = listener.accept(LONG).unwrap().unwrap();
        (server, client.join().unwrap())
    })
}

#[test]
fn every_operation_of_a_connection_reports_that_the_other_side_was_dropped() {
    let path = SocketPath::new();
    let (mut server, mut client) = connected::<u64>(&path);
    while server.xmit(1).unwrap() {}
    client.xmit_all(&[5, 6]).unwrap();
    drop(client);
    // What was sent before the end is received.
    assert_eq!((server.recv().unwrap(), server.recv_vectored(9).unwrap()), (Some(5), vec![6]));
    let operations = vec![
        ("xmit", is_gone(server.xmit(1))),
        ("xmit_all", is_gone(server.xmit_all(&[1, 2]))),
        ("wait_for_space", is_gone(server.wait_for_space(1, LONG))),
        ("recv", is_gone(server.recv())),
        ("recv_vectored", is_gone(server.recv_vectored(9))),
        ("wait", is_gone(server.wait(1, LONG))),
        ("wait_for_either", is_gone(server.wait_for_either(1, 1, LONG))),
        ("finish", is_gone(server.finish())),
        ("clear", is_gone(server.clear())),
    ];
    check("elements", operations);

    let (mut server, mut client) = connected::<u8>(&path);
    while client.xmit_message(b"to the server").unwrap() {}
    while server.xmit_message(b"full").unwrap() {}
    drop(client);
    let mut message = Vec::new();
    while !is_gone(server.recv_message(&mut message)) {
        assert_eq!(message, b"to the server");
    }
    let operations = vec![
        ("xmit_message", is_gone(server.xmit_message(b"full"))),
        ("wait_for_message_space", is_gone(server.wait_for_message_space(4, LONG))),
        ("recv_message", is_gone(server.recv_message(&mut message))),
    ];
    check("messages", operations);

    let (mut server, client) = connected::<u64>(&path);
    let (mut outgoing, mut incoming) = client.split();
    while outgoing.xmit(1).unwrap() {}
    assert_eq!(server.recv().unwrap(), Some(1));
    assert!(outgoing.xmit(1).unwrap());
    drop(server);
    check("halves", vec![("xmit", is_gone(outgoing.xmit(1))), ("recv", is_gone(incoming.recv()))]);
}

#[test]
fn operations_that_succeed_do_so_beside_a_dead_peer() {
    let (_, ours, theirs) = signals().swap_remove(0);
    let (mut sender, mut receiver) = full(ours, theirs);
    sender.poll_always();
    receiver.recv_all(&mut [0; 2]).unwrap().unwrap();
    drop(receiver);
    // Two slots are free, and nothing shows a need for more.
    let status: Status = sender.send_all(&[1]).unwrap().unwrap();
    assert_eq!(status.remaining, 1);
    assert_eq!(sender.writable().unwrap(), 1);
}
