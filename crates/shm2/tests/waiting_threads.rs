//! The threads that wait for descriptors, counted. The only test of its process.

#![cfg(target_os = "linux")]

use shm2::Consumer;
use shm2_testing::{TempRegion, until};

#[test]
fn a_waiting_thread_serves_127_consumers_and_ends_with_the_last() {
    let waiting = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.trim() == "shm2-wait").count()
    };
    let regions: Vec<_> = (0..128).map(|_| TempRegion::new()).collect();
    let make = |region: &TempRegion| {
        let mut consumer = Consumer::new(&region.uri()).unwrap();
        consumer.poll_fd().unwrap();
        consumer
    };
    let mut consumers: Vec<_> = regions[..127].iter().map(make).collect();
    until("one thread", || waiting() == 1);
    consumers.push(make(&regions[127]));
    until("two threads", || waiting() == 2);
    drop(consumers);
    until("no thread", || waiting() == 0);
    let _again = make(&regions[0]);
    until("one thread again", || waiting() == 1);
}
