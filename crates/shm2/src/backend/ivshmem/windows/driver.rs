//! The boundary to the driver: the few system calls that are needed, as a trait, so that tests can use a fake.

use super::ioctl::INTERFACE_CLASS_TEXT;
use std::io;

/// A system with the driver.
pub(crate) trait Driver: Clone {
    /// An open device; dropping it closes it, and ends a mapping made by it.
    type Handle;

    /// All present devices of the driver, in any order.
    fn interfaces(&self) -> io::Result<Vec<Interface>>;

    /// Opens a device by the path of its interface.
    fn open(&self, path: &str) -> io::Result<Self::Handle>;

    /// Sends one request. Returns the number of bytes that the driver wrote to `output`.
    fn control(&self, handle: &Self::Handle, code: u32, input: &[u8], output: &mut [u8]) -> io::Result<usize>;
}

/// One device of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Path by which it is opened.
    pub(crate) path: String,
    /// Instance id, as the device manager shows it.
    pub(crate) instance: String,
    /// Number of its PCI bus.
    pub(crate) bus: u32,
    /// Slot << 16 | function.
    pub(crate) address: u32,
}

impl Interface {
    /// Sort key of [`Device::Index`](crate::name::ivshmem::Device::Index). Windows itself lists devices in another
    /// order after each boot.
    pub(crate) fn order(&self) -> (u64, String) {
        (u64::from(self.bus) << 32 | u64::from(self.address), self.key())
    }

    /// Key that is equal for all spellings of the path. Windows does not distinguish upper and lower case in it.
    pub(crate) fn key(&self) -> String {
        path_key(&self.path)
    }

    pub(crate) fn has_path(&self, path: &str) -> bool {
        self.key() == path_key(path)
    }

    pub(crate) fn has_instance(&self, id: &str) -> bool {
        self.instance.eq_ignore_ascii_case(id) || self.has_path(&path_of_instance(id))
    }
}

/// `\\.\` and `\\?\` open the same device.
fn path_key(path: &str) -> String {
    let key = path.to_lowercase();
    match key.strip_prefix(r"\\.\") {
        Some(rest) => format!(r"\\?\{rest}"),
        None => key,
    }
}

/// The interface path of a device, derived from its instance id as Windows does it.
fn path_of_instance(id: &str) -> String {
    format!(r"\\?\{}#{INTERFACE_CLASS_TEXT}", id.replace('\\', "#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = r"PCI\VEN_1AF4&DEV_1110&SUBSYS_11001AF4&REV_01\3&11583659&0&88";
    const PATH: &str =
        r"\\?\PCI#VEN_1AF4&DEV_1110&SUBSYS_11001AF4&REV_01#3&11583659&0&88#{df576976-569d-4672-95a0-f57e4ea0b210}";

    #[test]
    fn an_instance_id_makes_its_interface_path() {
        assert_eq!(path_of_instance(INSTANCE), PATH);
    }

    #[test]
    fn names_match_in_any_case_and_either_prefix() {
        let interface = Interface { path: PATH.to_lowercase(), instance: "other".into(), bus: 0, address: 4 << 16 };
        assert!(interface.has_path(PATH));
        assert!(interface.has_path(&PATH.replace(r"\\?\", r"\\.\")));
        assert!(interface.has_instance(INSTANCE));
        assert!(interface.has_instance("OTHER"));
        assert!(!interface.has_instance(&INSTANCE.replace("&88", "&90")));
        assert!(!interface.has_path(INSTANCE));
    }

    #[test]
    fn buses_come_before_slots() {
        let at = |bus, address| Interface { path: String::new(), instance: String::new(), bus, address };
        assert!(at(0, 31 << 16).order() < at(1, 0).order());
        assert!(at(1, 4 << 16).order() < at(1, 5 << 16).order());
        assert!(at(9, 0).order() < at(u32::MAX, u32::MAX).order());
    }
}
