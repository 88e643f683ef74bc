//! A region whose file has holes: what a consumer copies is at most as much as the producer's file takes.
//!
//! # Safety
//! The descriptor is open while the call uses it.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "punches a hole into a file")]

use shm2::{Access, AttachError, Consumer, FrameInfo, Producer, ReceiveError, Start, Violation, layout};
use shm2_testing::{DeviceFile, process};
use std::os::fd::AsRawFd;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const FRAME: u64 = 64 << 20;

/// How the region is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kept {
    No,
    ByLock,
    /// Its producer is in a virtual machine, which cannot reserve the memory of the host's file.
    ByHeartbeat,
}

/// A producer with one frame of [`FRAME`] bytes.
fn producer(device: &DeviceFile, kept: Kept) -> Producer {
    let arena = 3 * FRAME + layout::SECTION;
    let builder = match kept {
        Kept::No | Kept::ByLock => {
            std::fs::remove_file(device.host()).unwrap();
            Producer::builder(device.host()).unwrap().arena(arena).keep_region(kept == Kept::ByLock)
        }
        Kept::ByHeartbeat => {
            device.open().set_len(layout::ARENA_OFFSET + arena).unwrap();
            Producer::builder(&device.guest()).unwrap().lease_time(Duration::from_millis(400))
        }
    };
    let mut producer = builder.create().unwrap();
    let slot = producer.reserve(FRAME as usize).unwrap();
    producer.publish(slot, &FrameInfo::new()).unwrap();
    producer
}

/// Takes the memory of the arena away.
fn punch(device: &DeviceFile) {
    let file = device.open();
    let length = file.metadata().unwrap().len() - layout::ARENA_OFFSET;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: see the head of this file.
    let r = unsafe { libc::fallocate(file.as_raw_fd(), mode, layout::ARENA_OFFSET as i64, length as i64) };
    assert_eq!(r, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_frame_in_a_hole_is_an_error_before_it_takes_memory() {
    for access in [Access::Lease, Access::Snapshot] {
        for kept in [Kept::No, Kept::ByLock, Kept::ByHeartbeat] {
            for before_attach in [false, true] {
                let device = DeviceFile::new();
                let _producer = producer(&device, kept);
                let case = format!("{access:?}, kept {kept:?}, before the attach {before_attach}");
                if before_attach {
                    punch(&device);
                }
                let builder = Consumer::builder(device.host()).unwrap().access(access).start(Start::Oldest);
                let attached = builder.attach(LONG);
                if before_attach && kept != Kept::ByHeartbeat {
                    assert!(matches!(attached, Err(AttachError::NotBacked { .. })), "{case}: {attached:?}");
                    continue;
                }
                let mut consumer = attached.unwrap_or_else(|error| panic!("{case}: {error}"));
                punch(&device);
                let taken = consumer.next(LONG).map(|frame| frame.len());
                let violation = match taken {
                    Err(ReceiveError::Misbehaving { violation, .. }) => violation,
                    other => panic!("{case}: {other:?}"),
                };
                assert!(matches!(violation, Violation::NotBacked { length: FRAME, .. }), "{case}: {violation}");
            }
        }
    }
    let peak = process::peak_bytes(std::process::id()).unwrap();
    println!("peak {} MiB", peak >> 20);
}
