//! The driver trait on the real system: devices by SetupDi, requests by `DeviceIoControl`.
//!
//! # Safety
//! Each call gets pointers to locals or to a slice together with its true length, and keeps none of them beyond its
//! return. A device set is destroyed once, at drop. The address of mapped memory is only copied, among the bytes of an
//! answer, and never accessed here.

#![expect(unsafe_code, reason = "system calls")]

use super::driver::{Driver, Interface};
use super::ioctl::{INTERFACE_CLASS, code};
use std::fs::OpenOptions;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use windows_sys::Win32::Devices::DeviceAndDriverInstallation as setup;
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_NO_MORE_ITEMS, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_READ, FILE_SHARE_WRITE};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::core::{BOOL, GUID};

/// This Windows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemDriver;

impl Driver for SystemDriver {
    type Handle = OwnedHandle;

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        DeviceSet::present(INTERFACE_CLASS)?.interfaces()
    }

    fn open(&self, path: &str) -> io::Result<OwnedHandle> {
        // Without access rights: the driver's requests need none, so the ACL of the device cannot refuse them.
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE;
        OpenOptions::new().access_mode(0).share_mode(share).open(path).map(OwnedHandle::from)
    }

    fn control(&self, handle: &OwnedHandle, code: u32, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let from = if input.is_empty() { null() } else { input.as_ptr() };
        let to = if output.is_empty() { null_mut() } else { output.as_mut_ptr() };
        let mut returned = 0;
        // SAFETY: a buffered request reads and writes at most the two slices, during this call: the handle was opened
        // without overlapping, so the call returns when the request is done.
        checked(unsafe {
            DeviceIoControl(
                handle.as_raw_handle(),
                code,
                from.cast(),
                length(input.len())?,
                to.cast(),
                length(output.len())?,
                &mut returned,
                null_mut(),
            )
        })?;
        Ok(returned as usize)
    }
}

/// The present devices that have an interface of one class.
struct DeviceSet {
    set: setup::HDEVINFO,
    class: GUID,
}

impl DeviceSet {
    fn present(class: GUID) -> io::Result<Self> {
        let flags = setup::DIGCF_PRESENT | setup::DIGCF_DEVICEINTERFACE;
        // SAFETY: the class is a local; no enumerator and no window are given.
        let set = unsafe { setup::SetupDiGetClassDevsW(&class, null(), null_mut(), flags) };
        if set == INVALID_HANDLE_VALUE as isize { Err(io::Error::last_os_error()) } else { Ok(Self { set, class }) }
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let mut found = Vec::new();
        for index in 0.. {
            let Some(device) = self.device(index)? else { break };
            found.extend(self.interface(&device)?);
        }
        Ok(found)
    }

    /// The device with this index in the set; `None` after the last.
    fn device(&self, index: u32) -> io::Result<Option<setup::SP_DEVINFO_DATA>> {
        let mut device = setup::SP_DEVINFO_DATA { cbSize: bytes_of::<setup::SP_DEVINFO_DATA>(), ..Default::default() };
        // SAFETY: the set is open; `device` is writable and holds its size.
        let done = unsafe { setup::SetupDiEnumDeviceInfo(self.set, index, &mut device) };
        Ok(listed(done)?.then_some(device))
    }

    /// Describes one device; `None` if its interface has been removed meanwhile.
    fn interface(&self, device: &setup::SP_DEVINFO_DATA) -> io::Result<Option<Interface>> {
        let size = bytes_of::<setup::SP_DEVICE_INTERFACE_DATA>();
        let mut data = setup::SP_DEVICE_INTERFACE_DATA { cbSize: size, ..Default::default() };
        // SAFETY: the set is open, `device` is of it, and `data` is writable and holds its size.
        let done = unsafe { setup::SetupDiEnumDeviceInterfaces(self.set, device, &self.class, 0, &mut data) };
        if !listed(done)? {
            return Ok(None);
        }
        Ok(Some(Interface {
            path: self.path(&data)?,
            instance: self.instance(device)?,
            bus: self.number(device, setup::SPDRP_BUSNUMBER),
            address: self.number(device, setup::SPDRP_ADDRESS),
        }))
    }

    fn path(&self, data: &setup::SP_DEVICE_INTERFACE_DATA) -> io::Result<String> {
        // 32-bit words, as the struct that begins the answer is aligned to four bytes.
        let mut words = vec![0u32; self.detail_bytes(data)?.div_ceil(4) as usize];
        let Some(first) = words.first_mut() else { return Err(io::ErrorKind::InvalidData.into()) };
        *first = bytes_of::<setup::SP_DEVICE_INTERFACE_DETAIL_DATA_W>();
        let capacity = length(words.len() * 4)?;
        // SAFETY: `words` has the length that is passed, aligned for the struct, and begins with the struct's size.
        checked(unsafe {
            let detail = words.as_mut_ptr().cast();
            setup::SetupDiGetDeviceInterfaceDetailW(self.set, data, detail, capacity, null_mut(), null_mut())
        })?;
        let units: Vec<u16> = words[1..].iter().flat_map(|word| [*word as u16, (*word >> 16) as u16]).collect();
        text(&units)
    }

    fn detail_bytes(&self, data: &setup::SP_DEVICE_INTERFACE_DATA) -> io::Result<u32> {
        let mut needed = 0;
        // SAFETY: with no buffer and the length 0 only `needed` is written.
        let done =
            unsafe { setup::SetupDiGetDeviceInterfaceDetailW(self.set, data, null_mut(), 0, &mut needed, null_mut()) };
        match checked(done) {
            // Expected: this error comes with the length.
            Err(error) if code(&error) != Some(ERROR_INSUFFICIENT_BUFFER) => Err(error),
            _ => Ok(needed),
        }
    }

    fn instance(&self, device: &setup::SP_DEVINFO_DATA) -> io::Result<String> {
        // Windows has instance ids of up to 200 units with the zero, MAX_DEVICE_ID_LEN.
        let mut units = [0u16; 256];
        let capacity = length(units.len())?;
        // SAFETY: `units` has the length that is passed; `device` is of this set.
        checked(unsafe {
            setup::SetupDiGetDeviceInstanceIdW(self.set, device, units.as_mut_ptr(), capacity, null_mut())
        })?;
        text(&units)
    }

    /// A numeric property, used for sorting only: a device without it comes after the others.
    fn number(&self, device: &setup::SP_DEVINFO_DATA, property: u32) -> u32 {
        let mut bytes = [0u8; 4];
        let (to, capacity) = (bytes.as_mut_ptr(), bytes_of::<[u8; 4]>());
        // SAFETY: `bytes` has the length that is passed; `device` is of this set.
        let done = unsafe {
            setup::SetupDiGetDeviceRegistryPropertyW(self.set, device, property, null_mut(), to, capacity, null_mut())
        };
        // Not every failure sets an error number (Wine has neither property), so the number is not read.
        if done == 0 { u32::MAX } else { u32::from_ne_bytes(bytes) }
    }
}

impl Drop for DeviceSet {
    fn drop(&mut self) {
        // SAFETY: made in `present`, destroyed here only.
        let _ = unsafe { setup::SetupDiDestroyDeviceInfoList(self.set) };
    }
}

fn bytes_of<T>() -> u32 {
    size_of::<T>() as u32
}

fn length(items: usize) -> io::Result<u32> {
    u32::try_from(items).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The result of a call. It must be read before any other call.
fn checked(done: BOOL) -> io::Result<()> {
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether an enumeration returned an item. Its end is not an error.
fn listed(done: BOOL) -> io::Result<bool> {
    match checked(done) {
        Ok(()) => Ok(true),
        Err(error) if code(&error) == Some(ERROR_NO_MORE_ITEMS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The text before the first zero.
fn text(units: &[u16]) -> io::Result<String> {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16(&units[..end]).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::super::ioctl::REQUEST_SIZE;
    use super::*;

    #[test]
    fn the_system_lists_its_devices() {
        // A machine without one is the usual case, and no error.
        for interface in SystemDriver.interfaces().unwrap() {
            assert!(interface.path.starts_with(r"\\?\"), "{interface:?}");
            assert!(interface.instance.to_ascii_uppercase().starts_with(r"PCI\"), "{interface:?}");
        }
    }

    #[test]
    fn devices_of_other_classes_are_described() {
        // Classes that machines without an ivshmem device have: volumes, display adapters, monitors, network, input.
        let classes = [
            0x53f5630d_b6bf_11d0_94f2_00a0c91efb8b,
            0x5b45201d_f2f2_4f3b_85bb_30ff1f953599,
            0xe6f07b5f_ee97_4a90_b076_33f57bf4eaa7,
            0xcac88484_7515_4c03_82e6_71a87abac361,
            0x4d1e55b2_f16f_11cf_88cb_001111000030,
        ];
        let found: Vec<Interface> = classes
            .into_iter()
            .flat_map(|class| DeviceSet::present(GUID::from_u128(class)).unwrap().interfaces().unwrap())
            .collect();
        if found.is_empty() {
            println!("skipped: no device of these classes is present");
        }
        for one in found {
            assert!(one.path.starts_with(r"\\?\") && one.path.contains("#{"), "{one:?}");
            let (first, _) = one.instance.split_once('\\').unwrap();
            assert!(one.path[4..].to_uppercase().starts_with(&first.to_uppercase()), "{one:?}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_has_a_system_error() {
        let error =
            SystemDriver.open(r"\\?\PCI#VEN_1AF4&DEV_1110#0#{df576976-569d-4672-95a0-f57e4ea0b210}").unwrap_err();
        assert!(error.raw_os_error().is_some(), "{error}");
    }

    #[test]
    fn a_refused_request_has_a_system_error() {
        let path = std::env::current_exe().unwrap();
        let handle = SystemDriver.open(path.to_str().unwrap()).unwrap();
        let error = SystemDriver.control(&handle, REQUEST_SIZE, &[], &mut [0; 8]).unwrap_err();
        assert!(error.raw_os_error().is_some_and(|code| code != 0), "{error}");
    }

    #[test]
    fn texts_end_at_the_first_zero() {
        assert_eq!(text(&[0x50, 0x43, 0, 0x49]).unwrap(), "PC");
        assert_eq!(text(&[]).unwrap(), "");
        assert!(text(&[0xD800]).is_err());
    }
}
