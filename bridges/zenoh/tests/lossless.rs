//! What `--lossless` promises, and what is counted where it cannot be kept.

mod common;

use common::*;
use shm2::{FrameInfo, Producer};
use shm2_testing::{TempRegion, until};
use std::collections::BTreeSet;
use std::time::Duration;

/// The number before `what` in the last summary of a bridge.
fn count(text: &str, what: &str) -> u64 {
    let before = text.rsplit(what).nth(1).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    before.split([' ', ':', ',']).next_back().unwrap().parse().unwrap()
}

const LOSSES: [&str; 4] = [" lost on the way", " missed by the sender", " dropped here", " without their description"];

/// The source keeps all frames, so whatever is missing was lost by the bridges. The local region and the queue are small,
/// and the consumer pauses, so that all of them have to wait.
#[test]
fn each_frame_arrives_once_and_in_order_although_the_consumer_pauses() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = Producer::builder(&region).unwrap().arena(64 << 20).create().unwrap();
    let publish = router.publish(&region, &["--lossless"]);
    let open = router.open(&region, &local, &["--lossless", "--size", "4M", "--queue", "2"]);
    let (mut consumer, mut sent) = (consumer(&local), 0);
    let mut first = None;
    send_until(&mut producer, &mut sent, || {
        first = soon(&mut consumer);
        first.is_some()
    });
    let from = first.unwrap();
    let to = sent + 2000;
    let sender = std::thread::spawn(move || {
        for number in sent..to {
            // Some are larger than a packet of the network.
            let bytes = if number % 20 == 0 { 200_000 } else { 10_000 };
            producer.send(&[&number.to_le_bytes()[..], &vec![1; bytes]].concat(), &FrameInfo::new()).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        producer
    });
    for expected in from + 1..to {
        let frame = consumer.next(SECONDS).unwrap();
        assert_eq!(number(&frame.to_vec()), expected, "{}", open.text());
        if expected == sent + 500 {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let _producer = sender.join().unwrap();
    let (received, sent) = (open.stop(), publish.stop());
    println!("{received}{sent}");
    assert!(LOSSES.iter().all(|loss| count(&received, loss) == 0), "{received}");
    assert_eq!(count(&sent, " missed"), 0, "{sent}");
}

/// Each frame was received, or is counted as lost on the way or as missed by the sender.
#[test]
fn what_passes_while_the_router_is_away_is_counted() {
    let (mut router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = Producer::builder(&region).unwrap().arena(16 << 20).create().unwrap();
    let publish = router.publish(&region, &["--lossless", "--client"]);
    let open = router.open(&region, &local, &["--lossless", "--client"]);
    let (mut consumer, mut sent, mut received) = (consumer(&local), 0, BTreeSet::new());
    for round in 0..3 {
        let before = received.len();
        send_until(&mut producer, &mut sent, || {
            received.extend(soon(&mut consumer));
            received.len() >= before + 20
        });
        if round < 2 {
            router.end();
            let reads = || publish.text().matches("not read:").count() > round;
            send_until(&mut producer, &mut sent, reads);
            (0..50).for_each(|number| send(&mut producer, sent + number));
            sent += 50;
            router.restart();
        }
    }
    until("the last frame arrives", || {
        received.extend(soon(&mut consumer));
        received.contains(&(sent - 1))
    });
    let text = open.stop();
    println!("{text}");
    let missing = sent - received.first().unwrap() - received.len() as u64;
    let counted = [" lost on the way", " missed by the sender"].map(|what| count(&text, what));
    assert_eq!(counted[0] + counted[1], missing, "{text}");
    assert!(missing >= 100, "{missing}");
}
