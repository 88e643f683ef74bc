//! A message through a ring, and through a channel.

use shm2_channel::Signals;
use shm2_counts::{batches, step_if};
use std::hint::black_box;
use zerocopy::IntoBytes;

const STEPS: usize = 128;
/// Bytes of a ring. Each batch crosses the end of the memory.
const CAPACITY: usize = 1 << 12;
const SIZES: [(&str, usize); 2] = [("64 B", 64), ("1 KiB", 1024)];

pub fn run() {
    for (size, bytes) in SIZES {
        for (kind, polls) in [("polling", true), ("with requests", false)] {
            for (step, pushes) in [("push", true), ("pop", false)] {
                ring(&format!("ring: {step}, {size}, {kind}"), bytes, polls, pushes);
            }
            for (step, sends) in [("send", true), ("receive", false)] {
                channel(&format!("channel: {step}, {size}, {kind}"), bytes, polls, sends);
            }
        }
    }
}

fn ring(name: &str, bytes: usize, polls: bool, counts_push: bool) {
    let length = shm2_ring::channel_bufsize::<u8>(CAPACITY).expect("a small ring");
    let mut memory = vec![0u64; length.div_ceil(8)];
    let (mut sender, mut receiver) = shm2_ring::channel::<u8>(memory.as_mut_bytes()).expect("enough memory");
    if polls {
        sender.poll_always();
        receiver.poll_always();
    }
    let (message, mut received) = (vec![7; bytes], vec![0; bytes]);
    batches(name, STEPS, || {
        let sent = step_if(counts_push, || sender.send_all(black_box(&message)));
        let taken = step_if(!counts_push, || receiver.recv_all(black_box(&mut received)));
        assert!(sent.is_ok_and(|sent| sent.is_some()) && taken.is_ok_and(|taken| taken.is_some()));
    });
}

fn channel(name: &str, bytes: usize, polls: bool, counts_send: bool) {
    let (ours, theirs) = Signals::event_pair().expect("eventfds");
    let mut sender = shm2_channel::Sender::<u8>::new(CAPACITY, ours).expect("memory");
    let memory = sender.memory().try_clone_to_owned().expect("a descriptor");
    let mut receiver = shm2_channel::Receiver::<u8>::open(CAPACITY, memory, theirs).expect("the same memory");
    if polls {
        sender.poll_always();
        receiver.poll_always();
    }
    let (message, mut received) = (vec![7; bytes], vec![0; bytes]);
    batches(name, STEPS, || {
        let sent = step_if(counts_send, || sender.send_all(black_box(&message)));
        let taken = step_if(!counts_send, || receiver.recv_all(black_box(&mut received)));
        assert!(sent.is_ok_and(|sent| sent.is_some()) && taken.is_ok_and(|taken| taken.is_some()));
    });
}
