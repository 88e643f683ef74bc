//! A ring whose words a peer changes between any two steps. No step may access other memory, panic, or report
//! more elements than fit; until the first violation all elements arrive in order.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shm2_ring::{Receiver, RingError, Sender, channel_bufsize};
use std::collections::VecDeque;

#[derive(Arbitrary, Debug)]
enum Step {
    SendAll(u8),
    SendForeach(u8),
    SendRaw(u8),
    RecvAll(u8),
    RecvForeach(u8),
    RecvRaw(u8),
    /// True for the sender, false for the receiver.
    Polling(bool),
    Reattach,
    Violation {
        word: u8,
        value: u64,
        is_small: bool,
    },
}

/// Elements sent and not taken, valid until the first violation.
struct Model {
    queue: VecDeque<u16>,
    next: u16,
    is_true: bool,
}

impl Model {
    fn sent(&mut self, count: usize) {
        for _ in 0..count {
            self.queue.push_back(self.next);
            self.next = self.next.wrapping_add(1);
        }
    }

    fn taken(&mut self, values: &[u16]) {
        for value in values {
            let expected = self.queue.pop_front();
            assert!(!self.is_true || expected == Some(*value));
        }
    }
}

fuzz_target!(|input: (u8, Vec<Step>)| {
    let (capacity, steps) = (usize::from(input.0 % 40) + 1, input.1);
    let bytes = channel_bufsize::<u16>(capacity).unwrap();
    // Of exactly the needed size, so that the sanitizer detects each access beyond it.
    let mut memory = vec![0u64; bytes.div_ceil(8)];
    let address = memory.as_mut_ptr().cast::<u8>();
    // SAFETY: the memory outlives all handles; a violation writes only words of the ring.
    let attach = || unsafe { (Sender::<u16>::attach(address, bytes), Receiver::<u16>::attach(address, bytes)) };
    let (Ok(mut sender), Ok(mut receiver)) = attach() else { panic!("zeros are an empty ring") };
    let mut model = Model { queue: VecDeque::new(), next: 0, is_true: true };
    for step in steps {
        let values = |n: u8| (0..u16::from(n)).map(|i| model.next.wrapping_add(i)).collect::<Vec<_>>();
        let mut sent = 0;
        let mut taken = Vec::new();
        let outcome: Result<(), RingError> = match step {
            Step::SendAll(n) => sender.send_all(&values(n)).map(|status| sent = status.map_or(0, |_| n.into())),
            Step::SendForeach(n) => {
                let before = sender.write_count();
                let next = model.next;
                let outcome = sender.send_foreach(n.into(), |i| next.wrapping_add(i as u16)).map(drop);
                sent = (sender.write_count() - before) as usize;
                outcome
            }
            Step::SendRaw(n) => {
                let next = model.next;
                let step = |to: *mut u16, free: usize| {
                    sent = free.min(n.into());
                    // SAFETY: the ring gave `free` slots.
                    (0..sent).for_each(|i| unsafe { to.add(i).write(next.wrapping_add(i as u16)) });
                    sent
                };
                sender.send(step).map(drop)
            }
            Step::RecvAll(n) => {
                let mut to = vec![0; n.into()];
                receiver.recv_all(&mut to).map(|status| taken = status.map(|_| to).unwrap_or_default())
            }
            Step::RecvForeach(n) => receiver.recv_foreach(n.into(), |_, value| taken.push(value)).map(drop),
            Step::RecvRaw(n) => {
                let step = |from: *const u16, there: usize| {
                    // SAFETY: the ring gave `there` elements.
                    taken = unsafe { std::slice::from_raw_parts(from, there.min(n.into())) }.to_vec();
                    taken.len()
                };
                receiver.recv(step).map(drop)
            }
            Step::Polling(of_sender) => {
                match of_sender {
                    true => sender.poll_always(),
                    false => receiver.poll_always(),
                }
                Ok(())
            }
            Step::Reattach => {
                match attach() {
                    (Ok(s), Ok(r)) => (sender, receiver) = (s, r),
                    _ => assert!(!model.is_true),
                }
                Ok(())
            }
            Step::Violation { word, value, is_small } => {
                let offset = [0, 128, 256, 384][usize::from(word % 4)];
                // SAFETY: one of the ring's words.
                unsafe { address.add(offset).cast::<u64>().write(if is_small { value % 100 } else { value }) };
                model.is_true = false;
                Ok(())
            }
        };
        assert!(outcome.is_ok() || !model.is_true || matches!(outcome, Err(RingError::TooMany { .. })));
        assert!(taken.len() <= capacity && sent <= capacity);
        model.sent(sent);
        model.taken(&taken);
        if model.is_true {
            assert_eq!(
                (sender.writable(), receiver.readable()),
                (Ok(capacity - model.queue.len()), Ok(model.queue.len()))
            );
        }
    }
});
