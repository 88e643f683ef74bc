//! Small pieces that stay for long do not keep large frames out, and an error tells "held" from "free, but in pieces".

use shm2::{Access, Consumer, FrameInfo, FullPolicy, Producer, SendError, Shortage};
use shm2_testing::{Rng, TempRegion};
use std::collections::VecDeque;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn send(producer: &mut Producer, bytes: usize) -> Result<u64, SendError> {
    let slot = producer.reserve(bytes)?;
    producer.publish_with_meta(slot, &FrameInfo::new(), b"a small piece of its own")
}

#[test]
fn caps_between_frames_leave_space_for_a_larger_frame() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(8 << 20).history(2).create().unwrap();
    for (caps, frames, bytes) in [("small", 5, 3 << 20), ("large", 3, 7 << 20), ("small again", 5, 3 << 20)] {
        producer.set_caps(caps.as_bytes()).unwrap();
        for frame in 0..frames {
            send(&mut producer, bytes).unwrap_or_else(|error| panic!("{caps} {frame}: {error}"));
        }
    }
}

#[test]
fn an_arena_for_little_more_than_one_frame_serves_after_a_change_of_the_size() {
    let (small, large) = (640 * 480 * 3 / 2, 1280 * 720 * 3 / 2);
    for percent in (105..=160).step_by(5) {
        let name = TempRegion::new();
        let arena = large as u64 * percent / 100;
        let policy = FullPolicy::DropNewest;
        let mut producer = Producer::builder(&name).unwrap().arena(arena).full_policy(policy).create().unwrap();
        for bytes in [small, large, small, large] {
            producer.set_stream(format!("video of {bytes}").as_bytes(), b"layout").unwrap();
            for frame in 0..30 {
                send(&mut producer, bytes).unwrap_or_else(|error| panic!("{percent} % {bytes} {frame}: {error}"));
            }
        }
    }
}

#[test]
fn small_held_frames_cost_a_large_one_no_more_than_their_share() {
    let name = TempRegion::new();
    let policy = FullPolicy::DropNewest;
    let mut producer = Producer::builder(&name).unwrap().arena(62_324_736).full_policy(policy).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    let mut rng = Rng::with_seed(shm2_testing::seed());
    let (mut held, mut large) = (VecDeque::new(), 0);
    for step in 0..3000 {
        let bytes = match rng.u32(..4) {
            0 => rng.usize(1 << 20..20 << 20),
            1 => 200,
            _ => rng.usize(200..20_000),
        };
        large += u32::from(bytes >= 1 << 20);
        send(&mut producer, bytes).unwrap_or_else(|error| panic!("step {step}: {error}"));
        let frame = consumer.next(LONG).unwrap();
        assert_eq!(frame.len(), bytes);
        if bytes < 1 << 20 {
            held.push_back(frame);
        }
        if held.len() > 40 {
            let any = rng.usize(..held.len());
            held.swap_remove_back(any);
        }
    }
    println!("{large} large frames beside {} held ones", held.len());
}

#[test]
fn an_error_tells_what_is_short() {
    let name = TempRegion::new();
    let policy = FullPolicy::DropNewest;
    let mut producer = Producer::builder(&name).unwrap().arena(4 << 20).full_policy(policy).create().unwrap();
    let mut slots: Vec<_> = (0..4).map(|_| producer.reserve((1 << 20) - 65536).unwrap()).collect();
    let error = producer.reserve(1 << 20).unwrap_err();
    assert!(matches!(error, SendError::Full { shortage: Shortage::Bytes { .. }, .. }), "{error}");
    slots.remove(2);
    slots.remove(0);
    let error = producer.reserve(3 << 19).unwrap_err();
    assert!(matches!(error, SendError::Full { shortage: Shortage::Contiguous { .. }, .. }), "{error}");
    assert!(error.to_string().contains("but in pieces of at most"), "{error}");
    let _consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    let full = (0..5000).find_map(|_| producer.send(b"", &FrameInfo::new()).err()).unwrap();
    assert!(matches!(full, SendError::Full { shortage: Shortage::Cells, .. }), "{full}");
}
