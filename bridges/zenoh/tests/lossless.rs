//! What `--lossless` promises, and what is counted where it cannot be kept.

mod common;

use common::*;
use shm2::{FrameInfo, Producer};
use shm2_testing::{LIMIT, TempRegion, until};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

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
    let mut producer = keeping_producer(&region);
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

/// Passes bytes on between each connection to the port that it returns and `to`, from there at `rate` bytes per second.
fn slow_link(to: String, rate: u32) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pass = move |mut from: TcpStream, mut to: TcpStream, rate: Option<u32>| {
        let (mut bytes, mut free) = ([0; 8192], Instant::now());
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
            let Some(rate) = rate else { continue };
            // A sleep that took longer than it should is made up for.
            free = free.max(Instant::now() - Duration::from_millis(200)) + Duration::from_secs(1) * count as u32 / rate;
            std::thread::sleep(free.saturating_duration_since(Instant::now()));
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    };
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(&to).unwrap();
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || pass(near_too, far_too, None));
            std::thread::spawn(move || pass(far, near, Some(rate)));
        }
    });
    port
}

/// The router's queue to the reader waits for it, as does the publisher's to the router.
#[test]
fn a_message_that_takes_longer_than_5_s_arrives() {
    let (region, local) = (TempRegion::new(), TempRegion::new());
    let port = free_port();
    // So that a socket does not hold the message.
    let listen = format!("tcp/127.0.0.1:{port}#so_sndbuf=65000");
    let router = Bridge::start(&mut program(&["router", "--listen", &listen]));
    router.says("router is ready");
    let link = slow_link(format!("127.0.0.1:{port}"), 1_000_000);
    let mut producer = Producer::builder(&region).unwrap().arena(32 << 20).create().unwrap();
    let start = |arguments: &[&str], port: u16| {
        let endpoint = format!("tcp/127.0.0.1:{port}");
        Bridge::start(program(arguments).args(["--lossless", "--client", "--connect", &endpoint]))
    };
    let _publish = start(&["publish", &region, "--host", "north"], port);
    let open = start(&["open", &source(&region), "--as", &local], link);
    let (mut consumer, mut sent) = (consumer(&local), 0);
    let mut last = None;
    send_until(&mut producer, &mut sent, || {
        last = soon(&mut consumer);
        last.is_some()
    });
    until("the last small frame arrives", || {
        last = last.max(soon(&mut consumer));
        last == Some(sent - 1)
    });
    let begun = Instant::now();
    producer.send(&vec![7; 9_000_000], &FrameInfo::new()).unwrap();
    let frame = consumer.next(Some(LIMIT)).unwrap();
    println!("9 MB took {:?}", begun.elapsed());
    assert!(frame.len() == 9_000_000 && begun.elapsed() > Duration::from_secs(6));
    let text = open.stop();
    assert!(LOSSES.iter().all(|loss| count(&text, loss) == 0), "{text}");
}
