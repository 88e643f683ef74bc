//! Creating, taking over and closing regions on Linux: which producer succeeds, what is refused, and the error texts.

#![cfg(target_os = "linux")]

mod common;

use shm2::{Access, AttachError, Consumer, CreateError, FrameInfo, Producer, ReceiveError, layout};
use shm2_testing::TempRegion;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn create(name: &str) -> Result<Producer, CreateError> {
    Producer::builder(name)?.size(layout::MIN_REGION).create()
}

/// Leaves what a killed producer leaves: the file without its lock.
fn leftover(name: &TempRegion) {
    let producer = create(name).unwrap();
    let copy = name.path().with_extension("copy");
    fs::copy(name.path(), &copy).unwrap();
    drop(producer);
    fs::rename(copy, name.path()).unwrap();
}

#[test]
fn a_second_live_producer_is_refused_and_the_first_goes_on() {
    let name = TempRegion::new();
    let mut first = create(&name).unwrap();
    assert!(matches!(create(&name), Err(CreateError::Busy { .. })));
    first.send(b"x", &FrameInfo::new()).unwrap();
    let mut consumer = Consumer::new(&name).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"x");
}

#[test]
fn a_closed_region_leaves_no_name() {
    let name = TempRegion::new();
    drop(create(&name).unwrap());
    assert!(!name.path().exists());
}

#[test]
fn a_dead_producers_file_is_taken_over_by_exactly_one() {
    for _ in 0..40 {
        let name = TempRegion::new();
        leftover(&name);
        let winners = common::contest(|| create(&name));
        assert_eq!(winners.len(), 1);
        assert!(matches!(create(&name), Err(CreateError::Busy { .. })));
    }
}

#[test]
fn a_consumer_waits_past_a_leftover_and_finds_the_next_region() {
    let name = TempRegion::new();
    leftover(&name);
    let mut consumer = Consumer::new(&name).unwrap();
    assert!(matches!(consumer.next(Some(Duration::from_millis(100))), Err(ReceiveError::TimedOut)));
    let mut producer = create(&name).unwrap();
    producer.send(b"new", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"new");
}

#[test]
fn a_polling_consumer_follows_too() {
    let name = TempRegion::new();
    let mut consumer = Consumer::new(&name).unwrap();
    for round in 0..3u8 {
        let mut producer = create(&name).unwrap();
        producer.send(&[round], &FrameInfo::new()).unwrap();
        let frame = (0..2000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            consumer.next(Some(Duration::ZERO)).ok()
        });
        assert_eq!(frame.unwrap().to_vec(), [round]);
    }
}

#[test]
fn permissions_are_as_asked_whatever_the_umask() {
    let name = TempRegion::new();
    for mode in [0o600, 0o660, 0o666] {
        let _producer = Producer::builder(&name).unwrap().perms(mode).create().unwrap();
        assert_eq!(fs::metadata(name.path()).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn errors_of_create_name_the_cause() {
    let name = TempRegion::new();
    let error = |r: Result<Producer, CreateError>| r.unwrap_err().to_string();
    let sized = |bytes| error(Producer::builder(&name).unwrap().size(bytes).create());
    assert!(sized(1).starts_with("a region of 1 bytes is out of range"), "{}", sized(1));
    assert!(sized(u64::MAX).contains("out of range"));
    assert!(sized(900 << 30).contains("it needs 966363709440 bytes"), "{}", sized(900 << 30));
    assert!(error(create("/dev/shm")).contains("is a directory"));
    assert!(error(create("/no/such/directory/x")).contains("does not exist"));
    assert!(error(create("shm://")).contains("is empty"));
    fs::write(name.path(), b"some text that is no region").unwrap();
    assert!(error(create(&name)).contains("is not an shm2 region"));
    assert_eq!(fs::read(name.path()).unwrap(), b"some text that is no region", "a stranger's file is left alone");
    fs::write(name.path(), b"").unwrap();
    assert!(create(&name).is_ok(), "an empty file is a prepared place");
}

#[test]
fn errors_of_attach_name_the_cause() {
    let name = TempRegion::new();
    let attach = |access| Consumer::builder(&name).unwrap().access(access).attach(Some(Duration::ZERO)).unwrap_err();
    for access in [Access::Lease, Access::Snapshot] {
        assert!(matches!(attach(access), AttachError::TimedOut { .. }));
        fs::create_dir(name.path()).unwrap();
        assert!(matches!(attach(access), AttachError::NotAFile { .. }), "{}", attach(access));
        fs::remove_dir(name.path()).unwrap();
        fs::write(name.path(), vec![0x5a; 6 << 20]).unwrap();
        assert!(matches!(attach(access), AttachError::NotARegion { magic: 0x5a5a_5a5a_5a5a_5a5a, .. }));
        fs::remove_file(name.path()).unwrap();
        let _producer = create(&name).unwrap();
        let file = fs::OpenOptions::new().write(true).open(name.path()).unwrap();
        file.write_at(&(9u32 << 16 | 3).to_le_bytes(), 8).unwrap();
        assert!(matches!(attach(access), AttachError::Version { major: 9, minor: 3, .. }));
        file.write_at(&(u32::from(layout::VERSION_MAJOR) << 16).to_le_bytes(), 8).unwrap();
        file.write_at(&7u64.to_le_bytes(), 40).unwrap();
        assert!(matches!(attach(access), AttachError::Header { field: "pages offset", found: 7, .. }));
    }
}

#[test]
fn a_full_file_system_is_an_error_at_the_start() {
    let directory = std::env::temp_dir().join(format!("shm2-test-full-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let mount = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).arg(&directory).status().is_ok_and(|s| s.success())
    };
    if mount("mount", &["-t", "tmpfs", "-o", "size=8m", "none"]) {
        let name = directory.join("region").display().to_string();
        let text = Producer::create(&name).unwrap_err().to_string();
        assert!(text.starts_with("no free space") && text.contains("8388608 are free there"), "{text}");
        assert!(Producer::builder(&name).unwrap().size(6 << 20).create().is_ok());
        assert!(mount("umount", &[]));
    } else {
        shm2_testing::skip("no right to mount a small tmpfs");
    }
    fs::remove_dir(&directory).unwrap();
}

#[test]
fn a_deleted_region_still_works_for_attached_peers() {
    let name = TempRegion::new();
    let mut producer = create(&name).unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    fs::remove_file(name.path()).unwrap();
    producer.send(b"still", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"still");
    let mut second = create(&name).unwrap();
    drop(producer);
    assert!(name.path().exists(), "a name that leads elsewhere is not removed");
    second.send(b"next", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"next");
}

#[test]
fn attachments_of_a_frame_are_dropped_after_its_last_reader() {
    let name = TempRegion::new();
    let token = std::sync::Arc::new(());
    let mut producer = create(&name).unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let slot = std::sync::Arc::new(producer.reserve(100).unwrap());
    let keep = Box::new((token.clone(), slot.clone()));
    producer.publish_part(&slot, 0..100, &FrameInfo::new(), b"", keep).unwrap();
    let frame = consumer.next(LONG).unwrap();
    drop((slot, producer));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(std::sync::Arc::strong_count(&token), 2, "a held frame keeps its memory from being written again");
    drop((frame, consumer));
    let gone = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        std::sync::Arc::strong_count(&token) == 1
    });
    assert!(gone, "the region of a closed producer is given up");
}

#[test]
fn attach_and_detach_leak_nothing() {
    let name = TempRegion::new();
    let count = || {
        let ours = |line: &&str| line.contains(&*name);
        let maps = fs::read_to_string("/proc/self/maps").unwrap().lines().filter(ours).count();
        let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|e| fs::read_link(e.ok()?.path()).ok());
        (maps, links.filter(|l| l.to_string_lossy().contains(&*name)).count())
    };
    let mut producer = create(&name).unwrap();
    let before = count();
    for access in [Access::Lease, Access::Snapshot].into_iter().cycle().take(200) {
        let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
        consumer.next(LONG).unwrap();
    }
    assert_eq!(count(), before);
    assert_eq!(producer.consumers(), 0);
    assert_eq!(producer.handle().stats().held, 0);
}

#[test]
fn an_overview_does_not_disturb_the_producer() {
    use shm2::Overview;
    let name = TempRegion::new();
    assert!(matches!(Overview::of(&name), Err(AttachError::NotFound { .. })));
    let mut producer = create(&name).unwrap();
    let empty = Overview::of(&name).unwrap();
    assert_eq!((empty.newest, empty.caps, empty.frame_bytes), (0, None, None));
    producer.set_caps(b"some/caps").unwrap();
    producer.send(&[1; 700], &FrameInfo::new()).unwrap();
    let seen = Overview::of(&name).unwrap();
    assert_eq!((seen.newest, seen.caps.as_deref(), seen.frame_bytes), (1, Some(&b"some/caps"[..]), Some(700)));
    assert_eq!((seen.bytes, seen.producer_pid, seen.is_kept), (layout::MIN_REGION, std::process::id(), false));
    assert!(Overview::all_in(std::path::Path::new("/dev/shm")).iter().any(|o| o.path == name.path()));
    assert!(!producer.handle().has_snapshot_consumers() && producer.consumers() == 0);
    drop(producer);
    assert!(Overview::of(&name).is_err());
}
