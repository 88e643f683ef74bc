//! A consumer waits at a path: every way in which the path can begin to lead to a region with a producer must attach
//! it, also where no file watch reports the change.

#![cfg(target_os = "linux")]

use shm2::{Consumer, FrameInfo, Producer, layout};
use shm2_testing::TempRegion;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time for a consumer to begin its wait. If it begins later, the case is easier than intended.
const SETTLED: Duration = Duration::from_millis(600);
/// A look at intervals takes a second at most; a busy machine may stop a process for several seconds.
const LATE: Duration = Duration::from_secs(15);

fn produce(path: &Path) -> Producer {
    let builder = Producer::builder(path.to_str().unwrap()).unwrap().size(layout::MIN_REGION);
    let mut producer = builder.create().unwrap();
    producer.send(b"found", &FrameInfo::new()).unwrap();
    producer
}

/// One way in which a path begins to lead to a region.
struct Case {
    name: &'static str,
    /// Prepares the directory before the consumer waits at `way/cam` in it.
    before: fn(&Path),
    /// Makes `way/cam` lead to a region; returns its producer.
    then: fn(&Path) -> Producer,
}

fn cam(root: &Path) -> PathBuf {
    root.join("way/cam")
}

fn no_region_yet(root: &Path) {
    fs::create_dir(root.join("way")).unwrap();
    fs::create_dir(root.join("other")).unwrap();
}

fn replace_link(root: &Path, target: &str) {
    symlink(root.join(target), root.join("new-link")).unwrap();
    fs::rename(root.join("new-link"), root.join("way")).unwrap();
}

const CASES: [Case; 14] = [
    Case { name: "a region at the path", before: no_region_yet, then: |root| produce(&cam(root)) },
    Case {
        name: "the directory is made later",
        before: |_| {},
        then: |root| {
            fs::create_dir(root.join("way")).unwrap();
            produce(&cam(root))
        },
    },
    Case {
        name: "a link to a name in the same directory",
        before: |root| {
            no_region_yet(root);
            symlink(root.join("way/other"), cam(root)).unwrap();
        },
        then: |root| produce(&root.join("way/other")),
    },
    Case {
        name: "a link to a name in another directory",
        before: |root| {
            no_region_yet(root);
            symlink(root.join("other/cam"), cam(root)).unwrap();
        },
        then: |root| produce(&root.join("other/cam")),
    },
    Case {
        name: "a link that is made later, and then its producer starts",
        before: no_region_yet,
        then: |root| {
            symlink(root.join("other/cam"), cam(root)).unwrap();
            std::thread::sleep(SETTLED);
            produce(&root.join("other/cam"))
        },
    },
    Case {
        name: "a link that is made later to a region with a producer",
        before: no_region_yet,
        then: |root| {
            let producer = produce(&root.join("other/cam"));
            symlink(root.join("other/cam"), cam(root)).unwrap();
            producer
        },
    },
    Case {
        name: "a link to a link in a third directory",
        before: |root| {
            no_region_yet(root);
            fs::create_dir(root.join("third")).unwrap();
            symlink(root.join("other/cam"), cam(root)).unwrap();
            symlink(root.join("third/cam"), root.join("other/cam")).unwrap();
        },
        then: |root| produce(&root.join("third/cam")),
    },
    Case {
        name: "the directory is a link",
        before: |root| {
            fs::create_dir(root.join("other")).unwrap();
            symlink(root.join("other"), root.join("way")).unwrap();
        },
        then: |root| produce(&root.join("other/cam")),
    },
    Case {
        name: "the directory is a link that is replaced by another",
        before: |root| {
            fs::create_dir(root.join("old")).unwrap();
            fs::create_dir(root.join("other")).unwrap();
            symlink(root.join("old"), root.join("way")).unwrap();
        },
        then: |root| {
            replace_link(root, "other");
            produce(&root.join("other/cam"))
        },
    },
    Case {
        name: "the directory is a link that is replaced by one to a region with a producer",
        before: |root| {
            fs::create_dir(root.join("old")).unwrap();
            fs::create_dir(root.join("other")).unwrap();
            symlink(root.join("old"), root.join("way")).unwrap();
        },
        then: |root| {
            let producer = produce(&root.join("other/cam"));
            replace_link(root, "other");
            producer
        },
    },
    Case {
        name: "the directory is renamed and made again",
        before: no_region_yet,
        then: |root| {
            fs::rename(root.join("way"), root.join("renamed")).unwrap();
            fs::create_dir(root.join("way")).unwrap();
            std::thread::sleep(SETTLED);
            produce(&cam(root))
        },
    },
    Case {
        name: "the directory is replaced by one with a region",
        before: no_region_yet,
        then: |root| {
            let producer = produce(&root.join("other/cam"));
            fs::rename(root.join("way"), root.join("renamed")).unwrap();
            fs::rename(root.join("other"), root.join("way")).unwrap();
            producer
        },
    },
    Case {
        name: "the directory is removed and made again",
        before: no_region_yet,
        then: |root| {
            fs::remove_dir(root.join("way")).unwrap();
            fs::create_dir(root.join("way")).unwrap();
            produce(&cam(root))
        },
    },
    Case {
        name: "a region is renamed to the path",
        before: no_region_yet,
        then: |root| {
            let producer = produce(&root.join("other/cam"));
            fs::rename(root.join("other/cam"), cam(root)).unwrap();
            producer
        },
    },
];

/// Lets a consumer wait at `path`, calls `then`, and returns the time from its end until the first frame; `None` if that
/// is longer than [`LATE`].
fn wait_and_attach(path: &Path, then: impl FnOnce() -> Producer) -> Option<Duration> {
    let mut consumer = Consumer::new(path.to_str().unwrap()).unwrap();
    let waiting = std::thread::spawn(move || consumer.next(Some(3 * LATE)).map(|_| Instant::now()));
    std::thread::sleep(SETTLED);
    let _producer = then();
    let ready = Instant::now();
    let found = waiting.join().unwrap().ok()?;
    Some(found.saturating_duration_since(ready)).filter(|time| *time < LATE)
}

#[test]
fn a_waiting_consumer_attaches_in_whatever_way_its_path_begins_to_lead_to_a_region() {
    let times = std::thread::scope(|scope| {
        let run = |case: &'static Case| {
            let root = TempRegion::new();
            fs::create_dir(root.path()).unwrap();
            (case.before)(root.path());
            wait_and_attach(&cam(root.path()), || (case.then)(root.path()))
        };
        let threads: Vec<_> = CASES.iter().map(|case| (case.name, scope.spawn(move || run(case)))).collect();
        threads.into_iter().map(|(name, thread)| (name, thread.join().unwrap())).collect::<Vec<_>>()
    });
    times.iter().for_each(|(name, time)| println!("{name}: attached after {time:?}"));
    let missing: Vec<_> = times.iter().filter(|(_, time)| time.is_none()).map(|(name, _)| name).collect();
    assert!(missing.is_empty(), "no frame came: {missing:#?}");
}

#[test]
fn a_waiting_consumer_attaches_to_a_region_on_a_file_system_mounted_later() {
    let root = TempRegion::new();
    fs::create_dir(root.path()).unwrap();
    no_region_yet(root.path());
    let way = root.path().join("way");
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).arg(&way).status().is_ok_and(|s| s.success())
    };
    if !run("mount", &["-t", "tmpfs", "none"]) || !run("umount", &[]) {
        return shm2_testing::skip("no right to mount a tmpfs");
    }
    let time = wait_and_attach(&cam(root.path()), || {
        assert!(run("mount", &["-t", "tmpfs", "none"]));
        produce(&cam(root.path()))
    });
    assert!(run("umount", &["-l"]));
    println!("attached after {time:?}");
    assert!(time.is_some(), "no frame came");
}
