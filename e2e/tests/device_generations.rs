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
fn a_region_cleared_while_in_use_is_recreated() {
    // The firmware of a starting machine may clear all of a device's memory, or the beginning.
    for bytes in [128, 4096, layout::ARENA_OFFSET, DeviceFile::BYTES] {
        for from_host in [true, false] {
            let device = DeviceFile::new();
            let place = if from_host { device.host().to_owned() } else { device.guest() };
            let options = if from_host { "keep=1 lease_ms=400 caps=7" } else { "lease_ms=400 caps=7" };
            let mut producer = Peer::producer(&place, options);
            let mut consumers =
                ["access=snapshot", "access=lease cleared=1"].map(|access| Peer::consumer(&device.guest(), access));
            for round in 1..=2 {
                for consumer in &mut consumers {
                    consumer
                        .wait("the generation", LIMIT, |c| c.count("attaches") >= round && c.count("attached") == 1);
                    consumer.wait_more("checked", 20, LIMIT);
                }
                device.clear(bytes);
                for consumer in &mut consumers {
                    consumer.wait("the next generation", LIMIT, |c| c.count("attaches") > round);
                }
            }
            producer.wait_more("published", 50, LIMIT);
            producer.stop();
        }
    }
}

#[test]
fn a_clear_that_spares_the_beginning_is_recovered_from() {
    // Interrupted firmware continues behind what the producer has recovered by then.
    let device = DeviceFile::new();
    let mut producer = Peer::producer(device.host(), "keep=1 lease_ms=400");
    let builder = Consumer::builder(&device.guest()).unwrap().access(Access::Lease).start(Start::Next);
    let mut consumer = builder.attach(LONG).unwrap();
    (0..20).for_each(|_| drop(consumer.next(LONG).unwrap()));
    let file = OpenOptions::new().write(true).open(device.host()).unwrap();
    file.write_all_at(&vec![0; (DeviceFile::BYTES - 256) as usize], 256).unwrap();
    let begun = Instant::now();
    while consumer.stats().attaches < 2 {
        assert!(begun.elapsed() < LIMIT, "no next generation");
        // Until the producer sees the clear, the consumer may read what it left.
        let _ = consumer.next(Some(Duration::from_millis(100)));
    }
    (0..20).for_each(|_| drop(consumer.next(LONG).unwrap()));
    producer.wait_more("published", 20, LIMIT);
    producer.stop();
}

#[test]
fn a_page_owner_from_before_a_clear_takes_nothing_from_the_next_owner() {
    let device = DeviceFile::new();
    let mut producer = Peer::producer(device.host(), "keep=1 lease_ms=400 pace=500");
    // An idle consumer does not check the bytes, which are cleared.
    let mut old = Peer::start(&format!("idle-consumer {} access=lease", device.guest()));
    old.wait_more("checked", 20, LIMIT);
    old.signal(Signal::STOP);
    device.clear(DeviceFile::BYTES);
    let mut new = Peer::consumer(&device.guest(), "access=lease hold=4");
    new.wait_more("checked", 50, LIMIT);
    old.signal(Signal::CONT);
    old.wait_more("checked", 50, LIMIT);
    new.wait_more("checked", 50, LIMIT);
    assert_eq!(new.stop()["expelled"], 0);
    old.stop();
    producer.wait("nothing held", LEASE * 2 + RECOVERY, |p| p.count("held") == 0);
    producer.stop();
}

#[test]
fn a_dead_consumer_of_the_previous_generation_is_not_counted() {
    let device = DeviceFile::new();
    let mut producer = Peer::producer(&device.guest(), "lease_ms=1000");
    let mut consumer = Peer::consumer(&device.guest(), "access=lease");
    consumer.wait_more("checked", 5, LIMIT);
    producer.wait("its consumer", LIMIT, |p| p.count("consumers") == 1);
    consumer.kill();
    producer.kill();
    let next = Producer::builder(&device.guest()).unwrap().create().unwrap();
    assert_eq!(next.consumers(), 0);
    let mut consumer = Peer::consumer(&device.guest(), "access=lease");
    consumer.wait("the next producer", LIMIT, |c| c.count("attaches") == 1);
    assert_eq!(next.consumers(), 1);
}

/// A producer that is killed while it resets a page leaves the page in the claiming state.
#[test]
fn a_page_left_in_the_claiming_state_is_free_after_the_lease_time() {
    let device = DeviceFile::new();
    let create = || Producer::builder(&device.guest()).unwrap().lease_time(LEASE).create().unwrap();
    let producer = create();
    let mut consumer = Peer::consumer(&device.guest(), "access=lease");
    consumer.wait("the region", LIMIT, |c| c.count("attaches") == 1);
    consumer.kill();
    drop(producer);
    // Page 0's `claimed`.
    let at = layout::page_offset(0) + 12;
    let claimed = || {
        let mut word = [0; 4];
        device.open().read_exact_at(&mut word, at).unwrap();
        u32::from_le_bytes(word)
    };
    device.open().write_all_at(&(layout::CLAIMING | layout::BY_HEARTBEAT).to_le_bytes(), at).unwrap();
    let next = create();
    let begun = Instant::now();
    while claimed() != layout::FREE {
        assert_eq!(next.consumers(), 0);
        assert!(begun.elapsed() < LIMIT, "page 0 shows {}", claimed());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Firmware clears a device's memory slowly from its beginning. The generation without losses starts after that; the
/// peers check every byte.
#[test]
fn a_slow_clear_brings_no_zeros_to_snapshot_consumers() {
    const STEP: usize = 64 * 1024;
    for from_host in [true, false] {
        let device = DeviceFile::new();
        let place = if from_host { device.host().to_owned() } else { device.guest() };
        let mut producer =
            Peer::producer(&place, "keep=1 lease_ms=400 caps=7 least=2000 most=6000 pace=2000 history=100");
        let mut consumer = Peer::consumer(&device.guest(), "access=snapshot");
        for round in 1..=3 {
            consumer.wait("the generation", LIMIT, |c| c.count("attaches") >= round && c.count("attached") == 1);
            consumer.wait_more("checked", 20, LIMIT);
            let file = device.open();
            for at in (0..DeviceFile::BYTES).step_by(STEP) {
                file.write_all_at(&[0; STEP], at).unwrap();
                std::thread::sleep(Duration::from_millis(4));
            }
            consumer.wait("the next generation", LIMIT, |c| c.count("attaches") > round);
            consumer.wait_more("checked", 100, LIMIT);
        }
        consumer.stop();
        producer.wait_more("published", 50, LIMIT);
        producer.stop();
    }
}
