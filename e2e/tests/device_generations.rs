//! Generations that follow each other in the memory of a device, between processes: after the memory was cleared, and
//! after a producer or consumer was killed.

use shm2::{Access, Consumer, Producer, Start, layout};
use shm2_e2e::Peer;
use shm2_testing::{DeviceFile, LIMIT, RECOVERY, Signal};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const LEASE: Duration = Duration::from_millis(400);

#[test]
fn a_region_that_is_wiped_while_in_use_is_made_anew() {
    // The firmware of a starting machine may clear all of a device's memory, or the beginning.
    for bytes in [128, 4096, layout::ARENA_OFFSET, DeviceFile::BYTES] {
        for from_host in [true, false] {
            let bar = DeviceFile::new();
            let place = if from_host { bar.host().to_owned() } else { bar.guest() };
            let options = if from_host { "keep=1 lease_ms=400 caps=7" } else { "lease_ms=400 caps=7" };
            let mut producer = Peer::producer(&place, options);
            let mut consumers = ["access=snapshot", "access=lease"].map(|access| Peer::consumer(&bar.guest(), access));
            for round in 1..=2 {
                for consumer in &mut consumers {
                    consumer.wait("the life", LIMIT, |c| c.count("attaches") >= round && c.count("attached") == 1);
                    consumer.wait_more("checked", 20, LIMIT);
                }
                bar.clear(bytes);
                for consumer in &mut consumers {
                    consumer.wait("the next life", LIMIT, |c| c.count("attaches") > round);
                }
            }
            producer.wait_more("published", 50, LIMIT);
            producer.stop();
        }
    }
}

#[test]
fn a_wipe_that_leaves_the_beginning_is_mended_too() {
    // Firmware that was interrupted goes on behind what the producer has mended by then.
    let bar = DeviceFile::new();
    let mut producer = Peer::producer(bar.host(), "keep=1 lease_ms=400");
    let builder = Consumer::builder(&bar.guest()).unwrap().access(Access::Lease).start(Start::Next);
    let mut consumer = builder.attach(LONG).unwrap();
    (0..20).for_each(|_| drop(consumer.next(LONG).unwrap()));
    let file = OpenOptions::new().write(true).open(bar.host()).unwrap();
    file.write_all_at(&vec![0; (DeviceFile::BYTES - 256) as usize], 256).unwrap();
    let begun = Instant::now();
    while consumer.stats().attaches < 2 {
        assert!(begun.elapsed() < LIMIT, "the next life never comes");
        // Until the producer sees it, what is read may be what the wipe left.
        let _ = consumer.next(Some(Duration::from_millis(100)));
    }
    (0..20).for_each(|_| drop(consumer.next(LONG).unwrap()));
    producer.wait_more("published", 20, LIMIT);
    producer.stop();
}

#[test]
fn an_owner_from_before_a_wipe_takes_nothing_from_the_next_one() {
    let bar = DeviceFile::new();
    let mut producer = Peer::producer(bar.host(), "keep=1 lease_ms=400 pace=500");
    // It looks at no bytes, which the wipe changes.
    let mut old = Peer::start(&format!("idle-consumer {} access=lease", bar.guest()));
    old.wait_more("checked", 20, LIMIT);
    old.signal(Signal::STOP);
    bar.clear(DeviceFile::BYTES);
    let mut new = Peer::consumer(&bar.guest(), "access=lease hold=4");
    new.wait_more("checked", 50, LIMIT);
    old.signal(Signal::CONT);
    old.wait_more("checked", 50, LIMIT);
    new.wait_more("checked", 50, LIMIT);
    assert_eq!(new.stop()["evicted"], 0);
    old.stop();
    producer.wait("nothing held", LEASE * 2 + RECOVERY, |p| p.count("held") == 0);
    producer.stop();
}

#[test]
fn a_dead_consumer_of_the_life_before_is_not_waited_for() {
    let bar = DeviceFile::new();
    let mut producer = Peer::producer(&bar.guest(), "lease_ms=1000");
    let mut consumer = Peer::consumer(&bar.guest(), "access=lease");
    consumer.wait_more("checked", 5, LIMIT);
    producer.wait("its consumer", LIMIT, |p| p.count("consumers") == 1);
    consumer.kill();
    producer.kill();
    let next = Producer::builder(&bar.guest()).unwrap().create().unwrap();
    assert_eq!(next.consumers(), 0);
    let mut consumer = Peer::consumer(&bar.guest(), "access=lease");
    consumer.wait("the next producer", LIMIT, |c| c.count("attaches") == 1);
    assert_eq!(next.consumers(), 1);
}

/// A producer that is ended while it clears a page leaves it as nobody's.
#[test]
fn a_page_that_was_being_cleared_is_free_after_the_lease_time() {
    let bar = DeviceFile::new();
    let create = || Producer::builder(&bar.guest()).unwrap().lease_time(LEASE).create().unwrap();
    let producer = create();
    let mut consumer = Peer::consumer(&bar.guest(), "access=lease");
    consumer.wait("the region", LIMIT, |c| c.count("attaches") == 1);
    consumer.kill();
    drop(producer);
    // Page 0's `claimed`.
    let at = layout::page_offset(0) + 12;
    let claimed = || {
        let mut word = [0; 4];
        bar.open().read_exact_at(&mut word, at).unwrap();
        u32::from_le_bytes(word)
    };
    bar.open().write_all_at(&(layout::CLAIMING | layout::BY_HEARTBEAT).to_le_bytes(), at).unwrap();
    let next = create();
    let begun = Instant::now();
    while claimed() != layout::FREE {
        assert_eq!(next.consumers(), 0);
        assert!(begun.elapsed() < LIMIT, "page 0 shows {}", claimed());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Firmware fills a device's memory from its beginning on, and takes its time. The life in which nothing is lost any more
/// begins behind it: peers check every byte.
#[test]
fn a_wipe_that_takes_its_time_brings_no_zeros_to_consumers_that_copy() {
    const STEP: usize = 64 * 1024;
    for from_host in [true, false] {
        let bar = DeviceFile::new();
        let place = if from_host { bar.host().to_owned() } else { bar.guest() };
        let mut producer =
            Peer::producer(&place, "keep=1 lease_ms=400 caps=7 least=2000 most=6000 pace=2000 history=100");
        let mut consumer = Peer::consumer(&bar.guest(), "access=snapshot");
        for round in 1..=3 {
            consumer.wait("the life", LIMIT, |c| c.count("attaches") >= round && c.count("attached") == 1);
            consumer.wait_more("checked", 20, LIMIT);
            let file = bar.open();
            for at in (0..DeviceFile::BYTES).step_by(STEP) {
                file.write_all_at(&[0; STEP], at).unwrap();
                std::thread::sleep(Duration::from_millis(4));
            }
            consumer.wait("the next life", LIMIT, |c| c.count("attaches") > round);
            consumer.wait_more("checked", 100, LIMIT);
        }
        consumer.stop();
        producer.wait_more("published", 50, LIMIT);
        producer.stop();
    }
}
