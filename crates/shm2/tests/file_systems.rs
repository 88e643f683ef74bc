//! File systems on which locks or memory do not reach every process: nothing is removed there, and both sides get an
//! error in words.

#![cfg(target_os = "linux")]

use shm2::consumer::Liveness;
use shm2::{Access, AttachError, Consumer, CreateError, FrameInfo, Producer, ReceiveError, layout};
use shm2_testing::{ChildGuard, TempPath, TempRegion, skip, until};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn create(path: &Path, keep: bool) -> Result<Producer, CreateError> {
    let builder = Producer::builder(path.to_str().unwrap()).unwrap();
    builder.size(layout::MIN_REGION).keep_region(keep).create()
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let quiet = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// A mount that ends with its owner.
struct Mount(TempPath);

impl Mount {
    fn new(what: &str) -> Self {
        let path = TempPath::new(what);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn is_mounted(&self) -> bool {
        let parent = self.0.parent().unwrap();
        fs::metadata(&self.0).unwrap().dev() != fs::metadata(parent).unwrap().dev()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.text()]);
    }
}

/// A second mount of `directory` by a file system in user space.
fn bindfs(directory: &Path) -> Option<(Mount, ChildGuard)> {
    let mount = Mount::new("bindfs");
    let mut command = Command::new("bindfs");
    command.args(["-f", directory.to_str().unwrap(), mount.0.text()]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = ChildGuard::spawn(&mut command).ok()?;
    until("a mount, or the end of its server", || mount.is_mounted() || !server.is_running());
    mount.is_mounted().then_some((mount, server))
}

#[test]
fn a_region_at_a_second_mount_by_fuse_is_refused_and_its_name_stays() {
    let directory = TempRegion::new();
    fs::create_dir(directory.path()).unwrap();
    let Some((mount, _server)) = bindfs(directory.path()) else {
        return skip("no bindfs, or no right to mount with it");
    };
    for keep in [false, true] {
        let (path, other) = (directory.path().join("cam"), mount.0.join("cam"));
        let mut producer = create(&path, keep).unwrap();
        let mut consumer = Consumer::builder(path.to_str().unwrap()).unwrap().attach(LONG).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        for as_kept in [false, true] {
            let error = create(&other, as_kept).map(drop).expect_err("the first producer is alive").to_string();
            assert!(error.contains("FUSE") && error.contains("/dev/shm"), "{error}");
            assert_eq!(fs::metadata(&path).map(|meta| meta.ino()).ok(), Some(inode), "keep: {keep}, {as_kept}");
        }
        for access in [Access::Auto, Access::Lease, Access::Snapshot] {
            for liveness in [Liveness::Lock, Liveness::Heartbeat] {
                let builder = Consumer::builder(other.to_str().unwrap()).unwrap().access(access).liveness(liveness);
                let error = builder.build().next(LONG).unwrap_err();
                assert!(matches!(error, ReceiveError::Attach(AttachError::FileSystem { .. })), "{error}");
                assert!(error.to_string().contains("FUSE"), "{error}");
            }
        }
        producer.send(b"undisturbed", &FrameInfo::new()).unwrap();
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"undisturbed");
        drop(producer);
        let _ = fs::remove_file(path);
    }
}

#[test]
fn at_a_name_without_a_file_on_fuse_both_sides_get_an_error() {
    let directory = TempRegion::new();
    fs::create_dir(directory.path()).unwrap();
    let Some((mount, _server)) = bindfs(directory.path()) else {
        return skip("no bindfs, or no right to mount with it");
    };
    let path = mount.0.join("cam");
    for keep in [false, true] {
        let error = create(&path, keep).unwrap_err();
        assert!(matches!(error, CreateError::FileSystem { .. }), "{error}");
    }
    let error = Consumer::new(path.to_str().unwrap()).unwrap().next(LONG).unwrap_err();
    assert!(matches!(error, ReceiveError::Attach(AttachError::FileSystem { .. })), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    // A link leads to another file system.
    let real = directory.path().join("real");
    std::os::unix::fs::symlink(&real, mount.0.join("link")).unwrap();
    let mut consumer = Consumer::new(mount.0.join("link").to_str().unwrap()).unwrap();
    assert!(matches!(consumer.next(Some(Duration::ZERO)), Err(ReceiveError::TimedOut)));
    let mut producer = create(&real, false).unwrap();
    producer.send(b"through a link", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"through a link");
}

/// The layers of an overlay and its mount.
fn overlay(directory: &Path) -> Option<Mount> {
    for layer in ["lower", "upper", "work"] {
        fs::create_dir(directory.join(layer)).unwrap();
    }
    let mount = Mount::new("overlay");
    let layer = |name: &str| format!("{name}dir={}", directory.join(name).display());
    let options = ["lower", "upper", "work"].map(layer).join(",");
    run("mount", &["-t", "overlay", "-o", &options, "overlay", mount.0.text()]).then_some(mount)
}

#[test]
fn on_an_overlay_regions_work_and_one_that_is_live_below_it_stays() {
    let directory = TempRegion::new();
    fs::create_dir(directory.path()).unwrap();
    let Some(mount) = overlay(directory.path()) else { return skip("no right to mount an overlay") };
    let path = mount.0.join("cam");
    let mut producer = create(&path, false).unwrap();
    producer.send(b"in the overlay", &FrameInfo::new()).unwrap();
    assert_eq!(Consumer::new(path.to_str().unwrap()).unwrap().next(LONG).unwrap().to_vec(), b"in the overlay");
    assert!(matches!(create(&path, false), Err(CreateError::Busy { .. })));
    // The name is checked once a second.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(producer.handle().lost_name(), None);
    drop(producer);
    assert!(!path.exists());

    // The layer is used directly, where the overlay does not see its locks.
    let (path, below) = (mount.0.join("below"), directory.path().join("upper/below"));
    let mut producer = create(&below, false).unwrap();
    let inode = fs::metadata(&below).unwrap().ino();
    let sending = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while sending.load(std::sync::atomic::Ordering::Relaxed) {
                producer.send(b"below", &FrameInfo::new()).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let result = create(&path, false).map(drop);
        sending.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(result, Err(CreateError::Busy { .. })), "{result:?}");
    });
    assert_eq!(fs::metadata(&below).map(|meta| meta.ino()).ok(), Some(inode));
}

#[test]
fn on_huge_pages_a_producer_is_refused_with_the_page_size() {
    let mount = Mount::new("hugetlbfs");
    if !run("mount", &["-t", "hugetlbfs", "none", mount.0.text()]) {
        return skip("no right to mount hugetlbfs, or no such file system");
    }
    let path = mount.0.join("cam");
    for keep in [false, true] {
        let error = create(&path, keep).map(drop).unwrap_err();
        assert!(matches!(error, CreateError::FileSystem { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("hugetlbfs") && text.contains("KiB") && text.contains("huge="), "{text}");
    }
    assert_eq!(fs::read_dir(&mount.0).unwrap().count(), 0);
}
