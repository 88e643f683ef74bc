//! Throughput of messages from one thread to another.

use shm2_channel::{Receiver, Sender, Signals};
use std::hint::{black_box, spin_loop};
use std::io::{Read, Write};
use std::time::Instant;

/// Bytes of each ring.
pub const CAPACITY: usize = 1 << 20;
/// Bytes of the messages.
pub const SIZES: [usize; 4] = [64, 1024, 4096, 65_536];

/// Passes messages of a size and count; returns nanoseconds per message.
pub type Way = fn(usize, usize) -> f64;

/// All ways by name, shm2 first.
pub const WAYS: [(&str, Way); 6] = [
    ("shm2 channel", shm2_channel),
    ("shmem-ipc", shmem_ipc),
    ("rtrb, in process", rtrb),
    ("Unix socket", unix_socket),
    ("pipe", pipe),
    ("two copies", two_copies),
];

/// Runs both sides to the end; returns nanoseconds per message.
fn run(count: usize, send: impl FnOnce(usize) + Send, receive: impl FnOnce(usize) + Send) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| send(count));
        receive(count);
    });
    begun.elapsed().as_nanos() as f64 / count as f64
}

/// A channel of this project, both sides with a mapping of their own.
pub fn shm2_channel(size: usize, count: usize) -> f64 {
    let (ours, theirs) = Signals::event_pair().unwrap();
    let mut sender = Sender::<u8>::new(CAPACITY, ours).unwrap();
    let memory = sender.memory().try_clone_to_owned().unwrap();
    let mut receiver = Receiver::<u8>::open(CAPACITY, memory, theirs).unwrap();
    sender.poll_always();
    receiver.poll_always();
    run(
        count,
        move |count| {
            let message = vec![7u8; size];
            for _ in 0..count {
                while sender.send_all(black_box(&message)).unwrap().is_none() {
                    spin_loop();
                }
            }
        },
        move |count| {
            let mut message = vec![0u8; size];
            for _ in 0..count {
                while receiver.recv_all(&mut message).unwrap().is_none() {
                    spin_loop();
                }
                black_box(&message);
            }
        },
    )
}

/// The ring of the `shmem-ipc` crate.
pub fn shmem_ipc(size: usize, count: usize) -> f64 {
    let mut sender = shmem_ipc::sharedring::Sender::<u8>::new(CAPACITY).unwrap();
    let (memory, empty, full) = (
        sender.memfd().as_file().try_clone().unwrap(),
        sender.empty_signal().try_clone().unwrap(),
        sender.full_signal().try_clone().unwrap(),
    );
    let mut receiver = shmem_ipc::sharedring::Receiver::<u8>::open(CAPACITY, memory, empty, full).unwrap();
    run(
        count,
        move |count| {
            let message = vec![7u8; size];
            for _ in 0..count {
                // A message that wraps around the end of the memory takes two steps.
                let mut sent = 0;
                while sent < size {
                    let step = |to: *mut u8, free: usize| {
                        let part = free.min(size - sent);
                        copy(black_box(message[sent..].as_ptr()), to, part);
                        sent += part;
                        part
                    };
                    // The ring without its signals, because both sides poll.
                    sender.sender_mut().send(step).unwrap();
                }
            }
        },
        move |count| {
            let mut message = vec![0u8; size];
            for _ in 0..count {
                let mut received = 0;
                while received < size {
                    let step = |from: *const u8, there: usize| {
                        let part = there.min(size - received);
                        copy(from, message[received..].as_mut_ptr(), part);
                        received += part;
                        part
                    };
                    receiver.receiver_mut().recv(step).unwrap();
                }
                black_box(&message);
            }
        },
    )
}

#[expect(unsafe_code, reason = "the other library hands out raw pointers")]
fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the ring gave, or has, so many bytes in a row, and the vector has them, too.
    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
}

/// A ring inside one process.
pub fn rtrb(size: usize, count: usize) -> f64 {
    let (mut producer, mut consumer) = ::rtrb::RingBuffer::<u8>::new(CAPACITY);
    run(
        count,
        move |count| {
            let message = vec![7u8; size];
            for _ in 0..count {
                let mut chunk = loop {
                    match producer.write_chunk(size) {
                        Ok(chunk) => break chunk,
                        Err(_) => spin_loop(),
                    }
                };
                let (first, second) = chunk.as_mut_slices();
                let (a, b) = black_box(&message).split_at(first.len());
                first.copy_from_slice(a);
                second.copy_from_slice(b);
                chunk.commit_all();
            }
        },
        move |count| {
            let mut message = vec![0u8; size];
            for _ in 0..count {
                let chunk = loop {
                    match consumer.read_chunk(size) {
                        Ok(chunk) => break chunk,
                        Err(_) => spin_loop(),
                    }
                };
                let (first, second) = chunk.as_slices();
                let (a, b) = message.split_at_mut(first.len());
                a.copy_from_slice(first);
                b.copy_from_slice(second);
                chunk.commit_all();
                black_box(&message);
            }
        },
    )
}

fn bytes(size: usize, count: usize, mut to: impl Write + Send, mut from: impl Read + Send) -> f64 {
    run(
        count,
        move |count| {
            let message = vec![7u8; size];
            (0..count).for_each(|_| to.write_all(black_box(&message)).unwrap());
        },
        move |count| {
            let mut message = vec![0u8; size];
            for _ in 0..count {
                from.read_exact(&mut message).unwrap();
                black_box(&message);
            }
        },
    )
}

/// A Unix stream socket.
pub fn unix_socket(size: usize, count: usize) -> f64 {
    let (to, from) = std::os::unix::net::UnixStream::pair().unwrap();
    bytes(size, count, to, from)
}

/// A pipe.
pub fn pipe(size: usize, count: usize) -> f64 {
    let (from, to) = std::io::pipe().unwrap();
    bytes(size, count, to, from)
}

/// One copy into memory and one out of it, by one thread: what the bytes alone cost.
pub fn two_copies(size: usize, count: usize) -> f64 {
    let (message, mut ring, mut back) = (vec![7u8; size], vec![0u8; CAPACITY], vec![0u8; size]);
    let begun = Instant::now();
    for number in 0..count {
        let at = number * size % CAPACITY;
        ring[at..at + size].copy_from_slice(black_box(&message));
        back.copy_from_slice(black_box(&ring[at..at + size]));
        black_box(&back);
    }
    begun.elapsed().as_nanos() as f64 / count as f64
}
