//! The file of a region is truncated while it is in use: both sides report an error, and no signal ends the process.

#![cfg(target_os = "linux")]

use shm2::consumer::Access;
use shm2::{AttachError, Consumer, FrameInfo, Producer, ReceiveError, SendError, layout};
use shm2_testing::TempRegion;
use std::mem::offset_of;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));
/// Lengths to truncate the file to: nothing, and up to each section of the region.
const LENGTHS: [u64; 7] = [
    0,
    100,
    4096,
    layout::RING_OFFSET + 128,
    layout::PAGES_OFFSET + 64,
    layout::ARENA_OFFSET,
    layout::ARENA_OFFSET + 8192,
];

/// Sends frames until an error comes; they go round the arena, so that every part of it is written.
fn send_until_error(producer: &mut Producer) -> Option<SendError> {
    (0..20_000).find_map(|_| producer.send(&[7; 9000], &FrameInfo::new()).err())
}

#[test]
fn a_producer_and_a_leasing_consumer_of_a_truncated_file_get_errors() {
    for bytes in LENGTHS {
        let name = TempRegion::new();
        let mut producer = Producer::builder(&name).unwrap().arena(400_000).history(20).create().unwrap();
        let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
        producer.send(&[1; 9000], &FrameInfo::new()).unwrap();
        producer.send(&[2; 9000], &FrameInfo::new()).unwrap();
        let held = consumer.next(LONG).unwrap();
        name.set_len(bytes);
        let error = send_until_error(&mut producer);
        assert!(matches!(error, Some(SendError::Truncated { .. })), "{bytes}: {error:?}");
        assert!(error.unwrap().to_string().contains("was truncated while in use"));
        assert!(!held.read_at(0, &mut [0; 9000]), "{bytes}: bytes that are gone are not passed for a frame");
        let error = (0..100).find_map(|_| match consumer.next(Some(Duration::from_millis(10))) {
            Err(error) if !matches!(error, ReceiveError::TimedOut) => Some(error),
            _ => None,
        });
        assert!(matches!(error, Some(ReceiveError::Truncated { .. })), "{bytes}: {error:?}");
        drop((held, consumer, producer));
        let mut producer = Producer::create(&name).unwrap();
        producer.send(b"anew", &FrameInfo::new()).unwrap();
        assert_eq!(Consumer::new(&name).unwrap().next(LONG).unwrap().to_vec(), b"anew");
    }
}

#[test]
fn a_leasing_consumer_passes_no_metas_on_that_were_truncated() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(400_000).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).events(true).attach(LONG).unwrap();
    producer.send(&[1; 9000], &FrameInfo::new()).unwrap();
    let held = consumer.next(LONG).unwrap();
    producer.send_event(&FrameInfo::new(), b"event").unwrap();
    name.set_len(layout::ARENA_OFFSET);
    let received = consumer.next(LONG).map(|event| event.meta().to_vec());
    assert!(matches!(received, Err(ReceiveError::Truncated { .. })), "{received:?}");
    let file = std::fs::read(name.path()).unwrap();
    let leases = &file[layout::page_words_offset(0) as usize + offset_of!(layout::Page, leases)..];
    let entries = leases.chunks(size_of::<layout::Lease>()).take(layout::LEASES);
    let in_use = entries.filter(|entry| entry[..8].iter().any(|byte| *byte != 0)).count();
    assert_eq!(in_use, 1, "only the frame that is held has a lease");
    drop(held);
}

#[test]
fn a_snapshot_consumer_of_a_truncated_file_gets_an_error() {
    for bytes in LENGTHS {
        let name = TempRegion::new();
        let mut producer = Producer::builder(&name).unwrap().arena(400_000).history(20).create().unwrap();
        for _ in 0..5 {
            producer.send(&[1; 9000], &FrameInfo::new()).unwrap();
        }
        let builder = Consumer::builder(&name).unwrap().start(shm2::Start::Oldest);
        let mut consumer = builder.access(Access::Snapshot).attach(LONG).unwrap();
        name.set_len(bytes);
        let error = (0..100).find_map(|_| consumer.next(Some(Duration::from_millis(10))).err());
        assert!(matches!(error, Some(ReceiveError::Truncated { .. })), "{bytes}: {error:?}");
        let again = consumer.next(Some(Duration::from_millis(10)));
        assert!(
            matches!(
                again,
                Err(ReceiveError::Attach(
                    AttachError::Header { .. } | AttachError::NotFound { .. } | AttachError::NotARegion { .. }
                )) | Err(ReceiveError::TimedOut)
            ),
            "{bytes}: {again:?}"
        );
    }
}
