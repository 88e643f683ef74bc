//! Regions in the memory of a device, within one process: attaching, refusals, and two producers at once. A plain file
//! stands for the device.

#![cfg(target_os = "linux")]

use shm2::Overview;
use shm2::{Access, AttachError, Consumer, CreateError, FrameInfo, Producer};
use shm2_testing::{DeviceFile, LIMIT};
use std::fs::{self, OpenOptions};
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const LEASE: Duration = Duration::from_millis(400);

#[test]
fn a_host_consumer_may_attach_before_the_guest_producer_starts() {
    for access in [Access::Auto, Access::Lease, Access::Snapshot] {
        // A prepared file, no file, a file that was used before.
        for state in 0..3 {
            let device = DeviceFile::new();
            match state {
                1 => fs::remove_file(device.host()).unwrap(),
                2 => drop(Producer::builder(device.host()).unwrap().keep_region(true).create().unwrap()),
                _ => {}
            }
            let mut consumer = Consumer::builder(device.host()).unwrap().access(access).build();
            let reader = std::thread::spawn(move || consumer.next(LONG).map(|frame| frame.to_vec()));
            std::thread::sleep(Duration::from_millis(120));
            if state == 1 {
                // As a starting virtual machine does.
                fs::File::create(device.host()).unwrap().set_len(DeviceFile::BYTES).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
            let mut producer = Producer::builder(&device.guest()).unwrap().lease_time(LEASE).create().unwrap();
            producer.send(b"first", &FrameInfo::new()).unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), b"first", "{access:?} {state}");
        }
    }
}

#[test]
fn one_of_two_producers_that_start_at_once_succeeds() {
    for _ in 0..10 {
        let device = DeviceFile::new();
        let guest = device.guest();
        let create = || Producer::builder(&guest).unwrap().lease_time(LEASE).create();
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(create);
            (create(), other.join().unwrap())
        });
        let made = usize::from(first.is_ok()) + usize::from(second.is_ok());
        assert_eq!(made, 1, "{first:?}, {second:?}");
        let mut producer = first.or(second).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
    }
}

#[test]
fn device_memory_defaults_to_snapshots_and_refuses_unusable_devices() {
    let device = DeviceFile::new();
    let mut producer = Producer::builder(&device.guest()).unwrap().lease_time(LEASE).create().unwrap();
    producer.send(b"x", &FrameInfo::new()).unwrap();
    for place in [device.guest(), device.host().to_owned()] {
        let consumer = Consumer::builder(&place).unwrap().attach(LONG).unwrap();
        assert_eq!(consumer.access(), Some(Access::Snapshot), "{place}");
    }
    let seen = Overview::of(&device.guest()).unwrap();
    assert_eq!((seen.newest, seen.bytes, seen.is_kept), (1, DeviceFile::BYTES, true));
    let missing = format!("{}-missing", device.guest());
    let error = Producer::create(&missing).unwrap_err();
    assert!(matches!(error, CreateError::Device { .. }), "{error}");
    let error = Consumer::builder(&missing).unwrap().attach(LONG).unwrap_err();
    assert!(matches!(error, AttachError::Device { .. }), "{error}");
    let small = DeviceFile::new();
    OpenOptions::new().write(true).open(small.host()).unwrap().set_len(4096).unwrap();
    let error = Producer::create(&small.guest()).unwrap_err().to_string();
    assert!(error.contains("4096"), "{error}");
}

#[test]
fn a_live_region_that_is_not_kept_is_not_taken_over() {
    let device = DeviceFile::new();
    fs::remove_file(device.host()).unwrap();
    let mut producer = Producer::builder(device.host()).unwrap().size(DeviceFile::BYTES).create().unwrap();
    let sending = std::thread::scope(|scope| {
        let guest = device.guest();
        let attempt = scope.spawn(move || Producer::builder(&guest).unwrap().lease_time(LEASE).create());
        while !attempt.is_finished() {
            producer.send(b"x", &FrameInfo::new()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        attempt.join().unwrap()
    });
    assert!(matches!(sending, Err(CreateError::Busy { .. })), "{sending:?}");
}

#[test]
fn memory_that_upstream_still_writes_blocks_the_next_producer() {
    let device = DeviceFile::new();
    let create = || Producer::builder(&device.guest()).unwrap().lease_time(LEASE).create();
    let mut producer = create().unwrap();
    let slot = producer.reserve(1000).unwrap();
    drop(producer);
    let refused = create();
    assert!(matches!(refused, Err(CreateError::Busy { .. })), "{refused:?}");
    drop(slot);
    let begun = Instant::now();
    while create().is_err() {
        assert!(begun.elapsed() < LIMIT, "it is never given back");
    }
}
