//! Choosing, opening and sharing devices, with a fake driver that behaves like the real one.

use super::devices::{Devices, SharedMapping, list};
use super::fake_driver::{FakeDevice, FakeDriver, Fault, Version};
use crate::error::DeviceError;
use crate::layout::MIN_REGION;
use crate::name::ivshmem::{Cache, Device};
use crate::sync::{AtomicU64, Ordering};
use std::sync::Barrier;

const MIB: u64 = 1 << 20;

/// A machine with one device of 8 MiB, after `change`.
fn machine(change: impl FnOnce(&mut FakeDevice)) -> FakeDriver {
    let mut device = FakeDevice::new(4, 8);
    change(&mut device);
    FakeDriver::new([device])
}

/// Three devices, which the driver lists in another order than that of their addresses. In order: 16 MiB, 8 MiB, 32
/// MiB.
fn three() -> FakeDriver {
    let mut far = FakeDevice::new(1, 32);
    far.interface.bus = 2;
    FakeDriver::new([FakeDevice::new(5, 8), far, FakeDevice::new(4, 16)])
}

fn open(fake: &FakeDriver, device: &Device) -> Result<SharedMapping<FakeDriver>, DeviceError> {
    Devices::new(fake.clone()).open(device)
}

/// The error of opening the only device.
fn failure(fake: &FakeDriver) -> DeviceError {
    open(fake, &Device::Only).unwrap_err()
}

/// Size of the chosen device in MiB.
fn chosen(fake: &FakeDriver, device: &Device) -> u64 {
    open(fake, device).unwrap().bytes() / MIB
}

/// Whether nothing is mapped or open.
fn is_clean(fake: &FakeDriver) -> bool {
    fake.with(0, |device| !device.is_mapped() && device.open_handles == 0)
}

#[test]
fn devices_are_listed_in_order_of_their_address() {
    let list = Devices::new(three()).list().unwrap();
    let sizes: Vec<u64> = list.iter().map(|(_, _, bytes)| bytes / MIB).collect();
    assert_eq!(sizes, [16, 8, 32]);
    assert_eq!(list[0].0, r"PCI\VEN_1AF4&DEV_1110&REV_01\3&11583659&0&20");
    assert!(list[0].1.starts_with(r"\\?\PCI#VEN_1AF4"), "{list:?}");
}

#[test]
fn a_device_of_unknown_size_is_listed() {
    let fake = machine(|device| device.denied = true);
    assert_eq!(Devices::new(fake).list().unwrap()[0].2, 0);
}

#[test]
fn the_only_device_needs_no_name() {
    assert_eq!(chosen(&machine(|_| ()), &Device::Only), 8);
}

#[test]
fn a_number_counts_in_order_of_addresses() {
    let sizes: Vec<u64> = (0..3).map(|index| chosen(&three(), &Device::Index(index))).collect();
    assert_eq!(sizes, [16, 8, 32]);
}

#[test]
fn a_size_chooses() {
    assert_eq!(chosen(&three(), &Device::Size(32 * MIB)), 32);
}

#[test]
fn an_instance_id_chooses_in_any_case() {
    let id = r"PCI\VEN_1AF4&DEV_1110&REV_01\3&11583659&0&28";
    assert_eq!(chosen(&three(), &Device::Instance(id.into())), 8);
    assert_eq!(chosen(&three(), &Device::Instance(id.to_lowercase())), 8);
}

#[test]
fn an_interface_path_chooses_in_any_case() {
    let path = r"\\?\PCI#VEN_1AF4&DEV_1110&REV_01#3&11583659&0&28#{df576976-569d-4672-95a0-f57e4ea0b210}";
    assert_eq!(chosen(&three(), &Device::Interface(path.into())), 8);
    assert_eq!(chosen(&three(), &Device::Interface(path.to_uppercase())), 8);
    assert_eq!(chosen(&three(), &Device::Interface(path.replace(r"\\?\", r"\\.\"))), 8);
}

#[test]
fn without_a_name_several_devices_are_too_many() {
    let error = failure(&three());
    assert!(matches!(error, DeviceError::Several { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(r"0: PCI\VEN_1AF4&DEV_1110&REV_01\3&11583659&0&20 (16 MiB), 1: "), "{text}");
    assert!(text.contains("2: ") && text.contains("ivshmem://0"), "{text}");
}

#[test]
fn two_devices_of_one_size_are_too_many_for_a_size() {
    let fake = FakeDriver::new([FakeDevice::new(3, 16), FakeDevice::new(4, 8), FakeDevice::new(5, 8)]);
    let Err(DeviceError::Several { found }) = open(&fake, &Device::Size(8 * MIB)) else { panic!() };
    // The list has the indices, which are names of the devices.
    assert!(found.starts_with("1: ") && found.contains(", 2: ") && !found.contains("16"), "{found}");
}

#[test]
fn an_absent_device_is_an_error_that_lists_the_present_ones() {
    let instance = Device::Instance(r"PCI\VEN_1AF4&DEV_1110\0".into());
    let interface = Device::Interface(r"\\.\PhysicalDrive0".into());
    for device in [Device::Index(3), Device::Size(64 * MIB), instance, interface] {
        let Err(DeviceError::NotHere { found }) = open(&three(), &device) else { panic!("{device:?}") };
        assert!(found.contains("(16 MiB)") && found.contains("(8 MiB)") && found.contains("(32 MiB)"), "{found}");
    }
    let Err(DeviceError::NotHere { found }) = open(&FakeDriver::new([]), &Device::Only) else { panic!() };
    assert_eq!(found, "none");
}

#[test]
fn names_of_linux_are_refused() {
    for device in [Device::Address("0000:00:04.0".into()), Device::File("/dev/kvmfr0".into())] {
        let error = open(&three(), &device).unwrap_err();
        assert!(matches!(error, DeviceError::WrongSystem { .. }), "{error:?}");
    }
}

#[test]
fn bytes_written_are_seen_by_the_host() {
    let fake = machine(|_| ());
    let memory = open(&fake, &Device::Only).unwrap();
    let last = memory.bytes() as usize / 8 - 1;
    for (index, value) in [(0, 17), (last, 99)] {
        // SAFETY: the word is inside the mapping, which `memory` keeps; the fake accesses it as an atomic, too.
        #[expect(unsafe_code, reason = "an atomic in mapped memory")]
        let word = unsafe { AtomicU64::from_ptr(memory.base().as_ptr().cast::<u64>().add(index)) };
        word.store(value, Ordering::SeqCst);
        fake.with(0, |device| assert_eq!(device.memory()[index].load(Ordering::SeqCst), value));
    }
    assert_eq!(fake.with(0, |device| device.cache_mode), Some(1));
}

#[test]
fn the_first_user_chooses_the_cache_mode() {
    for (cache, mode) in [(Cache::Full, 1), (Cache::Combined, 2), (Cache::None, 0)] {
        let fake = machine(|_| ());
        let _memory = Devices::new(fake.clone()).open_with(&Device::Only, cache).unwrap();
        assert_eq!(fake.with(0, |device| device.cache_mode), Some(mode));
    }
}

#[test]
fn a_second_process_gets_an_error_with_the_remedy() {
    let fake = machine(|_| ());
    let _first = open(&fake, &Device::Only).unwrap();
    let error = failure(&fake);
    assert!(matches!(error, DeviceError::InUse { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("another program") && text.contains("PCI#VEN_1AF4"), "{text}");
    assert!(text.contains("shm2src shm-path=ivshmem://0 ! shm2sink shm-path=winshm://Local/NAME"), "{text}");
    // The size can be read without a mapping.
    assert_eq!(Devices::new(fake).list().unwrap()[0].2, 8 * MIB);
}

#[test]
fn a_driver_that_shares_serves_two_processes() {
    let fake = machine(|device| device.version = Version::Shared);
    let first = open(&fake, &Device::Only).unwrap();
    let second = open(&fake, &Device::Only).unwrap();
    drop(first);
    assert!(fake.with(0, |device| device.is_mapped()));
    drop(second);
    assert!(is_clean(&fake));
}

#[test]
fn one_process_shares_one_mapping() {
    let fake = machine(|_| ());
    let devices = Devices::new(fake.clone());
    let by_number = devices.open(&Device::Index(0)).unwrap();
    let by_size = devices.open(&Device::Size(8 * MIB)).unwrap();
    let clone = by_size.clone();
    assert_eq!(by_number.base(), by_size.base());
    assert_eq!(by_number.name(), clone.name());
    assert_eq!(fake.with(0, |device| device.mappings), 1);
    drop((by_number, by_size));
    assert!(fake.with(0, |device| device.is_mapped() && device.unmappings == 0));
    drop(clone);
    assert!(is_clean(&fake));
}

#[test]
fn the_last_user_ends_the_mapping_and_the_next_one_maps_again() {
    let fake = machine(|_| ());
    let devices = Devices::new(fake.clone());
    for round in 1..=3 {
        drop(devices.open(&Device::Only).unwrap());
        assert!(is_clean(&fake));
        assert_eq!(fake.with(0, |device| (device.mappings, device.unmappings)), (round, round));
    }
    open(&fake, &Device::Only).unwrap();
}

#[test]
fn devices_are_mapped_independently() {
    let devices = Devices::new(three());
    let first = devices.open(&Device::Index(0)).unwrap();
    let second = devices.open(&Device::Index(1)).unwrap();
    assert_ne!(first.base(), second.base());
    assert_ne!(first.name(), second.name());
}

#[test]
fn concurrent_threads_share_a_mapping() {
    let fake = machine(|_| ());
    let devices = Devices::new(fake.clone());
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                // In each round another thread may be making or ending the mapping.
                for _ in 0..50 {
                    assert_eq!(devices.open(&Device::Only).unwrap().bytes(), 8 * MIB);
                }
            });
        }
    });
    assert!(is_clean(&fake));
}

#[test]
fn a_failure_leaves_the_device_free() {
    let fake = machine(|device| device.fault = Fault::NullAddress);
    let devices = Devices::new(fake.clone());
    assert!(devices.open(&Device::Only).is_err());
    fake.with(0, |device| device.fault = Fault::None);
    assert!(devices.open(&Device::Only).is_ok());
}

#[test]
fn a_device_too_small_for_a_region_is_not_mapped() {
    let fake = FakeDriver::new([FakeDevice::new(4, 4)]);
    let error = failure(&fake);
    assert!(matches!(error, DeviceError::TooSmall { bytes } if bytes == 4 * MIB), "{error:?}");
    assert!(error.to_string().contains(&MIN_REGION.to_string()), "{error}");
    assert_eq!(fake.with(0, |device| device.mappings), 0);
}

#[test]
fn impossible_answers_are_refused() {
    let table = [
        (Fault::ShortSize, "REQUEST_SIZE", 8, 4),
        (Fault::ShortMapping, "REQUEST_MMAP", 32, 24),
        (Fault::OtherSize, "size of the mapping", 8 * MIB, 4 * MIB),
        (Fault::NullAddress, "address, at least", 65_536, 0),
        (Fault::LowAddress, "address, at least", 65_536, 4096),
        (Fault::OddAddress, "modulo", 0, 64),
    ];
    for (fault, part, wanted, given) in table {
        let fake = machine(|device| device.fault = fault);
        let error = failure(&fake);
        let DeviceError::Answer { what, expected, found } = error else { panic!("{fault:?}: {error:?}") };
        assert!(what.contains(part), "{fault:?}: {what}");
        assert_eq!((expected, found), (wanted, given), "{fault:?}");
        assert!(is_clean(&fake), "{fault:?}");
    }
}

#[test]
fn an_impossible_size_is_refused() {
    let fake = machine(|device| device.bytes = u64::MAX);
    let error = failure(&fake);
    assert!(matches!(error, DeviceError::Answer { found: u64::MAX, .. }), "{error:?}");
    assert!(is_clean(&fake));
}

#[test]
fn a_device_that_becomes_ready_is_waited_for() {
    let fake = machine(|device| device.not_ready = 3);
    assert_eq!(chosen(&fake, &Device::Only), 8);
}

#[test]
fn a_device_that_never_becomes_ready_is_a_system_error() {
    let fake = machine(|device| device.not_ready = u32::MAX);
    let error = failure(&fake);
    let DeviceError::System { source, path, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.raw_os_error(), Some(21));
    assert!(error.to_string().contains(path), "{error}");
    assert!(is_clean(&fake));
}

#[test]
fn drivers_without_a_cache_mode_are_served() {
    for version in [Version::First, Version::Strict] {
        let fake = machine(|device| device.version = version);
        let memory = open(&fake, &Device::Only).unwrap();
        assert_eq!(memory.bytes(), 8 * MIB, "{version:?}");
        assert_eq!(fake.with(0, |device| device.cache_mode), None, "{version:?}");
    }
}

#[test]
fn a_missing_right_is_an_error() {
    let fake = machine(|device| device.denied = true);
    let error = failure(&fake);
    assert!(matches!(&error, DeviceError::Denied { path } if path.contains("PCI#")), "{error:?}");
}

#[test]
fn only_the_owner_can_release() {
    use super::driver::Driver;
    use super::ioctl::RELEASE_MMAP;
    let fake = machine(|_| ());
    let memory = open(&fake, &Device::Only).unwrap();
    let other = fake.open(memory.name()).unwrap();
    assert_eq!(fake.control(&other, RELEASE_MMAP, &[], &mut []).unwrap_err().raw_os_error(), Some(6));
    assert!(fake.with(0, |device| device.is_mapped()));
}

#[test]
fn the_real_system_answers() {
    // Most machines have no device, which is an error of its own. With a device the list is not empty.
    let list = list().unwrap();
    if list.is_empty() {
        let Err(DeviceError::NotHere { found }) = SharedMapping::open(&Device::Only, Cache::Best) else { panic!() };
        assert_eq!(found, "none");
    }
    println!("{} devices", list.len());
}

#[test]
fn memory_can_be_used_by_all_threads() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    check::<SharedMapping>();
    let memory = open(&machine(|_| ()), &Device::Only).unwrap();
    assert!(format!("{memory:?}").contains("bytes: 8388608"));
}
