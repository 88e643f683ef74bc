//! Children that are forked while another thread opens or closes a region, and that sleep, keep no lock of it.
//!
//! # Safety
//! The forked processes make no call but those of the test, `pause`, `kill` and `_exit`. Probes pass a live descriptor
//! and an initialised `flock`.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "forks, and probes locks")]

use shm2::consumer::Access;
use shm2::{Consumer, FrameInfo, Producer, layout};
use shm2_testing::{TempRegion, until};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
/// Children that each process of [`FORKING`] forks.
const CHILDREN: usize = 500;
/// Threads that open and close regions meanwhile.
const THREADS: usize = 3;
/// Bytes of a region's file whose locks have a meaning, see section 7 of docs/protocol.md: liveness, takeover,
/// presence, and one for each page.
const LOCKS: i64 = 0x4000_0000_0000_0000;
const PRESENCE: i64 = LOCKS + 2;
const FIRST_PAGE: i64 = LOCKS + 64;

// A child that was forked last may not have run yet when its parent is killed, so each test waits for what it expects.

/// A process that forked sleeping children and was killed. They are killed at drop.
struct Family(i32);

impl Drop for Family {
    fn drop(&mut self) {
        // SAFETY: the group has only processes that `forking` started.
        unsafe { libc::kill(-self.0, libc::SIGKILL) };
    }
}

/// Runs `operation` again and again in a forked process, which meanwhile forks children that sleep, and kills that
/// process while it has the last results of `operation`. The children live on.
fn forking<T>(operation: impl Fn(usize) -> T + Sync) -> Family {
    // SAFETY: see the head of this file.
    let id = unsafe { libc::fork() };
    assert!(id >= 0);
    if id == 0 {
        // SAFETY: makes this process the first of a group of its own.
        unsafe { libc::setpgid(0, 0) };
        fork_children(operation);
    }
    let mut status = 0;
    // SAFETY: waits for a child of ours.
    assert_eq!(unsafe { libc::waitpid(id, &mut status, 0) }, id);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "status {status}");
    Family(id)
}

fn fork_children<T>(operation: impl Fn(usize) -> T + Sync) -> ! {
    let (is_over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut last = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    last.push(operation(rounds.fetch_add(1, Ordering::Relaxed)));
                    if last.len() > 4 {
                        last.remove(0);
                    }
                }
                // SAFETY: ends this process with all that `last` has.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            });
        }
        for _ in 0..CHILDREN {
            // SAFETY: see the head of this file.
            if unsafe { libc::fork() } == 0 {
                loop {
                    // SAFETY: sleeps until it is killed.
                    unsafe { libc::pause() };
                }
            }
            // Other moments of the operation for the next child.
            std::thread::sleep(Duration::from_micros(20));
        }
        is_over.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(60));
    });
    // SAFETY: not reached unless the operation failed.
    unsafe { libc::_exit(9) }
}

/// The commands of these locks take 64-bit positions, also in a 32-bit program.
#[cfg(target_pointer_width = "64")]
type Request = libc::flock;
#[cfg(not(target_pointer_width = "64"))]
type Request = libc::flock64;

/// Whether a process holds a lock on a byte of the file.
fn is_locked(file: &File, byte: i64) -> bool {
    let mut request = Request {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: see the head of this file.
    #[cfg(target_pointer_width = "64")]
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut request) }, 0);
    // SAFETY: see the head of this file.
    #[cfg(not(target_pointer_width = "64"))]
    assert_eq!(unsafe { libc::syscall(libc::SYS_fcntl64, file.as_raw_fd(), libc::F_OFD_GETLK, &mut request) }, 0);
    request.l_type != libc::F_UNLCK as libc::c_short
}

fn create(name: &TempRegion) -> Producer {
    Producer::builder(name).unwrap().size(layout::MIN_REGION).create().unwrap()
}

#[test]
fn sleeping_children_keep_no_page_of_a_killed_leasing_consumer() {
    let name = TempRegion::new();
    let mut producer = create(&name);
    producer.send(b"frame", &FrameInfo::new()).unwrap();
    let attach = || Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    let _family = forking(|_| attach());
    until("no consumer has a page", || producer.consumers() == 0);
    let file = File::options().read(true).write(true).open(name.path()).unwrap();
    until("no page is locked", || !(0..layout::PAGES as i64).any(|page| is_locked(&file, FIRST_PAGE + page)));
}

#[test]
fn sleeping_children_keep_no_presence_lock_of_a_snapshot_consumer() {
    let name = TempRegion::new();
    let _producer = create(&name);
    let attach = || Consumer::builder(&name).unwrap().access(Access::Snapshot).attach(LONG).unwrap();
    let _family = forking(|_| attach());
    let file = File::options().read(true).write(true).open(name.path()).unwrap();
    until("the presence byte is not locked", || !is_locked(&file, PRESENCE));
}

#[test]
fn sleeping_children_keep_no_liveness_or_takeover_lock_of_a_producer() {
    let names: Vec<_> = (0..40).map(|_| TempRegion::new()).collect();
    // Each name is used again, so that the leftover of a producer that was dropped late is taken over, too.
    let _family = forking(|round| {
        let name = &names[round % names.len()];
        Producer::builder(name).unwrap().size(layout::MIN_REGION).create().ok()
    });
    for name in &names {
        let create = || Producer::builder(name).unwrap().size(layout::MIN_REGION).create().is_ok();
        until("another producer has the name", create);
    }
}

#[test]
fn sleeping_children_keep_no_lock_of_a_kept_region() {
    let names: Vec<_> = (0..40).map(|_| TempRegion::new()).collect();
    let create =
        |name: &TempRegion| Producer::builder(name).unwrap().size(layout::MIN_REGION).keep_region(true).create();
    let _family = forking(|round| create(&names[round % names.len()]).ok());
    for name in &names {
        until("another producer has the region", || create(name).is_ok());
    }
}

#[test]
fn a_fork_inside_a_region_operation_and_beside_it_ends_soon() {
    let name = TempRegion::new();
    let mut producer = create(&name);
    let run = |what: &str| {
        let begun = Instant::now();
        // SAFETY: see the head of this file.
        let id = unsafe { libc::fork() };
        if id == 0 {
            // The child can open regions, too: no lock of the parent's threads is left over in it.
            let is_attached = Consumer::builder(&name).unwrap().access(Access::Snapshot).attach(LONG).is_ok();
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(if is_attached { 7 } else { 8 }) };
        }
        let mut status = 0;
        // SAFETY: waits for a child of ours.
        assert_eq!(unsafe { libc::waitpid(id, &mut status, 0) }, id);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{what}: {status}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", begun.elapsed());
    };
    struct OnDrop<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    // A value that is dropped inside of an operation forks.
    let mut forked = false;
    {
        let _inside = OnDrop(|| {
            run("in a destructor");
            forked = true;
        });
        let _consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
        producer.send(b"frame", &FrameInfo::new()).unwrap();
    }
    assert!(forked);
    // Threads that open and close regions all the time do not keep a fork waiting.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    drop(Consumer::builder(&name).unwrap().access(Access::Snapshot).attach(LONG).unwrap());
                }
            });
        }
        let _ends = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        for _ in 0..50 {
            run("beside threads that attach");
        }
    });
}
