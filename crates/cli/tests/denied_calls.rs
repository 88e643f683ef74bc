//! The tools where a call that they wait by is denied, as by a sandbox or an old kernel: waiting costs no processor time,
//! and peers are noticed.

#![cfg(target_os = "linux")]

use shm2_testing::{ChildGuard, Deny, TempRegion, deny, process};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PRODUCER: &str = env!("CARGO_BIN_EXE_shm2_producer");
const CONSUMER: &str = env!("CARGO_BIN_EXE_shm2_consumer");

/// A tool in whose process `futex_waitv` fails with this error.
fn start(program: &str, error: i32, arguments: &str) -> ChildGuard {
    start_without(program, Deny::all(libc::SYS_futex_waitv, error), arguments)
}

fn start_without(program: &str, call: Deny, arguments: &str) -> ChildGuard {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    deny(&mut command, &[call]);
    ChildGuard::spawn(&mut command).unwrap()
}

/// Share of a processor that a process uses within two seconds.
fn load(child: &ChildGuard) -> f64 {
    let (before, begun) = (process::busy(child.id()), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    (process::busy(child.id()) - before).as_secs_f64() / begun.elapsed().as_secs_f64()
}

#[test]
fn waiting_without_futex_waitv_takes_no_processor_time_whatever_the_error() {
    let errors = [libc::EACCES, libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::ENOMEM, libc::EOPNOTSUPP];
    for error in errors {
        let name = TempRegion::new();
        let consumer = start(CONSUMER, error, &format!("{} 90", &*name));
        // A slow consumer, for which the producer waits.
        let arguments = format!("{} 90 --rate 30 --full-policy block --wait 1", &*name);
        let producer = start(PRODUCER, error, &arguments);
        std::thread::sleep(Duration::from_millis(300));
        let used = load(&consumer);
        println!("error {error}: {:.1} % of a processor", used * 100.0);
        // 90 % before; a busy machine does not make it more.
        assert!(used < 0.2, "error {error}: {used}");
        for output in [consumer.output(), producer.output()] {
            assert!(output.status.success(), "error {error}: {output:?}");
        }
    }
}

#[test]
fn a_blocked_producer_without_futex_waitv_takes_little_processor_time() {
    let name = TempRegion::new();
    let arguments = format!("{} 100000 --frame-size 64K --full-policy block --wait 1", &*name);
    let producer = start(PRODUCER, libc::EACCES, &arguments);
    let mut consumer = shm2::Consumer::builder(&name).unwrap().access(shm2::Access::Lease).build();
    let _held = consumer.next(Some(Duration::from_secs(10))).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let used = load(&producer);
    println!("{:.1} % of a processor", used * 100.0);
    assert!(used < 0.3, "{used}");
}

#[test]
fn without_file_watches_a_consumer_finds_its_producer_and_notices_its_death() {
    for error in [libc::EMFILE, libc::ENOSYS, libc::EACCES] {
        let name = TempRegion::new();
        let no_watches = Deny::all(libc::SYS_inotify_init1, error);
        let consumer = start_without(CONSUMER, no_watches, &format!("{} 60 --reconnect", &*name));
        std::thread::sleep(Duration::from_millis(300));
        let arguments = format!("{} 100000 --rate 60", &*name);
        let first = start_without(PRODUCER, no_watches, &arguments);
        std::thread::sleep(Duration::from_millis(700));
        first.kill();
        let _second = start_without(PRODUCER, no_watches, &arguments);
        let output = consumer.output();
        assert!(output.status.success(), "error {error}: {output:?}");
    }
}
