//! A forked child does not keep its parent's locks, and drops inherited handles without effect.
//!
//! # Safety
//! The child makes no call but those of the test and `_exit`; the parent waits for it.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "forks, and reads values that a child drops")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm2::{Consumer, FrameInfo, Producer, layout};
use shm2_testing::TempRegion;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));

/// Runs `child` in a forked process and returns its process id.
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: see the head of this file.
    let id = unsafe { libc::fork() };
    assert!(id >= 0);
    if id == 0 {
        child();
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(7) };
    }
    id
}

fn exit_code(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child was ended by signal {}", libc::WTERMSIG(status));
    libc::WEXITSTATUS(status)
}

fn is_readable_within(consumer: &mut Consumer, limit: Duration) -> bool {
    let fd = consumer.poll_fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::try_from(limit).unwrap())).unwrap() == 1
}

#[test]
fn a_forked_child_keeps_no_lock_and_may_drop_what_it_inherited() {
    let name = TempRegion::new();
    let create = || Producer::builder(&name).unwrap().size(layout::MIN_REGION).create().unwrap();
    let mut producer = create();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    producer.send(b"before", &FrameInfo::new()).unwrap();
    let frame = consumer.next(LONG).unwrap();

    // SAFETY: reading from a value that the child may drop while the parent keeps its own copy of the memory.
    let inherited = unsafe { (std::ptr::read(&producer), std::ptr::read(&consumer), std::ptr::read(&frame)) };
    let inherited = std::mem::ManuallyDrop::new(inherited);
    let dropping = fork(|| drop(std::mem::ManuallyDrop::into_inner(inherited)));
    assert_eq!(exit_code(dropping), 7, "dropping in the child does no harm");
    producer.send(b"after", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"after", "nor to the parent");
    assert_eq!(frame.to_vec(), b"before");

    let sleeping = fork(|| std::thread::sleep(Duration::from_secs(2)));
    drop((frame, consumer));
    assert_eq!(producer.consumers(), 0, "the child does not hold the page");
    drop(producer);
    let mut next = create();
    next.send(b"next", &FrameInfo::new()).unwrap();
    let mut consumer = Consumer::new(&name).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"next");
    assert_eq!(exit_code(sleeping), 7);
}

#[test]
fn a_forked_child_creates_regions_of_its_own() {
    let (parents, child_side) = (TempRegion::new(), TempRegion::new());
    let kept = |name: &TempRegion| Producer::builder(name).unwrap().size(40 << 20).keep_region(true).create().unwrap();
    let mut producer = kept(&parents);
    let child = fork(|| {
        // Neither the heartbeat nor the SIGBUS guard touches what is now mapped where the parent's region was.
        let private = vec![0xaau8; 8 << 20];
        for _ in 0..3 {
            let mut producer = kept(&child_side);
            std::thread::sleep(Duration::from_millis(300));
            std::fs::OpenOptions::new().write(true).open(child_side.path()).unwrap().set_len(1 << 20).unwrap();
            let truncated = (0..50).any(|_| {
                let error = producer.send(&[1; 1 << 20], &FrameInfo::new());
                matches!(error, Err(shm2::SendError::Truncated { .. }))
            });
            if !truncated || private.iter().any(|byte| *byte != 0xaa) {
                // SAFETY: as in `fork`.
                unsafe { libc::_exit(8) };
            }
            drop(producer);
            std::fs::remove_file(child_side.path()).unwrap();
        }
    });
    assert_eq!(exit_code(child), 7, "the child's own region is guarded, and nothing else is touched");
    producer.send(b"after", &FrameInfo::new()).unwrap();
    assert_eq!(Consumer::new(&parents).unwrap().next(LONG).unwrap().to_vec(), b"after");
}

/// The parent's waiting thread is not there in the child, also if the parent has opened no region before.
#[test]
fn a_forked_child_waits_for_descriptors_by_a_thread_of_its_own() {
    let (parents, child_side) = (TempRegion::new(), TempRegion::new());
    let mut consumer = Consumer::new(&parents.uri()).unwrap();
    consumer.poll_fd().unwrap();
    let child = fork(|| {
        let mut producer = Producer::create(&child_side.uri()).unwrap();
        let mut consumer = Consumer::new(&child_side.uri()).unwrap();
        shm2_testing::until("the descriptor is not readable", || {
            let taken = consumer.try_next().unwrap();
            taken.is_none() && !is_readable_within(&mut consumer, Duration::from_millis(200))
        });
        producer.send(b"frame", &FrameInfo::new()).unwrap();
        if !is_readable_within(&mut consumer, Duration::from_secs(10)) {
            // SAFETY: as in `fork`.
            unsafe { libc::_exit(8) };
        }
        drop((producer, consumer));
    });
    assert_eq!(exit_code(child), 7, "a frame makes the child's descriptor readable");
}

/// The mapping is not there in the child: its addresses may have other memory by then.
#[test]
fn a_reservation_in_a_forked_child_writes_no_memory() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(1 << 20).create().unwrap();
    let page = producer.reserve(1000).unwrap().as_mut_ptr() as usize & !4095;
    let unmapped = fork(|| drop(producer.reserve(1000)));
    assert_eq!(exit_code(unmapped), 7);
    let reused = fork(|| {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
        // SAFETY: the child has nothing at these addresses, which were those of the region.
        let bytes = unsafe {
            assert_eq!(libc::mmap(page as *mut _, 8192, access, flags, -1, 0) as usize, page);
            std::ptr::write_bytes(page as *mut u8, 0xaa, 8192);
            std::slice::from_raw_parts(page as *const u8, 8192)
        };
        drop(producer.reserve(1000));
        assert!(bytes.iter().all(|byte| *byte == 0xaa));
    });
    assert_eq!(exit_code(reused), 7);
}
