//! A process that may only read the region's file cannot stop its producer or its consumers, nor keep their memory.
//!
//! The reader is a part of the test's own process: for the kernel, what it does through its own read-only descriptor
//! and mapping is what another process would do.
//!
//! # Safety
//! The mapped page is the region's first one, which exists as long as its file; only the kernel uses the words in it.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "maps the region's file, and takes locks of an open file description")]

use shm2::consumer::Access;
use shm2::{AttachError, Consumer, CreateError, FrameInfo, FullPolicy, Producer, layout};
use shm2_testing::{LIMIT, TempRegion, until};
use std::fs::File;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
/// Offset of the first byte that carries a lock, and those of the bytes with a meaning from there.
const LOCKS: i64 = 0x4000_0000_0000_0000;
const LIVENESS: i64 = 0;
const TAKEOVER: i64 = 1;
const PRESENCE: i64 = 2;
const FIRST_PAGE: i64 = 64;

/// A process with read permission.
struct Reader {
    file: File,
    page: *mut libc::c_void,
}

impl Reader {
    fn of(name: &TempRegion) -> Self {
        let file = File::open(name.path()).unwrap();
        // SAFETY: see the head of this file.
        let page =
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(page, libc::MAP_FAILED);
        Self { file, page }
    }

    /// Moves all threads that sleep on the region's wake word to a word of this reader; their number.
    fn requeue(&self, own: &AtomicU32) -> i64 {
        let wake = self.page.wrapping_byte_add(offset_of!(layout::Header, wake));
        // SAFETY: see the head of this file.
        unsafe { libc::syscall(libc::SYS_futex, wake, libc::FUTEX_REQUEUE, 0, i32::MAX as i64, own.as_ptr()) }
    }

    /// Takes a read lock on a byte.
    fn lock(&self, byte: i64) {
        let lock = libc::flock {
            l_type: libc::F_RDLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: LOCKS + byte,
            l_len: 1,
            l_pid: 0,
        };
        // SAFETY: see the head of this file.
        assert_eq!(unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &lock) }, 0);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, and used by nothing any more.
        unsafe { libc::munmap(self.page, 4096) };
    }
}

#[test]
fn a_consumer_whose_wake_up_is_taken_has_the_next_frame_soon() {
    for access in [Access::Lease, Access::Snapshot] {
        let name = TempRegion::new();
        let mut producer = Producer::create(&name).unwrap();
        let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
        let frames = 20;
        let receiving = std::thread::spawn(move || {
            let mut delays = Vec::new();
            for _ in 0..frames {
                let frame = consumer.next(Some(LIMIT)).unwrap();
                delays.extend(frame.published_ns().map(|time| shm2::monotonic_ns() - time));
            }
            (delays, consumer.stats())
        });
        let (reader, own) = (Reader::of(&name), AtomicU32::new(0));
        // The producer notices a snapshot consumer first, and the consumer sleeps long only then.
        std::thread::sleep(Duration::from_millis(1500));
        let moved = (0..5000).map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            reader.requeue(&own)
        });
        assert_eq!(moved.into_iter().find(|moved| *moved > 0), Some(1), "{access:?}: a sleeper was moved");
        for n in 0..frames {
            producer.send(b"x", &FrameInfo::new()).unwrap();
            std::thread::sleep(Duration::from_millis(if n == 0 { 1500 } else { 50 }));
        }
        let (delays, stats) = receiving.join().unwrap();
        println!("{access:?}: delays {:?} ms, {stats:?}", delays.iter().map(|ns| ns / 1_000_000).collect::<Vec<_>>());
        assert!(delays.iter().all(|ns| *ns < 5_000_000_000), "{access:?}");
        assert!(stats.lost_wakes > 0, "{access:?}");
    }
}

/// Leaves a page as a consumer does that is killed: claimed, at the first frame, without a lock.
fn leave_page_of_a_dead_consumer(name: &TempRegion, page: usize) {
    let file = File::options().write(true).open(name.path()).unwrap();
    let page = layout::page_words_offset(page);
    file.write_all_at(&1u64.to_le_bytes(), page + offset_of!(layout::Page, cursor) as u64).unwrap();
    file.write_all_at(&layout::READING.to_le_bytes(), page + offset_of!(layout::Page, claimed) as u64).unwrap();
}

#[test]
fn a_dead_consumer_does_not_stop_a_blocking_producer_although_a_reader_locks_its_page() {
    let name = TempRegion::new();
    let block = FullPolicy::Block { timeout: Some(LIMIT) };
    let mut producer = Producer::builder(&name).unwrap().full_policy(block).create().unwrap();
    let reader = Reader::of(&name);
    reader.lock(FIRST_PAGE);
    leave_page_of_a_dead_consumer(&name, 0);
    let begun = Instant::now();
    for _ in 0..2 * layout::CELLS {
        producer.send(b"x", &FrameInfo::new()).unwrap();
    }
    println!("{:?}", begun.elapsed());
    assert_eq!(producer.consumers(), 0);
    // A consumer that gets another page counts; later where the first probe took long, as under QEMU or at load.
    let _consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    until("the consumer counts", || producer.consumers() == 1);
    drop(reader);
    until("the page is free again", || {
        let _second = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
        producer.consumers() == 2
    });
}

#[test]
fn a_closed_producer_drops_its_keeps_although_a_reader_holds_locks() {
    for byte in [PRESENCE, FIRST_PAGE] {
        let name = TempRegion::new();
        let mut producer = Producer::create(&name).unwrap();
        let reader = Reader::of(&name);
        reader.lock(byte);
        if byte == FIRST_PAGE {
            leave_page_of_a_dead_consumer(&name, 0);
        }
        let value = Arc::new(());
        let slot = producer.reserve(1).unwrap();
        producer.publish_part(&slot, 0..1, &FrameInfo::new(), &[], Box::new(value.clone())).unwrap();
        drop(slot);
        drop(producer);
        let took = until("the keep is dropped", || Arc::strong_count(&value) == 1);
        println!("byte {byte}: after {took:?}");
    }
}

/// The file of a producer that was killed: its bytes, without a lock.
fn leave_region_of_a_dead_producer(keep: bool) -> TempRegion {
    let (live, dead) = (TempRegion::new(), TempRegion::new());
    let builder = Producer::builder(&live).unwrap().arena(1 << 20).keep_region(keep);
    let mut producer = builder.create().unwrap();
    producer.send(b"x", &FrameInfo::new()).unwrap();
    std::fs::copy(live.path(), dead.path()).unwrap();
    dead
}

#[test]
fn a_read_lock_does_not_make_a_producer_of_its_owner() {
    let name = leave_region_of_a_dead_producer(false);
    let reader = Reader::of(&name);
    reader.lock(LIVENESS);
    let attached = Consumer::builder(&name).unwrap().attach(Some(Duration::from_millis(300)));
    assert!(matches!(attached, Err(AttachError::TimedOut { .. })), "{attached:?}");
    let _producer = Producer::create(&name).unwrap();
    Consumer::builder(&name).unwrap().attach(LONG).unwrap();
}

#[test]
fn a_read_lock_does_not_make_a_leasing_consumer_of_its_owner() {
    let name = TempRegion::new();
    let producer = Producer::create(&name).unwrap();
    let reader = Reader::of(&name);
    reader.lock(FIRST_PAGE);
    assert_eq!(producer.consumers(), 0);
    // The page is passed over, and no other is affected.
    let consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    assert_eq!(producer.consumers(), 1);
    drop(consumer);
    (1..layout::PAGES as i64).for_each(|page| reader.lock(FIRST_PAGE + page));
    let full = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG);
    assert!(matches!(full, Err(AttachError::Full { .. })), "{full:?}");
    assert_eq!(Consumer::builder(&name).unwrap().attach(LONG).unwrap().access(), Some(Access::Snapshot));
}

#[test]
fn a_read_lock_on_the_takeover_byte_blocks_a_takeover_until_it_ends() {
    for keep in [false, true] {
        let name = leave_region_of_a_dead_producer(keep);
        let reader = Reader::of(&name);
        reader.lock(TAKEOVER);
        let create = || Producer::builder(&name).unwrap().keep_region(keep).create();
        assert!(matches!(create(), Err(CreateError::TakeoverBlocked { .. })), "{keep}");
        drop(reader);
        create().unwrap();
    }
}

#[test]
fn a_read_lock_on_the_liveness_byte_of_a_kept_region_blocks_the_next_producer() {
    let name = leave_region_of_a_dead_producer(true);
    let reader = Reader::of(&name);
    reader.lock(LIVENESS);
    let create = || Producer::builder(&name).unwrap().keep_region(true).create();
    assert!(matches!(create(), Err(CreateError::Busy { .. })));
    drop(reader);
    create().unwrap();
}

#[test]
fn a_read_lock_on_the_presence_byte_costs_a_wake_for_each_item() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    let handle = producer.handle();
    let wakes = |producer: &mut Producer| {
        // The probe that finds the lock, or its end, is made four times a second.
        std::thread::sleep(Duration::from_millis(400));
        producer.send(b"x", &FrameInfo::new()).unwrap();
        let before = producer.handle().stats().wakes;
        (0..100).for_each(|_| assert!(producer.send(b"x", &FrameInfo::new()).is_ok()));
        producer.handle().stats().wakes - before
    };
    assert_eq!(wakes(&mut producer), 0);
    let reader = Reader::of(&name);
    reader.lock(PRESENCE);
    assert!(handle.has_snapshot_consumers());
    assert_eq!(wakes(&mut producer), 100);
    drop(reader);
    assert_eq!(wakes(&mut producer), 0);
}

/// Whether this process has a thread that probes the consumers of a producer.
fn has_probing_thread() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
        .any(|name| name.trim() == "shm2-probe")
}

#[test]
fn probes_that_locks_of_a_reader_make_slow_are_made_by_a_thread_of_their_own() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    let attach = || Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    let mut consumers: Vec<_> = (0..8).map(|_| attach()).collect();
    let mut worst_send = |time| {
        let (begun, mut worst) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < time {
            let before = Instant::now();
            producer.send(&[0; 1000], &FrameInfo::new()).unwrap();
            worst = worst.max(before.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        worst
    };
    let before = worst_send(Duration::from_secs(1));
    let (reader, mut locks, mut first) = (Reader::of(&name), 0, None);
    let begun = Instant::now();
    while first.is_none() && begun.elapsed() < LIMIT {
        for _ in 0..100 {
            reader.lock(1000 + 2 * locks);
            locks += 1;
        }
        worst_send(Duration::from_millis(1));
        first = first.or_else(|| has_probing_thread().then_some(locks));
    }
    let with_locks = worst_send(Duration::from_secs(3));
    println!("worst send: {before:?}; with {locks} locks {with_locks:?}; a thread from {first:?} locks on");
    assert!(first.is_some());
    // A dead consumer is found as before.
    leave_page_of_a_dead_consumer(&name, consumers.len());
    assert_eq!(producer.consumers(), 8);
    for consumer in &mut consumers {
        consumer.next(LONG).unwrap();
    }
    drop(reader);
    until("probes are quick again", || !has_probing_thread());
}
