//! Instructions of the ring's steps, counted by callgrind:
//! `cargo bench --manifest-path benches/Cargo.toml --bench instructions`. It needs valgrind and `gungraun-runner`
//! (`cargo install gungraun-runner`).

#![expect(missing_docs, reason = "the macros of gungraun make public items without documentation")]

use gungraun::prelude::*;
use shm2_ring::{Receiver, Sender};
use std::hint::black_box;
use zerocopy::IntoBytes;

const CAPACITY: usize = 1 << 16;

type Ring = (Sender<'static, u8>, Receiver<'static, u8>);

/// A ring that wrapped once, so that its pages are mapped.
fn ring(polls: bool) -> Ring {
    let bytes = shm2_ring::channel_bufsize::<u8>(CAPACITY).unwrap();
    let memory: &'static mut [u64] = vec![0; bytes.div_ceil(8)].leak();
    let (mut sender, mut receiver) = shm2_ring::channel::<u8>(&mut memory.as_mut_bytes()[..bytes]).unwrap();
    if polls {
        sender.poll_always();
        receiver.poll_always();
    }
    for _ in 0..3 {
        sender.send_all(&[1; CAPACITY / 2]).unwrap().unwrap();
        receiver.recv_all(&mut [0; CAPACITY / 2]).unwrap().unwrap();
    }
    (sender, receiver)
}

// A hundred messages, one at a time.
#[library_benchmark]
#[bench::polling_64(ring(true), 64)]
#[bench::polling_1024(ring(true), 1024)]
#[bench::asking_64(ring(false), 64)]
#[bench::asking_1024(ring(false), 1024)]
fn pass_100((mut sender, mut receiver): Ring, size: usize) -> Ring {
    let (message, mut received) = (vec![7; size], vec![0; size]);
    for _ in 0..100 {
        sender.send_all(black_box(&message)).unwrap().unwrap();
        receiver.recv_all(black_box(&mut received)).unwrap().unwrap();
    }
    (sender, receiver)
}

library_benchmark_group!(name = steps; benchmarks = pass_100);
main!(library_benchmark_groups = steps);
