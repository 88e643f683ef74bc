//! The tools where `futex_waitv` is denied, as by a sandbox or an old kernel: waiting costs no processor time.

#![cfg(target_os = "linux")]

use shm2_testing::{ChildGuard, Deny, TempRegion, deny, process};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A tool in whose process `futex_waitv` fails with this error.
fn start(program: &str, error: i32, arguments: &str) -> ChildGuard {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    deny(&mut command, &[Deny::all(libc::SYS_futex_waitv, error)]);
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
        let consumer = start(env!("CARGO_BIN_EXE_shm2_consumer"), error, &format!("{} 90", &*name));
        // A slow consumer, for which the producer waits.
        let arguments = format!("{} 90 --rate 30 --full-policy block --wait 1", &*name);
        let producer = start(env!("CARGO_BIN_EXE_shm2_producer"), error, &arguments);
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
    let producer = start(env!("CARGO_BIN_EXE_shm2_producer"), libc::EACCES, &arguments);
    let mut consumer = shm2::Consumer::builder(&name).unwrap().access(shm2::Access::Lease).build();
    let _held = consumer.next(Some(Duration::from_secs(10))).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let used = load(&producer);
    println!("{:.1} % of a processor", used * 100.0);
    assert!(used < 0.3, "{used}");
}
