//! Files of killed producers are found and removed; nothing else is.

#![cfg(target_os = "linux")]

use shm2::discovery::{Leftover, LeftoverKind, leftovers};
use shm2::{CreateError, FrameInfo, Producer, layout};
use shm2_testing::{ChildGuard, TempRegion, until};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// A folder on /dev/shm.
fn folder() -> TempRegion {
    let folder = TempRegion::new();
    fs::create_dir(folder.path()).unwrap();
    folder
}

/// The process that is killed: a producer of the region in `SHM2_TEST_PRODUCER`.
#[test]
fn process_that_is_killed() {
    let Ok(name) = std::env::var("SHM2_TEST_PRODUCER") else { return };
    let keeps = std::env::var("SHM2_TEST_KEEPS").is_ok();
    let mut producer = Producer::builder(&name).unwrap().size(layout::MIN_REGION).keep_region(keeps).create().unwrap();
    producer.send(b"frame", &FrameInfo::new()).unwrap();
    loop {
        std::thread::park();
    }
}

fn killed_producer(path: &Path, keeps: bool) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["--exact", "process_that_is_killed"]).env("SHM2_TEST_PRODUCER", path).stdout(Stdio::null());
    if keeps {
        process.env("SHM2_TEST_KEEPS", "1");
    }
    let producer = ChildGuard::spawn(&mut process).unwrap();
    until("the producer has a frame", || {
        shm2::Overview::of(path.to_str().unwrap()).is_ok_and(|overview| overview.newest == 1)
    });
    producer.kill();
}

fn paths(found: &[Leftover]) -> Vec<PathBuf> {
    found.iter().map(|leftover| leftover.path.clone()).collect()
}

#[test]
fn a_killed_producers_region_is_found_and_removed_and_no_other_file_is() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    killed_producer(&at("dead"), false);
    killed_producer(&at("kept"), true);
    let live = Producer::builder(at("live").to_str().unwrap()).unwrap().size(layout::MIN_REGION).create().unwrap();
    for (name, bytes) in [("empty", 0), ("zeros", 6 << 20), ("foreign.new-0123456789abcdef", 100)] {
        File::create(at(name)).unwrap().set_len(bytes).unwrap();
    }
    fs::write(at("text"), b"SHM2 but no region").unwrap();
    fs::write(at("notes"), b"SHM2RGN\0 these are my notes").unwrap();
    fs::write(at("large notes"), [&b"SHM2RGN\0"[..], &[7; 100_000]].concat()).unwrap();
    // Of a version whose rules are not known.
    let mut other = fs::read(at("dead")).unwrap();
    other[8..12].copy_from_slice(&4_u32.to_le_bytes());
    fs::write(at("other version"), other).unwrap();
    fs::write(at("text.new-0123456789abcdef"), b"text").unwrap();
    fs::create_dir(at("folder.new-0123456789abcdef")).unwrap();
    std::os::unix::fs::symlink(at("dead"), at("link")).unwrap();
    // A producer that begins now has an empty file; one that was killed long ago, too.
    File::create(at("young.new-0123456789abcdef")).unwrap();
    let old = File::create(at("old.new-0123456789abcdef")).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    fs::copy(at("dead"), at("copied.new-0123456789abcdef")).unwrap();
    let all = fs::read_dir(folder.path()).unwrap().count();

    let found = leftovers(folder.path()).unwrap();
    let expected = ["copied.new-0123456789abcdef", "dead", "old.new-0123456789abcdef"];
    assert_eq!(paths(&found), expected.map(at));
    let kinds = [LeftoverKind::Unfinished, LeftoverKind::Region, LeftoverKind::Unfinished];
    assert_eq!(found.iter().map(|leftover| leftover.kind).collect::<Vec<_>>(), kinds);
    assert!(found[1].bytes > 100_000 && found[2].bytes == 0, "{found:?}");
    for leftover in &found {
        assert!(leftover.remove().unwrap() && !leftover.path.exists());
        assert!(!leftover.remove().unwrap(), "it is gone");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), all - 3);
    assert_eq!(leftovers(folder.path()).unwrap(), []);
    assert!(leftovers(&at("missing")).is_err());
    drop(live);
}

#[test]
fn what_a_new_producer_has_taken_over_stays() {
    let folder = folder();
    let path = folder.path().join("region");
    killed_producer(&path, false);
    let found = leftovers(folder.path()).unwrap();
    assert_eq!(found.len(), 1);
    let mut next = Producer::builder(path.to_str().unwrap()).unwrap().size(layout::MIN_REGION).create().unwrap();
    assert!(!found[0].remove().unwrap(), "another file has its name");
    assert!(path.exists());
    next.send(b"frame", &FrameInfo::new()).unwrap();
    drop(next);

    // A generation begins in the very file.
    killed_producer(&path, false);
    let found = leftovers(folder.path()).unwrap();
    let builder = Producer::builder(path.to_str().unwrap()).unwrap().keep_region(true);
    let next = builder.create().unwrap();
    assert!(matches!(found[0].remove(), Err(CreateError::Busy { .. })));
    assert!(path.exists());
    drop(next);
    assert!(matches!(found[0].remove(), Err(CreateError::Kept { .. })), "it is a kept region now");
}

/// Removals and producers at one name at the same time: a producer never loses its name.
#[test]
fn a_removal_that_races_with_a_starting_producer_never_takes_its_file() {
    let folder = folder();
    let path = folder.path().join("region");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    for leftover in leftovers(folder.path()).unwrap() {
                        // It may belong to the next producer already.
                        let _ = leftover.remove();
                    }
                }
            });
        }
        let template = folder.path().join("template");
        killed_producer(&template, false);
        let dead = fs::read(&template).unwrap_or_default();
        for round in 0..60 {
            // What a killed producer leaves, half of the time.
            if round % 2 == 0 && !dead.is_empty() {
                fs::write(&path, &dead).unwrap();
            }
            let builder = Producer::builder(path.to_str().unwrap()).unwrap().size(layout::MIN_REGION);
            let mut producer = builder.create().unwrap();
            producer.send(b"frame", &FrameInfo::new()).unwrap();
            let overview = shm2::Overview::of(path.to_str().unwrap()).expect("its name leads to it");
            assert_eq!(overview.newest, 1);
        }
        is_done.store(true, Ordering::Relaxed);
    });
}
