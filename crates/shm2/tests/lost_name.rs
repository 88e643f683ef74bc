//! A producer whose region loses its name while it is alive: the name is given again where that is possible, and the
//! handle reports it otherwise.

#![cfg(target_os = "linux")]

use shm2::producer::LostName;
use shm2::{Consumer, FrameInfo, Producer, layout};
use shm2_testing::{TempRegion, skip, until};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn create(path: &Path, keep: bool) -> Producer {
    let builder = Producer::builder(path.to_str().unwrap()).unwrap();
    builder.size(layout::MIN_REGION).keep_region(keep).create().unwrap()
}

/// A directory of its own, and the path of a region in it.
fn place() -> (TempRegion, PathBuf) {
    let root = TempRegion::new();
    fs::create_dir_all(root.path().join("way")).unwrap();
    let path = root.path().join("way/cam");
    (root, path)
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.ino())
}

/// Waits, as a caller would, until the handle reports this.
fn await_report(producer: &Producer, expected: Option<LostName>) {
    let handle = producer.handle();
    let time = until("a report", || {
        let seen = handle.changes();
        let is_reported = handle.lost_name() == expected;
        is_reported || (handle.wait_change(seen, LONG) && handle.lost_name() == expected)
    });
    println!("{expected:?} reported after {time:?}");
}

fn assert_newcomer_gets_frames(path: &Path, producer: &mut Producer) {
    producer.send(b"newcomer", &FrameInfo::new()).unwrap();
    let mut consumer = Consumer::new(path.to_str().unwrap()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"newcomer");
}

/// A way to lose a name: what happens, the doing, and what is reported.
type Loss = (&'static str, fn(&Path, &Path), LostName);

/// Ways in which a name is lost for good. The last one is a file that must stay.
const LOST: [Loss; 4] = [
    ("the file is removed", |_, path| fs::remove_file(path).unwrap(), LostName::Removed),
    ("the directory is removed", |root, _| fs::remove_dir_all(root.join("way")).unwrap(), LostName::Removed),
    ("the directory is moved", |root, _| fs::rename(root.join("way"), root.join("moved")).unwrap(), LostName::Removed),
    (
        "another file is put over it",
        |root, path| {
            fs::write(root.join("other"), b"another file").unwrap();
            fs::rename(root.join("other"), path).unwrap();
        },
        LostName::Replaced,
    ),
];

#[test]
fn a_lost_name_is_reported_and_no_other_file_is_removed() {
    for keep in [false, true] {
        for (what, lose, expected) in LOST {
            let (root, path) = place();
            let mut producer = create(&path, keep);
            let mut consumer = Consumer::builder(path.to_str().unwrap()).unwrap().attach(LONG).unwrap();
            assert_eq!(producer.handle().lost_name(), None);
            lose(root.path(), &path);
            println!("{what}, keep: {keep}");
            await_report(&producer, Some(expected));
            producer.send(b"attached", &FrameInfo::new()).unwrap();
            assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"attached", "{what}");
            let handle = producer.handle();
            drop(producer);
            assert_eq!(handle.lost_name(), None, "a closed producer needs no name");
            let other = fs::read(&path).ok();
            assert_eq!(other.as_deref(), (expected == LostName::Replaced).then_some(&b"another file"[..]), "{what}");
        }
    }
}

#[test]
fn a_moved_file_gets_its_name_again() {
    for keep in [false, true] {
        let (root, path) = place();
        let mut producer = create(&path, keep);
        let file = inode(&path);
        fs::rename(&path, root.path().join("moved")).unwrap();
        until("a file at the path", || path.exists());
        assert_eq!((inode(&path), producer.handle().lost_name()), (file, None));
        assert_newcomer_gets_frames(&path, &mut producer);
        // Its directory is moved and made again.
        fs::rename(root.path().join("way"), root.path().join("old")).unwrap();
        await_report(&producer, Some(LostName::Removed));
        fs::create_dir(root.path().join("way")).unwrap();
        await_report(&producer, None);
        assert_eq!(inode(&path), file);
        assert_newcomer_gets_frames(&path, &mut producer);
        drop(producer);
        assert_eq!(path.exists(), keep, "the name that was given again is removed as the first one");
    }
}

#[test]
fn a_name_that_another_producer_has_taken_stays_with_it() {
    let (_root, path) = place();
    let first = create(&path, false);
    fs::remove_file(&path).unwrap();
    let mut second = create(&path, false);
    let file = inode(&path);
    await_report(&first, Some(LostName::Replaced));
    drop(first);
    assert_eq!((inode(&path), second.handle().lost_name()), (file, None));
    assert_newcomer_gets_frames(&path, &mut second);
}

#[test]
fn a_link_in_the_path_that_leads_to_the_region_by_another_way_is_no_loss() {
    let (root, path) = place();
    let real = root.path().join("real");
    fs::create_dir(&real).unwrap();
    let mut producer = create(&path, false);
    fs::rename(&path, real.join("cam")).unwrap();
    fs::remove_dir_all(root.path().join("way")).unwrap();
    symlink(&real, root.path().join("way")).unwrap();
    await_report(&producer, None);
    assert_newcomer_gets_frames(&path, &mut producer);
}

#[test]
fn an_unmounted_file_system_is_reported() {
    let (root, _) = place();
    let way = root.path().join("way");
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).arg(&way).status().is_ok_and(|s| s.success())
    };
    if !run("mount", &["-t", "tmpfs", "none"]) {
        return skip("no right to mount a tmpfs");
    }
    let producer = create(&way.join("cam"), false);
    assert!(run("umount", &["-l"]));
    await_report(&producer, Some(LostName::Removed));
    drop(producer);
    until("an empty directory", || fs::read_dir(&way).unwrap().count() == 0);
}
