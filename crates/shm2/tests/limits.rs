//! The documented limits of the guards against truncated files and forked children: docs/threat-model.md, "The guard
//! against SIGBUS", and "An unprivileged process". Within them a peer gets an error; beyond them it is as documented.
//!
//! # Safety
//! The forked processes make no call but those of the test and `_exit`; the parent waits for them or kills them.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "forks, and changes signal handling")]

use shm2::consumer::Access;
use shm2::{Consumer, Frame, FrameInfo, Producer, ReceiveError};
use shm2_testing::{ChildGuard, TempRegion, skip, until};
use std::mem::zeroed;
use std::process::Command;
use std::ptr::null_mut;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));
/// Mappings and descriptors that are guarded at a time.
const GUARDED: u64 = 1024;
/// Codes with which a forked process ends.
const ERROR_RETURNED: i32 = 7;
const BYTES_RETURNED: i32 = 8;
const NOT_PREPARED: i32 = 9;

#[derive(Debug, PartialEq, Eq)]
enum End {
    Code(i32),
    Signal(i32),
}

/// Runs `child` in a forked process, which ends with the code that it returns.
fn fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: see the head of this file.
    let id = unsafe { libc::fork() };
    assert!(id >= 0);
    if id == 0 {
        // SAFETY: plain numbers; a killed process of this test writes no core file.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 }) };
        let code = child();
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    id
}

fn wait(child: i32) -> End {
    let mut status = 0;
    // SAFETY: waits for a child of ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    if libc::WIFSIGNALED(status) { End::Signal(libc::WTERMSIG(status)) } else { End::Code(libc::WEXITSTATUS(status)) }
}

fn producer(name: &TempRegion) -> Producer {
    let mut producer = Producer::builder(name).unwrap().arena(400_000).history(2).create().unwrap();
    producer.send(&[1; 9000], &FrameInfo::new()).unwrap();
    producer
}

fn attach(name: &TempRegion, access: Access) -> Consumer {
    Consumer::builder(name).unwrap().access(access).attach(LONG).unwrap()
}

/// A consumer that leases, and a frame that it holds.
fn holding(name: &TempRegion) -> (Consumer, Frame) {
    let mut consumer = attach(name, Access::Lease);
    let frame = consumer.next(LONG).unwrap();
    assert!(frame.is_leased());
    (consumer, frame)
}

/// Truncates the file, and reads bytes of the frame that it had.
fn read_truncated(name: &TempRegion, frame: &Frame) -> i32 {
    name.set_len(0);
    if frame.read_at(0, &mut [0; 9000]) { BYTES_RETURNED } else { ERROR_RETURNED }
}

/// As [`read_truncated`], of a consumer that copies.
fn receive_truncated(name: &TempRegion, mut consumer: Consumer) -> i32 {
    name.set_len(0);
    let error = (0..100).find_map(|_| consumer.next(Some(Duration::from_millis(10))).err());
    if matches!(error, Some(ReceiveError::Truncated { .. })) { ERROR_RETURNED } else { BYTES_RETURNED }
}

fn set_handler(handler: usize) {
    // SAFETY: a structure of zeros with a valid handler.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler;
        libc::sigaction(libc::SIGBUS, &action, null_mut());
    }
}

fn block_signal() {
    // SAFETY: initialised by the call before its use.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGBUS);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, null_mut());
    }
}

fn set_own_handler() {
    set_handler(ends_with_code as extern "C" fn(_) as usize);
}

extern "C" fn ends_with_code(_: libc::c_int) {
    // SAFETY: may be called in a handler.
    unsafe { libc::_exit(42) };
}

#[test]
fn a_leasing_consumer_is_guarded_unless_the_signal_is_blocked_or_its_handler_replaced() {
    let cases: [(&str, fn(), End); 4] = [
        ("nothing", || (), End::Code(ERROR_RETURNED)),
        ("a handler of its own", set_own_handler, End::Code(42)),
        ("the default", || set_handler(libc::SIG_DFL), End::Signal(libc::SIGBUS)),
        ("the signal is blocked", block_signal, End::Signal(libc::SIGBUS)),
    ];
    for (what, prepare, expected) in cases {
        let name = TempRegion::new();
        let child = fork(|| {
            let _producer = producer(&name);
            let (_consumer, frame) = holding(&name);
            prepare();
            read_truncated(&name, &frame)
        });
        assert_eq!(wait(child), expected, "{what}");
    }
}

/// A new process of this test, whose first region comes after its own handler; does nothing without its variable.
#[test]
fn process_with_a_handler() {
    if let Ok(name) = std::env::var("SHM2_TEST_HANDLER") {
        set_own_handler();
        let mut producer = Producer::create(&name).unwrap();
        producer.send(&[1; 9000], &FrameInfo::new()).unwrap();
        let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).build();
        let frame = consumer.next(LONG).unwrap();
        std::fs::File::options().write(true).open(&name).unwrap().set_len(0).unwrap();
        assert!(!frame.read_at(0, &mut [0; 9000]));
        // A signal that concerns no region goes to the program's own handler.
        // SAFETY: sends this process a signal.
        unsafe { libc::raise(libc::SIGBUS) };
    }
}

#[test]
fn a_handler_that_was_there_before_the_first_region_gets_the_other_signals() {
    let name = TempRegion::new();
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["--exact", "process_with_a_handler"]).env("SHM2_TEST_HANDLER", &*name);
    assert_eq!(ChildGuard::spawn(&mut process).unwrap().wait().code(), Some(42));
}

#[test]
fn a_snapshot_consumer_gets_an_error_whatever_the_program_does_with_signals() {
    let prepare: [fn(); 3] = [|| (), || set_handler(libc::SIG_DFL), block_signal];
    for prepare in prepare {
        let name = TempRegion::new();
        let _producer = producer(&name);
        let child = fork(|| {
            let consumer = attach(&name, Access::Snapshot);
            prepare();
            receive_truncated(&name, consumer)
        });
        assert_eq!(wait(child), End::Code(ERROR_RETURNED));
    }
}

/// Allows this process more descriptors than are guarded. False without the right to do so.
fn raise_limit() -> bool {
    let wanted = 2 * GUARDED + 500;
    // SAFETY: the structure is initialised before it is read.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max.min(wanted as libc::rlim_t);
        limit.rlim_cur >= wanted as libc::rlim_t && libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
    }
}

#[test]
fn beyond_1024_mappings_a_truncated_file_ends_the_process_and_within_them_it_is_an_error() {
    // AddressSanitizer handles the signal, and ends the process with this code.
    let is_sanitized = std::env::var_os("SHM2_SANITIZED").is_some();
    let ended = if is_sanitized { End::Code(1) } else { End::Signal(libc::SIGBUS) };
    for (others, expected) in [(0, End::Code(ERROR_RETURNED)), (GUARDED, ended)] {
        let (name, crowd) = (TempRegion::new(), TempRegion::new());
        let (_producer, _crowded) = (producer(&name), producer(&crowd));
        let child = fork(|| {
            if !raise_limit() {
                return NOT_PREPARED;
            }
            // Each has one mapping and one descriptor.
            let others: Vec<_> = (0..others).map(|_| attach(&crowd, Access::Snapshot)).collect();
            let (_consumer, frame) = holding(&name);
            let code = read_truncated(&name, &frame);
            drop(others);
            code
        });
        match wait(child) {
            End::Code(NOT_PREPARED) => skip("this process may not open 2,548 descriptors"),
            end => assert_eq!(end, expected, "{others} other mappings"),
        }
    }
}

#[test]
fn beyond_1024_descriptors_a_forked_child_keeps_a_lock_until_it_ends() {
    for (others, keeps) in [(0, false), (GUARDED, true)] {
        let (name, crowd) = (TempRegion::new(), TempRegion::new());
        let (region, _crowded) = (producer(&name), producer(&crowd));
        let (mut pipe, mut sleeper) = ([0; 2], 0i32);
        // SAFETY: two numbers for two descriptors.
        assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        let child = fork(|| {
            if !raise_limit() {
                return NOT_PREPARED;
            }
            let _others: Vec<_> = (0..others).map(|_| attach(&crowd, Access::Snapshot)).collect();
            let _consumer = attach(&name, Access::Lease);
            let sleeper = fork(|| {
                loop {
                    // SAFETY: sleeps until it is killed.
                    unsafe { libc::pause() };
                }
            });
            // SAFETY: writes an initialised number, and ends this process with what it has.
            unsafe {
                libc::write(pipe[1], (&raw const sleeper).cast(), size_of::<i32>());
                libc::kill(libc::getpid(), libc::SIGKILL);
            }
            NOT_PREPARED
        });
        let end = wait(child);
        // SAFETY: closes an end of the pipe, which nothing else uses, and reads a number.
        let count = unsafe {
            libc::close(pipe[1]);
            let count = libc::read(pipe[0], (&raw mut sleeper).cast(), size_of::<i32>());
            libc::close(pipe[0]);
            count
        };
        if end == End::Code(NOT_PREPARED) || count != size_of::<i32>() as isize {
            skip("this process may not open 2,548 descriptors");
            continue;
        }
        if keeps {
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(region.consumers(), 1, "the page is locked as long as the child sleeps");
        } else {
            until("the page is free while the child sleeps", || region.consumers() == 0);
        }
        // SAFETY: kills the child that this test started; init waits for it.
        unsafe { libc::kill(sleeper, libc::SIGKILL) };
        until("the page is free", || region.consumers() == 0);
    }
}
