//! Regions in the memory of a device, between processes: without locks and wake-ups, both sides poll, and heartbeats
//! tell who is alive. A plain file stands for the device; a process that names it by its path is the host, one that
//! names it `ivshmem://` is a guest. Real guests run in `cargo xtask vm`.

use shm2::ivshmem::DeviceError;
use shm2::{Access, AttachError, Consumer, CreateError, Producer, ReceiveError, layout};
use shm2_e2e::Peer;
use shm2_testing::{DeviceFile, LIMIT, RECOVERY, Signal, process};
use std::fs::OpenOptions;
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const LEASE: Duration = Duration::from_millis(400);
/// A producer in a guest, and consumers of both kinds.
const GUEST: &str = "lease_ms=400 pace=500";

#[test]
fn frames_go_from_host_to_guests_and_from_a_guest_to_host_and_guest() {
    for from_host in [true, false] {
        let device = DeviceFile::new();
        let (guest, host) = (device.guest(), device.host());
        let producer = match from_host {
            true => Peer::producer(host, "keep=1 lease_ms=400 pace=500"),
            false => Peer::producer(&guest, GUEST),
        };
        let mut consumers = [
            Peer::consumer(&guest, "access=auto"),
            Peer::consumer(&guest, "access=lease hold=3"),
            Peer::consumer(host, "access=auto"),
            Peer::consumer(host, "access=lease hold=3"),
        ];
        for consumer in &mut consumers {
            consumer.wait_more("checked", 300, LIMIT);
        }
        for consumer in consumers {
            consumer.stop();
        }
        let mut producer = producer;
        producer.wait("nothing held", LEASE + RECOVERY, |p| p.count("held") == 0 && p.count("consumers") == 0);
        producer.stop();
    }
}

#[test]
fn a_killed_peer_is_noticed_within_the_lease_time_and_replaced() {
    let device = DeviceFile::new();
    let guest = device.guest();
    let mut snapshot = Peer::consumer(&guest, "access=snapshot");
    let mut lease = Peer::consumer(&guest, "access=lease hold=4");
    let mut host = Peer::consumer(device.host(), "access=auto");
    for generation in 1..=3 {
        let mut producer = Peer::producer(&guest, GUEST);
        for consumer in [&mut snapshot, &mut lease, &mut host] {
            consumer.wait("this producer", LEASE * 2 + LIMIT, |c| c.count("attaches") >= generation);
            consumer.wait_more("checked", 20, LIMIT);
        }
        let held = Peer::consumer(&guest, "access=lease hold=4 release=never");
        producer.wait("its consumers", LIMIT, |p| p.count("consumers") == 2);
        held.kill();
        producer.wait("the others alone", LEASE * 2 + RECOVERY, |p| p.count("consumers") == 1);
        producer.signal(Signal::KILL);
        producer.wait_end();
        for consumer in [&mut snapshot, &mut lease, &mut host] {
            consumer.wait("no producer", LEASE * 2 + RECOVERY, |c| c.count("attached") == 0);
        }
    }
    for consumer in [snapshot, lease, host] {
        consumer.stop();
    }
}

#[test]
fn a_live_producer_excludes_others_on_host_and_guest() {
    let device = DeviceFile::new();
    let busy = |place: &str| {
        let builder = Producer::builder(place).unwrap().size(DeviceFile::BYTES).keep_region(true).lease_time(LEASE);
        matches!(builder.create(), Err(CreateError::Busy { .. }))
    };
    let mut host = Peer::producer(device.host(), "keep=1 lease_ms=400");
    host.wait("its region", LIMIT, |p| p.count("created") == 1);
    assert!(busy(device.host()) && busy(&device.guest()));
    host.kill();
    let mut guest = Peer::producer(&device.guest(), GUEST);
    guest.wait("its region", LIMIT, |p| p.count("created") == 1);
    assert!(busy(device.host()) && busy(&device.guest()));
    guest.stop();
    assert!(!busy(device.host()), "one that closed its region is not waited for");
}

#[test]
fn a_producer_paused_beyond_its_lease_time_stops_writing_after_a_takeover() {
    let device = DeviceFile::new();
    let mut first = Peer::producer(&device.guest(), GUEST);
    let mut consumer = Peer::consumer(&device.guest(), "access=lease hold=2");
    consumer.wait_more("checked", 20, LIMIT);
    first.signal(Signal::STOP);
    consumer.wait("no producer", LEASE * 2 + RECOVERY, |c| c.count("attached") == 0);
    let mut second = Peer::producer(&device.guest(), GUEST);
    consumer.wait("the second", LIMIT, |c| c.count("attaches") >= 2);
    first.signal(Signal::CONT);
    let status = first.wait_end();
    assert_eq!(status.code(), Some(3), "it reports that it was superseded: {status}");
    consumer.wait_more("checked", 100, LIMIT);
    second.wait_more("published", 100, LIMIT);
    consumer.stop();
    second.stop();
}

/// With several frame sizes and paces, and with a shorter lease time than the producer that takes over.
#[test]
fn a_paused_host_producer_is_superseded_by_a_guest_producer() {
    const LARGE: &str = "lease_ms=400 pace=500 least=20000 most=40000";
    for (options, its_options) in [
        (LARGE, LARGE),
        ("lease_ms=400 pace=300 most=64", "lease_ms=400 pace=50000 least=200 most=400"),
        ("lease_ms=100 pace=300 most=64", "lease_ms=2000 pace=50000 least=200 most=400"),
    ] {
        let device = DeviceFile::new();
        let mut host = Peer::producer(device.host(), &format!("keep=1 {options}"));
        host.wait_more("published", 200, LIMIT);
        host.signal(Signal::STOP);
        let mut guest = Peer::producer(&device.guest(), its_options);
        guest.wait("its region", LIMIT, |p| p.count("created") == 1);
        let mut consumer = Peer::consumer(&device.guest(), "access=lease hold=5");
        consumer.wait_more("checked", 6, LIMIT);
        host.signal(Signal::CONT);
        assert_eq!(host.wait_end().code(), Some(3), "it reports that it was superseded");
        consumer.wait_more("checked", 10, LIMIT);
        let counts = consumer.stop();
        assert_eq!((counts["violations"], counts["expelled"], counts["attaches"]), (0, 0, 1), "{options}");
        guest.stop();
    }
}

#[test]
fn a_truncated_device_file_is_an_error() {
    for access in [Access::Snapshot, Access::Lease] {
        let device = DeviceFile::new();
        let mut producer = Peer::producer(&device.guest(), "lease_ms=400 least=5000");
        let mut consumer = Consumer::builder(&device.guest()).unwrap().access(access).attach(LONG).unwrap();
        (0..20).for_each(|_| drop(consumer.next(LONG).unwrap()));
        OpenOptions::new().write(true).open(device.host()).unwrap().set_len(layout::ARENA_OFFSET).unwrap();
        let error = (0..5000).find_map(|_| consumer.next(LONG).err()).expect("an error");
        // The producer also notices and closes; what is left is too small for a region.
        let is_truncated = match &error {
            ReceiveError::Truncated { .. } => true,
            ReceiveError::Attach(AttachError::Device { problem, .. }) => {
                matches!(problem, DeviceError::TooSmall { .. })
            }
            _ => false,
        };
        assert!(is_truncated, "{error}");
        assert_eq!(producer.wait_end().code(), Some(3));
    }
}

#[test]
fn idle_polling_costs_little() {
    let device = DeviceFile::new();
    let _producer = Peer::start(&format!("idle-producer {} keep=1", device.host()));
    let mut consumer = Peer::start(&format!("idle-consumer {} ", device.guest()));
    consumer.wait("the only frame", LIMIT, |c| c.count("checked") == 1);
    std::thread::sleep(Duration::from_millis(300));
    let looks = || process::switches(consumer.id());
    let (begun, before, looks_before) = (Instant::now(), process::busy(consumer.id()), looks());
    std::thread::sleep(Duration::from_secs(3));
    let busy = (process::busy(consumer.id()) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("a polling consumer takes {:.2} % of a processor", busy * 100.0);
    let looks = looks() - looks_before;
    assert!((10..500).contains(&looks), "{looks} looks in 3 s");
}
