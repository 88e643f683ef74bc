//! keep-region and files that are not meant for it: another user's, and those that merely begin with zeros.

#![cfg(target_os = "linux")]

use shm2::producer::Builder;
use shm2::{Consumer, CreateError, FrameInfo, Producer, layout};
use shm2_testing::{TempPath, TempRegion, skip};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const BYTES: u64 = 8 << 20;
/// A user that is neither root nor the one that runs the test.
const OTHER: u32 = 65_533;

fn kept(path: &Path) -> Builder {
    Producer::builder(path.to_str().unwrap()).unwrap().size(BYTES).keep_region(true)
}

fn prepare(path: &Path, mode: u32) {
    File::create_new(path).and_then(|file| file.set_len(BYTES)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn in_a_directory_of_every_user_another_users_file_is_kept_only_if_that_is_set() {
    for (is_sticky, mode) in [(true, 0o666), (true, 0o600), (true, 0o660), (false, 0o644)] {
        let directory = TempRegion::new();
        fs::create_dir(directory.path()).unwrap();
        let bits = if is_sticky { 0o1777 } else { 0o777 };
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(bits)).unwrap();
        let path = directory.path().join("cam");
        prepare(&path, mode);
        if chown(&path, Some(OTHER), None).is_err() {
            return skip("no right to give a file to another user");
        }
        let inode = fs::metadata(&path).unwrap().ino();
        let error = kept(&path).create().unwrap_err();
        assert!(matches!(error, CreateError::ForeignOwner { .. }), "{mode:o}: {error}");
        let text = error.to_string();
        assert!(text.contains("user 65533") && text.contains("foreign_owner"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(fs::metadata(&path).unwrap().blocks(), 0, "nothing was reserved");
        drop(kept(&path).foreign_owner(true).create().unwrap());
        // A kept region that this user has not made is no better.
        assert!(matches!(kept(&path).create(), Err(CreateError::ForeignOwner { .. })));
        // Files of this user, of root and of the directory's owner are used.
        chown(&path, Some(0), None).unwrap();
        drop(kept(&path).create().unwrap());
        chown(&path, Some(OTHER), None).unwrap();
        chown(directory.path(), Some(OTHER), None).unwrap();
        drop(kept(&path).create().unwrap());
        // So are files in a directory where only some users may make files.
        chown(directory.path(), Some(0), None).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o775)).unwrap();
        drop(kept(&path).create().unwrap());
    }
}

#[test]
fn a_file_that_merely_begins_with_zeros_is_not_kept_and_does_not_change() {
    let header = size_of::<layout::Header>() as u64;
    let places = [
        120,
        128,
        header - 8,
        header,
        32_768,
        layout::RING_OFFSET,
        layout::cell_offset(7),
        layout::PAGES_OFFSET - 8,
        layout::page_offset(3),
        layout::page_offset(3) + layout::PAGE_USED,
        layout::ARENA_OFFSET - 8,
        layout::ARENA_OFFSET,
        layout::ARENA_OFFSET + 1_000_001,
        BYTES - 8,
    ];
    for device in ["", "ivshmem://"] {
        for at in places {
            let name = TempRegion::new();
            prepare(name.path(), 0o600);
            let file = File::options().read(true).write(true).open(name.path()).unwrap();
            file.write_all_at(b"content", at).unwrap();
            let spec = format!("{device}{}", &*name);
            let error = Producer::builder(&spec).unwrap().keep_region(true).create().map(drop);
            assert!(matches!(error, Err(CreateError::NotInheritable { .. })), "{spec}, at {at}: {error:?}");
            let mut found = vec![0; BYTES as usize];
            file.read_exact_at(&mut found, 0).unwrap();
            assert_eq!(found.iter().filter(|byte| **byte != 0).count(), 7, "unchanged: {at}");
        }
    }
}

#[test]
fn memory_of_zeros_that_is_backed_or_was_touched_by_a_killed_producer_is_kept() {
    let name = TempRegion::new();
    fs::write(name.path(), vec![0; BYTES as usize]).unwrap();
    let mut producer = kept(name.path()).create().unwrap();
    producer.send(b"in backed memory", &FrameInfo::new()).unwrap();
    assert_eq!(Consumer::new(&name).unwrap().next(LONG).unwrap().to_vec(), b"in backed memory");
    drop(producer);
    // The words that a producer writes before the rest of its header.
    let name = TempRegion::new();
    prepare(name.path(), 0o600);
    let file = File::options().write(true).open(name.path()).unwrap();
    for offset in [
        std::mem::offset_of!(layout::Header, generation),
        std::mem::offset_of!(layout::Header, heartbeat),
        std::mem::offset_of!(layout::Header, oldest),
        std::mem::offset_of!(layout::Header, state),
        std::mem::offset_of!(layout::Header, first_sequence),
    ] {
        file.write_all_at(&1u64.to_le_bytes(), offset as u64).unwrap();
    }
    // A consumer's heartbeat after the memory was cleared, and the cursor of one that has stopped reading since.
    for word in [std::mem::offset_of!(layout::Page, heartbeat), std::mem::offset_of!(layout::Page, cursor)] {
        file.write_all_at(&u64::MAX.to_le_bytes(), layout::page_words_offset(5) + word as u64).unwrap();
    }
    drop(kept(name.path()).create().unwrap());
}

#[test]
fn an_empty_file_that_cannot_be_filled_is_empty_afterwards() {
    let mount = TempPath::new("full");
    fs::create_dir(&mount).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).arg(&*mount).status().is_ok_and(|s| s.success())
    };
    if !run("mount", &["-t", "tmpfs", "-o", "size=16m", "none"]) {
        return skip("no right to mount a small tmpfs");
    }
    let path = mount.join("cam");
    File::create_new(&path).unwrap();
    let is_done = AtomicBool::new(false);
    // The producer's look at the free space is over when another file takes it.
    let result = std::thread::scope(|scope| {
        let fill = || {
            let other = File::create_new(mount.join("other")).unwrap();
            while fs::metadata(&path).unwrap().blocks() == 0 && !is_done.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            let mut at = 0;
            while other.write_all_at(&[1; 65_536], at).is_ok() {
                at += 65_536;
            }
        };
        let filler = scope.spawn(fill);
        let result = Producer::builder(path.to_str().unwrap()).unwrap().size(12 << 20).keep_region(true).create();
        is_done.store(true, Ordering::Relaxed);
        filler.join().unwrap();
        result.map(drop)
    });
    let meta = fs::metadata(&path).unwrap();
    println!("{result:?}: {} bytes, {} blocks", meta.len(), meta.blocks());
    assert!(run("umount", &["-l"]));
    assert_eq!(result.is_err(), meta.len() == 0 && meta.blocks() == 0);
}
