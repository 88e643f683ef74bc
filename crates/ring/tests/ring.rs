//! The ring against a model: its wraps, words corrupted by a peer, and two threads with signals.
//!
//! # Safety
//! The memory outlives the handles on it. The only other accesses are words that a misbehaving peer would write, and
//! slots that were passed to a closure.

#![expect(unsafe_code, reason = "attaches by address and writes as a misbehaving peer")]

use proptest::prelude::*;
use shm2_ring::{AttachError, Corrupt, ELEMENTS_OFFSET, Receiver, RingError, Sender, channel, channel_bufsize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use zerocopy::IntoBytes;

fn memory<T>(capacity: usize) -> Vec<u64> {
    vec![0; channel_bufsize::<T>(capacity).unwrap().div_ceil(8)]
}

/// Memory for exactly this capacity.
fn bytes<T>(memory: &mut [u64], capacity: usize) -> &mut [u8] {
    &mut memory.as_mut_bytes()[..channel_bufsize::<T>(capacity).unwrap()]
}

/// Attaches both sides by address, so that a test can also write to the words.
fn attach<T: shm2_ring::Element>(address: *mut u8, length: usize) -> (Sender<'static, T>, Receiver<'static, T>) {
    // SAFETY: each test keeps the memory for longer than both handles, and has one of each at a time.
    unsafe { (Sender::attach(address, length).unwrap(), Receiver::attach(address, length).unwrap()) }
}

#[derive(Debug, Clone)]
enum Step {
    SendAll(usize),
    Send(usize),
    SendForeach(usize),
    ReserveAndCommit(usize, usize),
    RecvAll(usize),
    Recv(usize),
    RecvForeach(usize),
    PeekAndConsume(usize, usize),
    Reattach,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..20usize;
    prop_oneof![
        n.clone().prop_map(Step::SendAll),
        n.clone().prop_map(Step::Send),
        n.clone().prop_map(Step::SendForeach),
        (n.clone(), n.clone()).prop_map(|(a, b)| Step::ReserveAndCommit(a, b)),
        n.clone().prop_map(Step::RecvAll),
        n.clone().prop_map(Step::Recv),
        n.clone().prop_map(Step::RecvForeach),
        (n.clone(), n).prop_map(|(a, b)| Step::PeekAndConsume(a, b)),
        Just(Step::Reattach),
    ]
}

/// Elements in the ring, and the pending requests for a signal.
#[derive(Default)]
struct Model {
    queue: VecDeque<u32>,
    next: u32,
    receiver_requested: bool,
    sender_requested: bool,
}

impl Model {
    fn sent(&mut self, count: usize, signal: bool) {
        for _ in 0..count {
            self.queue.push_back(self.next);
            self.next += 1;
        }
        if count > 0 {
            assert_eq!(signal, std::mem::take(&mut self.receiver_requested), "signal for the receiver");
        } else {
            assert!(!signal);
        }
    }

    fn taken(&mut self, count: usize, signal: bool) {
        self.queue.drain(..count);
        if count > 0 {
            assert_eq!(signal, std::mem::take(&mut self.sender_requested), "signal for the sender");
        } else {
            assert!(!signal);
        }
    }
}

fn run(capacity: usize, start: u64, steps: &[Step]) {
    let mut memory = memory::<u32>(capacity);
    let memory = bytes::<u32>(&mut memory, capacity);
    // Both counts start as if `start` elements had passed.
    memory[..8].copy_from_slice(&start.to_ne_bytes());
    memory[128..136].copy_from_slice(&start.to_ne_bytes());
    let (address, length) = (memory.as_mut_ptr(), memory.len());
    let (mut sender, mut receiver) = attach::<u32>(address, length);
    let mut model = Model::default();
    for step in steps {
        let free = capacity - model.queue.len();
        let filled = model.queue.len();
        let values = |n: usize| (0..n as u32).map(|i| model.next + i).collect::<Vec<_>>();
        match *step {
            Step::SendAll(n) => match sender.send_all(&values(n)) {
                Ok(Some(status)) => {
                    assert!(n <= free);
                    model.sent(n, status.signal);
                    model.sender_requested |= free == n;
                }
                Ok(None) => {
                    assert!(n > free);
                    model.sender_requested = true;
                }
                Err(error) => assert!(n > capacity && error == RingError::TooMany { count: n, available: capacity }),
            },
            Step::Send(n) => {
                let first = values(n);
                let mut given = 0;
                let status = sender.send(|address, there| {
                    given = there.min(n);
                    // SAFETY: at least `given` slots were passed.
                    unsafe { std::ptr::copy_nonoverlapping(first.as_ptr(), address, given) };
                    given
                });
                model.sent(given, status.unwrap().signal);
                model.sender_requested |= free == given;
            }
            Step::SendForeach(n) => {
                let next = model.next;
                let status = sender.send_foreach(n, |i| next + i as u32).unwrap();
                let count = n.min(free);
                model.sent(count, status.signal);
                model.sender_requested |= free == count;
            }
            Step::ReserveAndCommit(n, m) if n <= free => {
                let mut slots = sender.reserve(n).unwrap().unwrap();
                assert_eq!(slots.len(), n);
                values(n).into_iter().enumerate().for_each(|(i, value)| slots.set(i, value));
                let status = slots.commit(m);
                model.sent(n.min(m), status.signal);
                model.sender_requested |= free == n.min(m);
            }
            Step::RecvAll(n) => {
                let mut to = vec![0; n];
                match receiver.recv_all(&mut to) {
                    Ok(Some(status)) => {
                        assert!(model.queue.iter().take(n).eq(to.iter()));
                        model.taken(n, status.signal);
                        model.receiver_requested |= filled == n;
                    }
                    Ok(None) => {
                        assert!(n > filled);
                        model.receiver_requested = true;
                    }
                    Err(error) => {
                        assert!(n > capacity && error == RingError::TooMany { count: n, available: capacity })
                    }
                }
            }
            Step::Recv(n) => {
                let mut taken = Vec::new();
                let status = receiver.recv(|address, there| {
                    // SAFETY: at least so many elements were passed.
                    taken = unsafe { std::slice::from_raw_parts(address, there.min(n)) }.to_vec();
                    taken.len()
                });
                assert!(model.queue.iter().take(taken.len()).eq(taken.iter()));
                model.taken(taken.len(), status.unwrap().signal);
                model.receiver_requested |= filled == taken.len();
            }
            Step::RecvForeach(n) => {
                let mut taken = Vec::new();
                let status = receiver.recv_foreach(n, |i, value| {
                    assert_eq!(i, taken.len());
                    taken.push(value);
                });
                assert_eq!(taken.len(), n.min(filled));
                assert!(model.queue.iter().take(taken.len()).eq(taken.iter()));
                model.taken(taken.len(), status.unwrap().signal);
                model.receiver_requested |= filled == taken.len();
            }
            Step::PeekAndConsume(n, m) if n <= filled => {
                let items = receiver.peek(n).unwrap().unwrap();
                assert!(model.queue.iter().take(n).copied().eq((0..n).map(|i| items.get(i).unwrap())));
                assert!(items.get(n).is_none());
                let status = items.consume(m);
                model.taken(n.min(m), status.signal);
                model.receiver_requested |= filled == n.min(m);
            }
            Step::Reattach => (sender, receiver) = attach::<u32>(address, length),
            _ => {}
        }
        assert_eq!(sender.writable().unwrap(), capacity - model.queue.len());
        assert_eq!(receiver.readable().unwrap(), model.queue.len());
    }
}

/// Longest history; Miri takes a second for some steps.
const STEPS: usize = if cfg!(miri) { 40 } else { 200 };

proptest! {
    #[test]
    fn the_ring_agrees_with_a_queue_at_any_capacity_and_any_count(
        capacity in 1usize..17, start in prop_oneof![Just(0), 0..u64::MAX / 2],
        steps in proptest::collection::vec(step(), 1..STEPS),
    ) {
        run(capacity, start, &steps);
    }

    #[test]
    fn no_step_leaves_the_memory_or_panics_when_a_peer_writes_any_count(
        capacity in 1usize..9, words in proptest::collection::vec((any::<bool>(), any::<u64>(), any::<bool>()), 1..40),
    ) {
        let mut memory = memory::<u64>(capacity);
        let memory = bytes::<u64>(&mut memory, capacity);
        let (address, length) = (memory.as_mut_ptr(), memory.len());
        let (mut sender, mut receiver) = attach::<u64>(address, length);
        for (is_written, word, is_small) in words {
            let value = if is_small { word % 20 } else { word };
            let offset = if is_written { 0 } else { 128 };
            // SAFETY: a word of the ring's memory that no other thread accesses; this is the misbehaving peer.
            unsafe { address.add(offset).cast::<u64>().write(value) };
            let _ = sender.send_all(&[1, 2]);
            let _ = sender.send_foreach(3, |i| i as u64);
            let _ = receiver.recv_all(&mut [0; 2]);
            let _ = receiver.recv_foreach(3, |_, _| ());
            // SAFETY: as above.
            let _ = unsafe { Sender::<u64>::attach(address, length) };
        }
    }
}

#[test]
fn an_impossible_count_is_an_error_that_names_it() {
    let mut memory = memory::<u8>(10);
    let memory = bytes::<u8>(&mut memory, 10);
    let (address, length) = (memory.as_mut_ptr(), memory.len());
    let (mut sender, mut receiver) = attach::<u8>(address, length);
    sender.send_all(&[1, 2, 3, 4]).unwrap();
    assert_eq!(receiver.readable(), Ok(4));
    // SAFETY: words of the ring's memory; this is the misbehaving peer.
    let write = |offset: usize, value: u64| unsafe { address.add(offset).cast::<u64>().write(value) };
    for written in [11, 3, u64::MAX] {
        write(0, written);
        assert_eq!(receiver.readable(), Err(Corrupt::Written { written, seen: 4, read: 0, capacity: 10 }));
        assert!(receiver.recv_all(&mut [0; 5]).is_err());
    }
    for read in [5, u64::MAX] {
        write(128, read);
        assert_eq!(sender.writable(), Err(Corrupt::Read { read, seen: 0, written: 4 }));
        assert!(sender.send_all(&[0; 7]).is_err());
    }
    write(0, 4);
    write(128, 0);
    assert_eq!((sender.writable(), receiver.readable()), (Ok(6), Ok(4)));
}

#[test]
fn memory_that_cannot_hold_a_ring_is_refused() {
    let mut memory = [0u64; 100];
    let memory = memory.as_mut_bytes();
    let small = channel::<u32>(&mut memory[..ELEMENTS_OFFSET + 3]).err();
    assert_eq!(small, Some(AttachError::TooSmall { bytes: ELEMENTS_OFFSET + 3, needed: ELEMENTS_OFFSET + 4 }));
    assert_eq!(channel::<u32>(&mut memory[4..]).err(), Some(AttachError::Unaligned { alignment: 8 }));
    assert_eq!(channel::<[u8; 0]>(memory).err(), Some(AttachError::ZeroSized));
    assert!(channel_bufsize::<u64>(usize::MAX / 4).is_none());
}

#[test]
fn both_parts_at_the_wrap_are_one_run() {
    let mut memory = memory::<u16>(10);
    let (mut sender, mut receiver) = channel::<u16>(bytes::<u16>(&mut memory, 10)).unwrap();
    sender.send_all(&[0; 7]).unwrap();
    receiver.recv_all(&mut [0; 7]).unwrap();
    let mut slots = sender.reserve(6).unwrap().unwrap();
    assert_eq!(slots.as_raw().map(|(_, count)| count), [3, 3]);
    assert_eq!((slots.write(0, &[1, 2]), slots.write(2, &[3, 4, 5, 6, 7])), (2, 4));
    slots.commit(6);
    let items = receiver.peek(6).unwrap().unwrap();
    assert_eq!(items.as_raw().map(|(_, count)| count), [3, 3]);
    let mut middle = [0; 3];
    assert_eq!((items.read_into(2, &mut middle), middle), (3, [3, 4, 5]));
    assert_eq!(items.read_into(5, &mut middle), 1);
    items.consume(6);
}

#[test]
fn a_polling_side_requests_no_signal() {
    let mut memory = memory::<u16>(2);
    let (mut sender, mut receiver) = channel::<u16>(bytes::<u16>(&mut memory, 2)).unwrap();
    sender.poll_always();
    receiver.poll_always();
    for value in 0..10 {
        assert!(receiver.recv_all(&mut [0]).unwrap().is_none());
        assert!(!sender.send_all(&[value]).unwrap().unwrap().signal);
        assert!(!sender.send_all(&[value]).unwrap().unwrap().signal);
        assert!(sender.send_all(&[value]).unwrap().is_none());
        assert!(!receiver.recv_all(&mut [0; 2]).unwrap().unwrap().signal);
    }
    // A successor that does not poll requests signals and gets them.
    let (address, length) = (memory.as_mut_ptr().cast::<u8>(), channel_bufsize::<u16>(2).unwrap());
    // SAFETY: the memory of a ring whose earlier sides are not used any more.
    let (mut sender, mut receiver) = unsafe {
        let mut sender = Sender::<u16>::attach(address, length).unwrap();
        let mut polling = Receiver::<u16>::attach(address, length).unwrap();
        polling.poll_always();
        sender.send_all(&[1]).unwrap().unwrap();
        assert_eq!(polling.recv_foreach(1, |_, _| ()).unwrap().remaining, 0);
        (sender, Receiver::<u16>::attach(address, length).unwrap())
    };
    assert!(receiver.recv_all(&mut [0]).unwrap().is_none());
    assert!(sender.send_all(&[2]).unwrap().unwrap().signal);
    assert!(!sender.send_all(&[3]).unwrap().unwrap().signal);
}

#[test]
fn two_threads_with_signals_lose_nothing() {
    const COUNT: u64 = if cfg!(miri) { 100 } else { 3_000_000 };
    let mut memory = memory::<u64>(61);
    let (mut sender, mut receiver) = channel::<u64>(bytes::<u64>(&mut memory, 61)).unwrap();
    let [to_receiver, to_sender] = [0; 2].map(|_| (AtomicBool::new(false), std::thread::current()));
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let (mut next, mut wakes) = (0, 0u64);
            while next < COUNT {
                let mut ok = true;
                let status = receiver.recv_foreach(7, |_, value| {
                    ok &= value == next;
                    next += 1;
                });
                let status = status.unwrap();
                assert!(ok, "out of order before {next}");
                if status.signal {
                    to_sender.0.store(true, Ordering::SeqCst);
                    to_sender.1.unpark();
                }
                if status.remaining == 0 && next < COUNT {
                    // Sleeps until there is a signal, without a limit.
                    while !to_receiver.0.swap(false, Ordering::SeqCst) {
                        std::thread::park_timeout(std::time::Duration::from_secs(30));
                    }
                    wakes += 1;
                }
            }
            wakes
        });
        let mut next = 0;
        while next < COUNT {
            let status = sender.send_foreach(13.min((COUNT - next) as usize), |i| next + i as u64).unwrap();
            next = sender.write_count();
            if status.signal {
                to_receiver.0.store(true, Ordering::SeqCst);
                receiving.thread().unpark();
            }
            if status.remaining == 0 && next < COUNT {
                while !to_sender.0.swap(false, Ordering::SeqCst) {
                    std::thread::park_timeout(std::time::Duration::from_secs(30));
                }
            }
        }
        println!("{} wakes of the receiver for {COUNT} elements", receiving.join().unwrap());
    });
}
