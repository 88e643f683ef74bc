//! A kept region, between processes: killed producers are replaced in the same file, and consumers that use heartbeats
//! instead of locks are expelled when they stop for longer than the lease time.

use shm2::consumer::{Access, Liveness};
use shm2::producer::Builder;
use shm2::{Consumer, FrameInfo, Producer, layout};
use shm2_e2e::Peer;
use shm2_testing::{LIMIT, RECOVERY, Rng, Signal, TempRegion};
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const ARENA: u64 = 400_000;

fn kept(name: &TempRegion) -> Builder {
    Producer::builder(name).unwrap().arena(ARENA).keep_region(true)
}

#[test]
fn killed_producers_are_replaced_in_the_same_file() {
    const ROUNDS: u64 = 60;
    let name = TempRegion::new();
    let options = "keep=1 arena=400000 caps=40 eos=60 pace=100";
    let mut rng = Rng::with_seed(3);
    let mut producer = Peer::producer(&name, options);
    let consumers = ["access=lease hold=4", "access=lease hold=12 pace=500", "access=snapshot"];
    let mut consumers = consumers.map(|options| Peer::consumer(&name, options));
    producer.wait("its region", LIMIT, |p| p.count("created") == 1);
    let (file, mut worst) = (name.inode(), Duration::ZERO);
    for round in 0..ROUNDS {
        for consumer in &mut consumers {
            worst = worst.max(consumer.wait_more("checked", 3, RECOVERY));
        }
        std::thread::sleep(Duration::from_micros(rng.u64(..5000)));
        producer.signal(Signal::KILL);
        producer.wait_end();
        producer = Peer::producer(&name, options);
        if round % 5 == 0 {
            let index = rng.usize(..3);
            consumers[index].signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(10));
            consumers[index].signal(Signal::CONT);
        }
    }
    for mut consumer in consumers {
        consumer.wait_more("checked", 3, RECOVERY);
        consumer.stop();
    }
    assert_eq!(name.inode(), file);
    producer.wait("nothing held", RECOVERY, |p| p.count("held") == 0 && p.count("consumers") == 0);
    producer.stop();
    println!("{ROUNDS} producers killed, slowest recovery {worst:?}");
}

const HEARTBEAT: &str = "access=lease life=heartbeat hold=4 judge=once";
const LEASE: Duration = Duration::from_millis(400);

#[test]
fn a_killed_heartbeat_consumer_holds_its_frames_for_the_lease_time() {
    let name = TempRegion::new();
    let mut producer = Peer::producer(&name, "keep=1 lease_ms=400");
    let mut lock = Peer::consumer(&name, "access=lease hold=4");
    for _ in 0..3 {
        let mut consumer = Peer::consumer(&name, HEARTBEAT);
        consumer.wait("held frames", LIMIT, |c| c.count("held") >= 3);
        producer.wait("its consumers", LIMIT, |p| p.count("consumers") == 2);
        // It runs for longer than its lease time.
        std::thread::sleep(LEASE * 2);
        consumer.wait_more("checked", 5, RECOVERY);
        assert_eq!(consumer.count("expelled"), 0);
        consumer.kill();
        let gone = producer.wait("one consumer", LEASE + RECOVERY, |p| p.count("consumers") == 1);
        println!("noticed after {gone:?} of {LEASE:?}");
    }
    lock.wait_more("checked", 5, RECOVERY);
    lock.stop();
    producer.wait("nothing held", RECOVERY, |p| p.count("held") == 0);
    producer.stop();
}

#[test]
fn a_heartbeat_consumer_stopped_beyond_the_lease_time_is_expelled_and_attaches_again() {
    let name = TempRegion::new();
    let mut producer = Peer::producer(&name, "keep=1 lease_ms=400 pace=200");
    let mut stopped = Peer::consumer(&name, HEARTBEAT);
    stopped.wait("held frames", LIMIT, |c| c.count("held") >= 3);
    for round in 1..=3 {
        producer.wait("the stopped consumer", RECOVERY, |p| p.count("consumers") == 1);
        stopped.signal(Signal::STOP);
        producer.wait("no consumer", LEASE + RECOVERY, |p| p.count("consumers") == 0);
        // Other consumers take its former page, and hold frames by it.
        let mut others =
            [Peer::consumer(&name, "access=lease life=heartbeat hold=6"), Peer::consumer(&name, "access=lease hold=6")];
        for other in &mut others {
            other.wait_more("checked", 20, LIMIT);
        }
        stopped.signal(Signal::CONT);
        stopped.wait("its expulsion", RECOVERY, |c| c.count("expelled") == round);
        stopped.wait_more("checked", 20, LEASE + RECOVERY);
        for mut other in others {
            other.wait_more("checked", 20, RECOVERY);
            assert_eq!(other.stop()["expelled"], 0);
        }
    }
    stopped.stop();
    producer.wait("nothing held", RECOVERY, |p| p.count("held") == 0 && p.count("consumers") == 0);
    producer.stop();
}

#[test]
fn a_heartbeat_consumer_notices_a_dead_producer_by_its_heartbeat() {
    let name = TempRegion::new();
    let mut consumer = Peer::consumer(&name, HEARTBEAT);
    for attaches in 1..=3 {
        let mut producer = Peer::producer(&name, "keep=1 lease_ms=400");
        consumer.wait("this producer", LEASE * 2 + RECOVERY, |c| {
            c.count("attaches") >= attaches && c.count("attached") == 1
        });
        consumer.wait_more("checked", 5, RECOVERY);
        // A pause of the test does not end the attachment.
        std::thread::sleep(LEASE * 2);
        consumer.wait_more("checked", 5, RECOVERY);
        producer.signal(Signal::KILL);
        producer.wait_end();
        consumer.wait("no producer", LEASE + RECOVERY, |c| c.count("attached") == 0);
    }
    consumer.stop();
}

#[test]
fn an_expelled_page_owner_takes_nothing_from_the_next_owner() {
    let name = TempRegion::new();
    let mut producer = kept(&name).lease_time(Duration::from_millis(100)).create().unwrap();
    let stopped = Peer::consumer(&name, "access=lease life=heartbeat hold=1 judge=once release=never");
    while producer.consumers() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let slot = filled(&mut producer, 7);
    producer.publish(slot, &FrameInfo::new().with_pts(7)).unwrap();
    let mut stopped = stopped;
    stopped.wait("the frame", LIMIT, |c| c.count("held") == 1);
    stopped.signal(Signal::STOP);
    while producer.consumers() == 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The next owner of its page takes the same frame, by the same entry.
    let builder = Consumer::builder(&name).unwrap().access(Access::Lease).liveness(Liveness::Heartbeat);
    let mut next = builder.attach(LONG).unwrap();
    let held = next.next(LONG).unwrap();
    let bytes = held.to_vec();
    stopped.signal(Signal::CONT);
    stopped.wait("its expulsion", LIMIT, |c| c.count("expelled") == 1);
    // Every third number carries metas; these do not.
    for n in (0..200u64).map(|n| n * 3 + 1) {
        let slot = filled(&mut producer, n);
        producer.publish(slot, &FrameInfo::new().with_pts(n)).unwrap();
    }
    assert_eq!(held.to_vec(), bytes, "a held frame changed");
    assert!(next.next(LONG).is_ok(), "and its owner was not expelled");
    stopped.stop();
}

/// A frame that a peer accepts as number `number`.
fn filled(producer: &mut Producer, number: u64) -> shm2::Reservation {
    let mut slot = producer.reserve(20_000).unwrap();
    shm2_cli::pattern::fill(&mut slot, number).unwrap();
    slot
}

/// It is attached to the previous generation until it continues, and attaches again then.
#[test]
fn a_stopped_consumer_of_the_previous_generation_is_not_counted() {
    for options in ["access=lease", "access=lease life=heartbeat"] {
        let name = TempRegion::new();
        let mut producer = Peer::producer(&name, "keep=1");
        let mut consumer = Peer::consumer(&name, options);
        consumer.wait_more("checked", 5, LIMIT);
        producer.wait("its consumer", LIMIT, |p| p.count("consumers") == 1);
        consumer.signal(Signal::STOP);
        producer.kill();
        let mut next = kept(&name).create().unwrap();
        assert_eq!(next.consumers(), 0, "{options}");
        consumer.signal(Signal::CONT);
        consumer.wait("the next producer", LIMIT, |c| c.count("attaches") == 2);
        assert_eq!(next.consumers(), 1, "{options}");
        next.end_of_stream().unwrap();
        consumer.stop();
    }
}

/// The policy `block` waits only for consumers of the current generation.
#[test]
fn a_stopped_consumer_of_the_previous_generation_does_not_block_the_producer() {
    for options in ["access=lease", "access=lease life=heartbeat"] {
        let name = TempRegion::new();
        let producer = Peer::producer(&name, "keep=1 arena=400000");
        let consumer = || Peer::start(&format!("idle-consumer {} {options}", &*name));
        let mut stopped = consumer();
        stopped.wait_more("checked", 5, LIMIT);
        stopped.signal(Signal::STOP);
        producer.kill();
        let policy = shm2::FullPolicy::Block { timeout: Some(RECOVERY) };
        let mut next = kept(&name).full_policy(policy).create().unwrap();
        let mut reader = consumer();
        let begun = Instant::now();
        while next.consumers() == 0 {
            assert!(begun.elapsed() < LIMIT, "no consumer");
            std::thread::sleep(Duration::from_millis(1));
        }
        // More than the ring has cells.
        for _ in 0..2 * layout::CELLS {
            next.send(b"", &FrameInfo::new()).unwrap();
        }
        assert!(next.drain(LIMIT), "{options}");
        reader.wait("the last frames", LIMIT, |r| r.count("checked") >= 2 * layout::CELLS - 1);
        stopped.signal(Signal::CONT);
        stopped.wait("the next producer", LIMIT, |c| c.count("attaches") == 2);
        drop(next);
        reader.stop();
        stopped.stop();
    }
}
