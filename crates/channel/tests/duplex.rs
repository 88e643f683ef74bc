//! Clients and servers: handshakes, many clients on one thread, killed clients, floods of signals.

#![cfg(target_os = "linux")]

mod common;

use common::{CAPACITY, LONG, SocketPath};
use rustix::net::SendFlags;
use shm2_channel::StepError;
use shm2_channel::duplex::{ConnectError, Event, Incoming, Interface, Listener, Options, Outgoing, Refusal, Server};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

type Packet = [u8; 1500];

fn packet(client: u8, number: u64) -> Packet {
    let mut packet = [client; 1500];
    packet[..8].copy_from_slice(&number.to_le_bytes());
    packet[1499] = number as u8;
    packet
}

/// Sends packets and checks that each comes back, in order.
fn echo_client(path: &Path, name: u8, count: u64) -> Result<(), StepError> {
    let mut client = Interface::<Packet>::connect(path, Options::new(CAPACITY)).unwrap();
    let (mut sent, mut received) = (0, 0);
    while received < count {
        while sent < count && client.xmit(packet(name, sent))? {
            sent += 1;
        }
        client.wait(1, LONG)?;
        for back in client.recv_vectored(CAPACITY)? {
            assert!(back == packet(name, received), "client {name}: packet {received}");
            received += 1;
        }
    }
    Ok(())
}

/// Sends back each packet. Never waits for one client.
fn echo_server(server: &mut Server<Packet>, mut until: impl FnMut(&Event) -> bool) {
    let mut waiting: HashMap<_, Vec<Packet>> = HashMap::new();
    loop {
        let events = server.wait(LONG).unwrap();
        assert!(!events.is_empty(), "no event in time");
        for event in events {
            let id = match &event {
                Event::Connected(id) | Event::Ready(id) => *id,
                Event::Gone(id, _) => {
                    server.remove(*id);
                    waiting.remove(id);
                    if until(&event) {
                        return;
                    }
                    continue;
                }
                other => panic!("{other:?}"),
            };
            let Some(client) = server.client(id) else { continue };
            let queue = waiting.entry(id).or_default();
            // The queue holds at most one ring of packets for each client.
            loop {
                let sent = queue.iter().take_while(|packet| client.xmit(**packet).unwrap_or(false)).count();
                queue.drain(..sent);
                if !queue.is_empty() {
                    break;
                }
                match client.recv_vectored(CAPACITY) {
                    Ok(packets) if packets.is_empty() => break,
                    Ok(packets) => *queue = packets,
                    // Its event follows.
                    Err(StepError::PeerGone) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if until(&event) {
                return;
            }
        }
    }
}

/// The client process of the test that kills one; does nothing without its variable.
#[test]
fn client_process() {
    if let Ok(path) = std::env::var("SHM2_TEST_CLIENT") {
        let _ = echo_client(path.as_ref(), 9, u64::MAX);
    }
}

#[test]
fn one_thread_serves_three_clients_while_one_is_killed() {
    let path = SocketPath::new();
    let mut server = Server::new(path.listener::<Packet>(), 10);
    let this = std::env::current_exe().unwrap();
    let mut victim = Command::new(this);
    let mut victim = victim.args(["--exact", "client_process"]).env("SHM2_TEST_CLIENT", &path.0).spawn().unwrap();
    std::thread::scope(|scope| {
        let clients = [1, 2].map(|name| {
            scope.spawn({
                let path = path.0.to_path_buf();
                move || echo_client(&path, name, 1_000_000)
            })
        });
        let begun = Instant::now();
        let (mut connected, mut gone, mut killed) = (0, 0, false);
        echo_server(&mut server, |event| {
            connected += usize::from(matches!(event, Event::Connected(_)));
            if connected == 3 && begun.elapsed() > Duration::from_millis(100) && !killed {
                victim.kill().unwrap();
                killed = true;
            }
            gone += usize::from(matches!(event, Event::Gone(..)));
            gone == 3
        });
        for client in clients {
            client.join().unwrap().unwrap();
        }
        println!("2 x 1,000,000 packets of 1,500 bytes each way in {:?}, one client killed", begun.elapsed());
    });
    assert!(!victim.wait().unwrap().success());
    assert_eq!(server.clients().count(), 0);
}

#[test]
fn a_client_with_other_parameters_is_refused_with_the_reason() {
    let path = SocketPath::new();
    let mut listener = path.listener::<u64>();
    let serving =
        std::thread::spawn(move || while listener.accept(Some(Duration::from_millis(500))).unwrap().is_none() {});
    let other = Interface::<u32>::connect(&path.0, Options::new(CAPACITY)).unwrap_err();
    assert!(matches!(other, ConnectError::Refused(Refusal::Element { bytes: 8, alignment: 8, ours: 4 })), "{other}");
    let other = Interface::<u64>::connect(&path.0, Options::new(65)).unwrap_err();
    assert!(matches!(other, ConnectError::Refused(Refusal::Capacity { capacity: 64, ours: 65 })), "{other}");
    Interface::<u64>::connect(&path.0, Options::new(CAPACITY)).unwrap();
    serving.join().unwrap();
    let missing = Interface::<u64>::connect("/tmp/shm2-test-no-server", Options::new(1)).unwrap_err();
    assert!(matches!(missing, ConnectError::NoServer { .. }), "{missing}");
    assert!(missing.to_string().ends_with("; start it, or check the rights on its socket"), "{missing}");
}

#[test]
fn a_listener_takes_over_only_an_abandoned_socket() {
    let path = SocketPath::new();
    let first = path.listener::<u8>();
    assert!(matches!(Listener::<u8>::bind(&path.0, Options::new(1)), Err(ConnectError::Listen { .. })));
    // Another listener has replaced the file: it stays when the first one is dropped.
    std::fs::remove_file(&path.0).unwrap();
    let second = path.listener::<u8>();
    drop(first);
    assert!(path.0.exists());
    drop(second);
    assert!(!path.0.exists());
    let abandoned = SocketPath::new();
    // The socket's file stays, as after a kill.
    drop(std::os::unix::net::UnixListener::bind(&abandoned.0).unwrap());
    Listener::<u8>::bind(&abandoned.0, Options::new(1)).unwrap();
    std::fs::write(&abandoned.0, "a file").unwrap();
    assert!(Listener::<u8>::bind(&abandoned.0, Options::new(1)).is_err());
    assert_eq!(std::fs::read(&abandoned.0).unwrap(), b"a file");
}

#[test]
fn messages_of_any_length_pass_and_an_impossible_length_is_an_error() {
    let path = SocketPath::new();
    let mut listener = path.listener::<u8>();
    let connecting = std::thread::spawn({
        let path = path.0.to_path_buf();
        move || Interface::<u8>::connect(&path, Options::new(CAPACITY)).unwrap()
    });
    let mut server = listener.accept(LONG).unwrap().unwrap();
    let mut client = connecting.join().unwrap();
    let mut received = Vec::new();
    for round in 0..2000usize {
        let message = vec![round as u8; round % 61];
        assert!(client.xmit_message(&message).unwrap());
        assert!(server.recv_message(&mut received).unwrap() && received == message);
        assert!(!server.recv_message(&mut received).unwrap());
    }
    assert!(client.xmit_message(&[0; 61]).is_err(), "longer than the ring");
    while client.xmit_message(b"full").unwrap() {}
    assert!(server.recv_message(&mut received).unwrap() && client.xmit_message(b"next").unwrap());
    while server.recv_message(&mut received).unwrap() {}
    client.xmit_all(&u32::MAX.to_le_bytes()).unwrap();
    let error = server.recv_message(&mut received).unwrap_err();
    assert!(matches!(error, StepError::Ring(_)), "{error}");
}

#[test]
fn the_filter_gets_the_clients_credentials() {
    let path = SocketPath::new();
    let me = std::process::id() as i32;
    let refuse = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let refuses = refuse.clone();
    let mut listener = path.listener::<u8>().filter(move |client| {
        assert_eq!(client.pid, me);
        !refuses.load(Ordering::Relaxed)
    });
    std::thread::scope(|scope| {
        let connecting = || Interface::<u8>::connect(&path.0, Options::new(CAPACITY));
        let first = scope.spawn(connecting);
        assert!(listener.accept(Some(Duration::from_millis(300))).unwrap().is_none());
        assert!(matches!(first.join().unwrap(), Err(ConnectError::Refused(Refusal::NotWanted))));
        refuse.store(false, Ordering::Relaxed);
        let second = scope.spawn(connecting);
        let server = listener.accept(LONG).unwrap().unwrap();
        assert_eq!(server.credentials().unwrap().pid, me);
        second.join().unwrap().unwrap();
    });
}

#[test]
fn a_hundred_idle_clients_do_not_wake_the_server() {
    let path = SocketPath::new();
    let mut server = Server::new(path.listener::<u64>(), 200);
    let mut clients = Vec::new();
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            (0..100).map(|_| Interface::<u64>::connect(&path.0, Options::new(CAPACITY)).unwrap()).collect::<Vec<_>>()
        });
        while server.clients().count() < 100 {
            server.wait(LONG).unwrap();
        }
        clients = connecting.join().unwrap();
    });
    // Takes the events left from the handshakes.
    while !server.wait(Some(Duration::from_millis(50))).unwrap().is_empty() {}
    // How often this thread has slept: what it does in a wake-up takes longer on a busy machine.
    let sleeps = || -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap().trim().parse().unwrap()
    };
    let before = sleeps();
    assert!(server.wait(Some(Duration::from_secs(2))).unwrap().is_empty());
    let slept = sleeps() - before;
    println!("2 s idle with 100 clients: slept {slept} times");
    assert!((1..20).contains(&slept), "slept {slept} times");
    for (number, client) in clients.iter_mut().enumerate() {
        client.xmit(number as u64).unwrap();
    }
    let mut sum = 0;
    while sum < 4950 {
        for event in server.wait(LONG).unwrap() {
            let Event::Ready(id) = event else { panic!("{event:?}") };
            sum += server.client(id).unwrap().recv_vectored(10).unwrap().iter().sum::<u64>();
        }
    }
    assert_eq!(sum, 4950);
}

/// Both ends of a connection.
fn connected<T: shm2_channel::Element + Send + 'static>(path: &SocketPath) -> (Interface<T>, Interface<T>) {
    let mut listener = path.listener::<T>();
    let path = path.0.to_path_buf();
    let connecting = std::thread::spawn(move || Interface::<T>::connect(&path, Options::new(CAPACITY)).unwrap());
    let server = listener.accept(LONG).unwrap().unwrap();
    (server, connecting.join().unwrap())
}

#[test]
fn each_direction_runs_on_its_own_thread() {
    let path = SocketPath::new();
    let (server, client) = connected::<u64>(&path);
    const COUNT: u64 = 200_000;
    let send = |mut outgoing: Outgoing<u64>| {
        for value in 0..COUNT {
            while !outgoing.xmit(value).unwrap() {
                outgoing.wait_for_space(1, LONG).unwrap();
            }
        }
        assert!(outgoing.finish().unwrap());
        // Kept until the end, so that `finish` ends the other side's wait, not the drop.
        outgoing
    };
    let receive = |mut incoming: Incoming<u64>| {
        let mut expected = 0;
        loop {
            match incoming.wait(1, LONG) {
                Ok(_) => {}
                Err(StepError::PeerGone) => break,
                Err(error) => panic!("{error}"),
            }
            for value in incoming.recv_vectored(7).unwrap() {
                assert_eq!(value, expected);
                expected += 1;
            }
        }
        assert_eq!(expected, COUNT);
        incoming
    };
    std::thread::scope(|scope| {
        let halves = [server.split(), client.split()];
        let threads = halves.map(|(to, from)| (scope.spawn(|| send(to)), scope.spawn(|| receive(from))));
        let _all = threads.map(|(to, from)| (to.join().unwrap(), from.join().unwrap()));
    });
}

#[test]
fn a_connection_runs_between_queues_until_both_sides_finish_or_one_is_gone() {
    use std::sync::mpsc::{channel, sync_channel};
    for is_killed in [false, true] {
        let path = SocketPath::new();
        let (server, client) = connected::<u64>(&path);
        let (to_client, from_server) = (channel::<u64>(), sync_channel::<u64>(3));
        let (to_server, from_client) = (sync_channel::<u64>(3), sync_channel::<u64>(3));
        std::thread::scope(|scope| {
            let running = scope.spawn(|| server.run(to_client.1, from_client.0));
            let other = (!is_killed).then(|| scope.spawn(|| client.run(to_server.1, from_server.0)));
            let doubling = scope.spawn(|| {
                for value in from_client.1 {
                    to_client.0.send(2 * value).unwrap();
                }
                drop(to_client.0);
            });
            let sending = scope.spawn(move || {
                // Ends with an error when the receiving end is dropped, as below.
                (0..10_000).take_while(|value| to_server.0.send(*value).is_ok()).count()
            });
            if !is_killed {
                assert!(from_server.1.iter().eq((0..10_000).map(|value| 2 * value)));
                other.unwrap().join().unwrap().unwrap();
            }
            running.join().unwrap().unwrap();
            doubling.join().unwrap();
            drop(sending);
        });
    }
}

#[test]
fn descriptors_pass_beside_the_elements() {
    let path = SocketPath::new();
    let (mut server, mut client) = connected::<u8>(&path);
    let blob = shm2_channel::blob::write_once("shm2-test", 5, |bytes| bytes.copy_from_slice(b"a far")).unwrap();
    assert!(client.pass(77, &[blob.as_fd(), blob.as_fd()]).unwrap());
    client.xmit(1).unwrap();
    while server.take_passed().is_none_or(|passed| {
        assert_eq!((passed.number, passed.fds.len()), (77, 2));
        let blobs = passed.fds.into_iter().map(|fd| shm2_channel::blob::Blob::open(fd).unwrap());
        assert!(blobs.into_iter().all(|blob| &*blob == b"a far"));
        false
    }) {
        server.clear().unwrap();
    }
    let error = server.pass(0, &[blob.as_fd()]).unwrap_err();
    println!("a client that accepts no descriptors: {error}");
    for count in [0, 5] {
        let error = client.pass(0, &vec![blob.as_fd(); count]).unwrap_err();
        assert!(error.to_string().contains("1 to 4 descriptors"), "{error}");
    }
    // A peer that passes descriptors endlessly causes an error; a bounded number of them is kept.
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let error = loop {
        client.pass(1, &[blob.as_fd()]).unwrap();
        if let Err(error) = server.clear() {
            break error;
        }
    };
    assert!(matches!(error, StepError::TooManyPassed(16)), "{error}");
    assert!(open() <= before + 17);
    assert_eq!(std::iter::from_fn(|| server.take_passed()).count(), 16);
}

#[test]
fn a_full_server_refuses_a_client_and_accepts_one_after_a_removal() {
    let path = SocketPath::new();
    let mut server = Server::new(path.listener::<u64>(), 1);
    let connect = || Interface::<u64>::connect(&path.0, Options::new(CAPACITY));
    let step = |server: &mut Server<u64>| server.wait(Some(Duration::from_millis(50))).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(connect);
        let mut id = None;
        while id.is_none() {
            id = step(&mut server).into_iter().find_map(|event| match event {
                Event::Connected(id) => Some(id),
                _ => None,
            });
        }
        let first = first.join().unwrap().unwrap();
        let second = scope.spawn(connect);
        while !second.is_finished() {
            assert!(step(&mut server).is_empty());
        }
        assert!(matches!(second.join().unwrap(), Err(ConnectError::Refused(Refusal::Full))));
        // The end is reported once, also when the client is not removed at once.
        drop(first);
        let ends: usize = (0..5).map(|_| step(&mut server).len()).sum();
        assert_eq!(ends, 1);
        server.remove(id.unwrap()).unwrap();
        let third = scope.spawn(connect);
        while server.clients().count() == 0 {
            step(&mut server);
        }
        third.join().unwrap().unwrap();
    });
}

#[test]
fn a_finished_side_sends_no_more_and_the_other_side_sees_it_at_once() {
    let path = SocketPath::new();
    let (mut server, mut client) = connected::<u8>(&path);
    client.xmit_message(b"last").unwrap();
    assert!(client.finish().unwrap());
    assert!(matches!(client.xmit(1), Err(StepError::Finished)));
    assert!(matches!(client.xmit_message(b"more"), Err(StepError::Finished)));
    let now = Some(Duration::ZERO);
    assert_eq!(server.wait(1, now).unwrap(), 8);
    let mut message = Vec::new();
    assert!(server.recv_message(&mut message).unwrap() && message == b"last");
    assert!(matches!(server.wait(1, now), Err(StepError::PeerGone)) && server.is_finished());
    // The other direction still works.
    assert!(server.xmit_message(b"answer").unwrap());
    assert_eq!(client.wait_for_either(CAPACITY, 1, LONG).unwrap().1, 10);
    assert!(client.recv_message(&mut message).unwrap() && message == b"answer");
}

#[test]
fn a_wait_for_slots_or_elements_ends_with_either() {
    let path = SocketPath::new();
    let (mut server, mut client) = connected::<u64>(&path);
    while client.xmit(1).unwrap() {}
    let timed_out = client.wait_for_either(1, 1, Some(Duration::from_millis(20)));
    assert!(matches!(timed_out, Err(StepError::TimedOut)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.wait_for_either(1, 1, LONG).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        server.xmit(7).unwrap();
        assert_eq!(waiting.join().unwrap(), (0, 1));
    });
    client.recv().unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.wait_for_either(1, 1, LONG).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        server.recv().unwrap().unwrap();
        assert_eq!(waiting.join().unwrap(), (1, 0));
    });
}

#[test]
fn half_a_message_is_an_error() {
    let path = SocketPath::new();
    let (mut server, mut client) = connected::<u8>(&path);
    client.xmit_all(&[9, 0, 0, 0, 1]).unwrap();
    let mut message = Vec::new();
    assert!(matches!(server.recv_message(&mut message), Err(StepError::Ring(_))));
}

#[test]
fn a_client_that_floods_with_signals_does_not_delay_the_others() {
    let path = SocketPath::new();
    let mut server = Server::new(path.listener::<Packet>(), 10);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let client = Interface::<Packet>::connect(&path.0, Options::new(CAPACITY)).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::net::send(client.wait_on(), &[1], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            }
        });
        let good = scope.spawn(|| echo_client(&path.0, 3, 20_000));
        let (mut gone, begun) = (0, Instant::now());
        echo_server(&mut server, |event| {
            gone += usize::from(matches!(event, Event::Gone(..)));
            gone == 1 || begun.elapsed() > Duration::from_secs(20)
        });
        good.join().unwrap().unwrap();
        stop.store(true, Ordering::Relaxed);
    });
}
