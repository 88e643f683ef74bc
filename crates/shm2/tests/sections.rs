//! Named sections on Windows: which producer gets a name, what is refused with which error, permissions, and leaks.

#![cfg(windows)]
#![expect(unsafe_code, reason = "calls the system to look at its objects")]

mod common;

use shm2::{Access, AttachError, Consumer, CreateError, FrameInfo, Producer, layout};
use shm2_testing::TempRegion;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::time::Duration;
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Memory::{CreateFileMappingW, PAGE_READWRITE};
use windows_sys::Win32::System::Threading::{CreateEventW, GetCurrentProcess, GetProcessHandleCount};

const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn create(name: &str) -> Result<Producer, CreateError> {
    Producer::builder(name)?.size(layout::MIN_REGION).create()
}

fn wide(name: &TempRegion) -> Vec<u16> {
    name.replace("winshm://Local/", "Local\\").encode_utf16().chain([0]).collect()
}

/// An object of another program that has this name.
fn foreign_section(name: &TempRegion, bytes: u32) -> OwnedHandle {
    // SAFETY: a zero-terminated name; the handle is fresh.
    unsafe {
        let handle = CreateFileMappingW(INVALID_HANDLE_VALUE, null(), PAGE_READWRITE, 0, bytes, wide(name).as_ptr());
        assert!(!handle.is_null());
        OwnedHandle::from_raw_handle(handle)
    }
}

fn handles() -> u32 {
    let mut count = 0;
    // SAFETY: the number is valid during the call.
    assert_ne!(unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) }, 0);
    count
}

#[test]
fn a_closed_region_leaves_no_name() {
    let name = TempRegion::new();
    drop(create(&name).unwrap());
    let error = Consumer::builder(&name).unwrap().access(Access::Lease).build().try_next();
    assert!(matches!(error, Ok(None)));
    let error = shm2::Overview::of(&name).unwrap_err();
    assert!(matches!(error, AttachError::NotFound { .. }), "{error}");
}

#[test]
fn one_of_several_producers_that_start_at_once_succeeds() {
    for _ in 0..20 {
        let name = TempRegion::new();
        let winners = common::contest(|| create(&name));
        assert_eq!(winners.len(), 1);
        assert!(matches!(create(&name), Err(CreateError::Busy { .. })));
    }
}

#[test]
fn a_name_of_a_foreign_object_is_an_error_that_names_it() {
    let name = TempRegion::new();
    // SAFETY: a zero-terminated name; the handle is fresh.
    let event = unsafe { OwnedHandle::from_raw_handle(CreateEventW(null(), 0, 0, wide(&name).as_ptr())) };
    let error = create(&name).unwrap_err();
    assert!(matches!(error, CreateError::NotAFile { .. }), "{error}");
    let error = Consumer::builder(&name).unwrap().attach(LONG).unwrap_err();
    assert!(matches!(error, AttachError::NotAFile { .. }), "{error}");
    drop(event);
    for bytes in [65_536, 8192] {
        let _section = foreign_section(&name, bytes);
        let error = create(&name).unwrap_err();
        assert!(matches!(error, CreateError::NotAFile { .. }), "{error}");
        let error = Consumer::builder(&name).unwrap().attach(LONG).unwrap_err();
        assert!(matches!(error, AttachError::NotAFile { .. }), "{error}");
    }
    // As large as a region, with content that is no region.
    let section = foreign_section(&name, 4096);
    let view = shm2_bytes(&section);
    view[0].store(0x5a5a_5a5a, std::sync::atomic::Ordering::SeqCst);
    let error = create(&name).unwrap_err();
    assert!(matches!(error, CreateError::NotAFile { .. }), "{error}");
    let error = Consumer::builder(&name).unwrap().attach(LONG).unwrap_err();
    assert!(matches!(error, AttachError::NotARegion { magic: 0x5a5a_5a5a, .. }), "{error}");
    drop(section);
}

/// A view that is never unmapped.
fn shm2_bytes(section: &OwnedHandle) -> &'static [std::sync::atomic::AtomicU64] {
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::System::Memory::{FILE_MAP_READ, FILE_MAP_WRITE, MapViewOfFile};
    // SAFETY: the section is larger than what is looked at, and the view is never unmapped.
    unsafe {
        let view = MapViewOfFile(section.as_raw_handle(), FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 4096);
        assert!(!view.Value.is_null());
        std::slice::from_raw_parts(view.Value.cast(), 16)
    }
}

#[test]
fn errors_name_impossible_sizes_and_settings() {
    let name = TempRegion::new();
    let sized = |bytes| Producer::builder(&name).unwrap().size(bytes).create().unwrap_err().to_string();
    assert!(sized(1).starts_with("a region of 1 bytes is out of range"), "{}", sized(1));
    assert!(sized(900 << 30).starts_with("not enough memory"), "{}", sized(900 << 30));
    let kept = Producer::builder(&name).unwrap().keep_region(true).create().unwrap_err().to_string();
    assert!(kept.contains("keep-region"), "{kept}");
    assert!(create(&name).is_ok(), "what failed left nothing behind");
}

#[test]
fn a_global_name_works_or_the_error_names_the_missing_privilege() {
    let name = format!("winshm://Global/shm2-test-{}", std::process::id());
    match create(&name) {
        Ok(mut producer) => {
            producer.send(b"x", &FrameInfo::new()).unwrap();
            let mut consumer = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
            assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"x");
            let local = name.replace("Global", "Local");
            assert!(matches!(shm2::Overview::of(&local), Err(AttachError::NotFound { .. })));
        }
        Err(error) => assert!(error.to_string().contains("SeCreateGlobalPrivilege"), "{error}"),
    }
}

#[test]
fn all_permissions_can_be_given() {
    for perms in [0o600, 0o640, 0o644, 0o660, 0o666, 0o777] {
        let name = TempRegion::new();
        let mut producer = Producer::builder(&name).unwrap().perms(perms).create().unwrap();
        for access in [Access::Lease, Access::Snapshot] {
            let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
            producer.send(b"x", &FrameInfo::new()).unwrap();
            assert_eq!(consumer.next(LONG).unwrap().to_vec(), b"x");
        }
    }
}

#[test]
fn attach_and_detach_leak_nothing() {
    let name = TempRegion::new();
    let mut producer = create(&name).unwrap();
    let mut once = |access| {
        let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
        consumer.next(LONG).unwrap();
    };
    [Access::Lease, Access::Snapshot].into_iter().for_each(&mut once);
    let before = handles();
    [Access::Lease, Access::Snapshot].into_iter().cycle().take(200).for_each(once);
    // Other tests of this process open and close handles meanwhile.
    let after = (0..100).find(|_| {
        std::thread::sleep(Duration::from_millis(20));
        handles() <= before + 600
    });
    assert!(after.is_some(), "{before} handles before, {} after", handles());
    assert_eq!((producer.consumers(), producer.handle().stats().held), (0, 0));
}

#[test]
fn producers_leave_neither_handles_nor_threads() {
    let cycle = || {
        let name = TempRegion::new();
        let mut producer = create(&name).unwrap();
        producer.send(b"x", &FrameInfo::new()).unwrap();
        drop(producer);
    };
    cycle();
    let before = handles();
    (0..40).for_each(|_| cycle());
    let after = (0..200).find(|_| {
        std::thread::sleep(Duration::from_millis(20));
        // Each had more than 250 objects.
        handles() <= before + 1500
    });
    assert!(after.is_some(), "{before} handles before, {} after", handles());
}
