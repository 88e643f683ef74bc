//! Random sending, taking, holding and attaching against a model: the frame received with a sequence is the frame sent
//! with it, in order, every gap is counted, and held frames do not change.

use proptest::prelude::*;
use shm2::{Access, Consumer, Frame, FrameInfo, Producer, ReceiveError, layout};
use shm2_testing::TempRegion;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Take(usize),
    Release(usize, usize),
    Reattach(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..30_000).prop_map(Step::Send),
        4 => (0usize..3).prop_map(Step::Take),
        2 => (0usize..3, any::<usize>()).prop_map(|(c, i)| Step::Release(c, i)),
        1 => (0usize..3).prop_map(Step::Reattach),
    ]
}

fn bytes(sequence: u64, length: usize) -> Vec<u8> {
    (0..length).map(|i| (sequence as usize * 7 + i) as u8).collect()
}

struct Reader {
    consumer: Consumer,
    access: Access,
    held: Vec<Frame>,
    last: Option<u64>,
}

fn attach(name: &str, access: Access) -> Consumer {
    Consumer::builder(name).unwrap().access(access).attach(Some(Duration::from_secs(10))).unwrap()
}

impl Reader {
    fn take(&mut self, lengths: &[usize]) -> Result<(), TestCaseError> {
        let frame = match self.consumer.try_next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(ReceiveError::EndOfStream) => return Err(TestCaseError::fail("an end of stream that was not sent")),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        if let Some(last) = self.last {
            prop_assert_eq!(frame.sequence(), last + 1 + frame.missed());
        }
        self.last = Some(frame.sequence());
        check(&frame, lengths)?;
        self.held.push(frame);
        Ok(())
    }
}

fn check(frame: &Frame, lengths: &[usize]) -> Result<(), TestCaseError> {
    let length = lengths[frame.sequence() as usize - 1];
    prop_assert!(frame.to_vec() == bytes(frame.sequence(), length), "frame {} is not what was sent", frame.sequence());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_transport_agrees_with_its_model(steps in proptest::collection::vec(step(), 1..300)) {
        let name = TempRegion::new();
        let builder = Producer::builder(&name).unwrap().size(layout::MIN_REGION + 65_536).max_leases(3).history(4);
        let mut producer = builder.create().unwrap();
        let mut lengths = Vec::new();
        let mut readers = [Access::Lease, Access::Lease, Access::Snapshot]
            .map(|access| Reader { consumer: attach(&name, access), access, held: Vec::new(), last: None });
        for step in steps {
            match step {
                Step::Send(length) => {
                    let next = lengths.len() as u64 + 1;
                    if let Ok(sequence) = producer.send(&bytes(next, length), &FrameInfo::new()) {
                        prop_assert_eq!(sequence, next);
                        lengths.push(length);
                    }
                }
                Step::Take(c) => readers[c].take(&lengths)?,
                Step::Release(c, i) if !readers[c].held.is_empty() => {
                    let i = i % readers[c].held.len();
                    check(&readers[c].held.swap_remove(i), &lengths)?;
                }
                Step::Release(..) => {}
                Step::Reattach(c) => {
                    readers[c].consumer = attach(&name, readers[c].access);
                    readers[c].last = None;
                }
            }
            let stats = producer.handle().stats();
            prop_assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
        }
        for reader in &readers {
            reader.held.iter().try_for_each(|frame| check(frame, &lengths))?;
        }
        drop(readers);
        producer.consumers();
        prop_assert_eq!(producer.handle().stats().held, 0);
    }
}
