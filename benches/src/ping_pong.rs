//! Repeated round trips of a message of 64 bytes.

use crate::RoundTrip;
use shm2_channel::{Receiver, Sender, Signals};
use std::hint::spin_loop;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const BYTES: usize = 64;

/// Both sides poll. The raw limit first.
pub const POLLED: [(&str, RoundTrip); 3] = [
    ("two atomics", atomics),
    ("shm2 channel", |count| shm2(count, true)),
    ("shmem-ipc", |count| shmem_ipc(count, true)),
];

/// Both sides sleep until they are woken. The raw limit first.
pub const SIGNALLED: [(&str, RoundTrip); 4] = [
    ("two eventfds", eventfds),
    ("shm2 channel", |count| shm2(count, false)),
    ("shmem-ipc", |count| shmem_ipc(count, false)),
    ("Unix socket", unix_socket),
];

/// Runs one side in another thread; returns nanoseconds per round.
fn run(count: usize, mut ping: impl FnMut(), mut pong: impl FnMut() + Send) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..count).for_each(|_| pong()));
        (0..count).for_each(|_| ping());
    });
    begun.elapsed().as_nanos() as f64 / count as f64
}

#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

fn atomics(count: usize) -> f64 {
    let lines = [Line::default(), Line::default()];
    let (mut sent, mut seen) = (0, 0);
    let wait = |line: &Line, value: u64| {
        while line.0.load(Ordering::Acquire) < value {
            spin_loop();
        }
    };
    let ping = || {
        sent += 1;
        lines[0].0.store(sent, Ordering::Release);
        wait(&lines[1], sent);
    };
    let pong = || {
        seen += 1;
        wait(&lines[0], seen);
        lines[1].0.store(seen, Ordering::Release);
    };
    run(count, ping, pong)
}

fn new_event() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap()
}

fn eventfds(count: usize) -> f64 {
    let [there, back] = [new_event(), new_event()];
    let wake = |fd: &OwnedFd| assert_eq!(rustix::io::write(fd, &1u64.to_ne_bytes()), Ok(8));
    let wait = |fd: &OwnedFd| assert_eq!(rustix::io::read(fd, &mut [0; 8]), Ok(8));
    let ping = || {
        wake(&there);
        wait(&back);
    };
    let pong = || {
        wait(&there);
        wake(&back);
    };
    run(count, ping, pong)
}

/// Two channels.
fn shm2(count: usize, is_polled: bool) -> f64 {
    let pair = || {
        let (ours, theirs) = Signals::event_pair().unwrap();
        let sender = Sender::<[u8; BYTES]>::new(16, ours).unwrap();
        let memory = sender.memory().try_clone_to_owned().unwrap();
        (sender, Receiver::<[u8; BYTES]>::open(16, memory, theirs).unwrap())
    };
    let ((mut to_pong, mut from_ping), (mut to_ping, mut from_pong)) = (pair(), pair());
    if is_polled {
        [&mut to_pong, &mut to_ping].into_iter().for_each(|sender| sender.poll_always());
        [&mut from_ping, &mut from_pong].into_iter().for_each(|receiver| receiver.poll_always());
    }
    let send = |sender: &mut Sender<[u8; BYTES]>| assert!(sender.send_all(&[[7; BYTES]]).unwrap().is_some());
    let receive = move |receiver: &mut Receiver<[u8; BYTES]>| {
        let mut message = [[0; BYTES]];
        while receiver.recv_all(&mut message).unwrap().is_none() {
            match is_polled {
                true => spin_loop(),
                false => assert!(receiver.block_until_readable(1, None).unwrap() > 0),
            }
        }
    };
    let ping = || {
        send(&mut to_pong);
        receive(&mut from_pong);
    };
    let pong = move || {
        receive(&mut from_ping);
        send(&mut to_ping);
    };
    run(count, ping, pong)
}

fn shmem_ipc(count: usize, is_polled: bool) -> f64 {
    use shmem_ipc::sharedring::{Receiver, Sender};
    let pair = || {
        let sender = Sender::<[u8; BYTES]>::new(16).unwrap();
        let memory = sender.memfd().as_file().try_clone().unwrap();
        let signals = [sender.empty_signal(), sender.full_signal()].map(|file| file.try_clone().unwrap());
        let [empty, full] = signals;
        (sender, Receiver::<[u8; BYTES]>::open(16, memory, empty, full).unwrap())
    };
    let ((mut to_pong, mut from_ping), (mut to_ping, mut from_pong)) = (pair(), pair());
    let send = move |sender: &mut Sender<[u8; BYTES]>| {
        let step = |to: *mut [u8; BYTES], _: usize| {
            put(to);
            1
        };
        match is_polled {
            true => _ = sender.sender_mut().send(step).unwrap(),
            false => _ = sender.send_raw(step).unwrap(),
        }
    };
    let receive = move |receiver: &mut Receiver<[u8; BYTES]>| {
        let mut is_there = false;
        while !is_there {
            let step = |from: *const [u8; BYTES], there: usize| {
                is_there = there > 0;
                if is_there {
                    take(from);
                }
                usize::from(is_there)
            };
            match is_polled {
                true => _ = receiver.receiver_mut().recv(step).unwrap(),
                false => {
                    receiver.block_until_readable().unwrap();
                    receiver.receive_raw(step).unwrap();
                }
            }
        }
    };
    let ping = || {
        send(&mut to_pong);
        receive(&mut from_pong);
    };
    let pong = move || {
        receive(&mut from_ping);
        send(&mut to_ping);
    };
    run(count, ping, pong)
}

#[expect(unsafe_code, reason = "the other library hands out raw pointers")]
fn put(to: *mut [u8; BYTES]) {
    // SAFETY: the ring gave a slot: its capacity is 16, and one message is on its way at a time.
    unsafe { to.write([7; BYTES]) };
}

#[expect(unsafe_code, reason = "the other library hands out raw pointers")]
fn take(from: *const [u8; BYTES]) {
    // SAFETY: the ring said that there is one.
    std::hint::black_box(unsafe { from.read() });
}

fn unix_socket(count: usize) -> f64 {
    let (mut a, mut b) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut messages = [[0u8; BYTES]; 2];
    let [first, second] = &mut messages;
    let ping = || {
        a.write_all(first).unwrap();
        a.read_exact(first).unwrap();
    };
    let pong = || {
        b.read_exact(second).unwrap();
        b.write_all(second).unwrap();
    };
    run(count, ping, pong)
}
