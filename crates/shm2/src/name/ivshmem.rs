//! Names of ivshmem devices, the PCI devices by which a virtual machine uses memory of its host.
//!
//! | behind `ivshmem://` | device | system |
//! |---|---|---|
//! | nothing | the only one | both |
//! | `0`, `1` | the first, the second in order of bus address | both |
//! | `?size=64M` | the one with this size (bytes, or K, M, G of 1024) | both |
//! | `0000:00:04.0`, `00:04.0` | the one at this PCI address | Linux |
//! | `/sys/bus/pci/devices/0000:00:04.0`, `/dev/kvmfr0`, `/dev/uio0` | this folder or file | Linux |
//! | `PCI\VEN_1AF4&DEV_1110&...\3&...` | the one with this instance id | Windows |
//! | `\\?\PCI#VEN_1AF4&DEV_1110&...#{...}` | the one with this interface path | Windows |
//!
//! `?cache=full`, `combined` or `none` after any of them (`&cache=...` after a size) chooses how the memory is cached.
//!
//! Each backslash may be written as a slash and each character as a percent escape. Addresses and ids can change when
//! the virtual machine's configuration changes; the size is set by the host and stays.

use super::escape::{decode, encode};
use std::fmt;
use std::path::PathBuf;

/// The device that a name refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// The only device.
    Only,
    /// Index in the order of bus addresses, from 0.
    Index(u32),
    /// The device with this size in bytes.
    Size(u64),
    /// Linux: the device at this PCI address, such as `0000:00:04.0`, in lower case.
    Address(String),
    /// Linux: a folder of sysfs, `/dev/kvmfrN`, `/dev/uioN`, or any file.
    File(PathBuf),
    /// Windows: a device interface path, such as `\\?\PCI#VEN_...#{...}`.
    Interface(String),
    /// Windows: a device instance id, such as `PCI\VEN_...\3&...`.
    Instance(String),
}

/// How a processor caches a device's memory: `?cache=none` and the like after the device's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Cache {
    /// The default: on Windows [`Cache::Full`], on Linux the driver's choice, or [`Cache::Combined`] without a driver.
    #[default]
    Best,
    /// Cached as ordinary memory; on Linux only with the module kvmfr.
    Full,
    /// Write-combining: writes are combined, reads are not cached.
    Combined,
    /// Not cached.
    None,
}

impl Cache {
    const NAMES: [(&'static str, Self); 3] = [("full", Self::Full), ("combined", Self::Combined), ("none", Self::None)];

    /// Splits a device's name from its cache mode; `None` when there is no such mode.
    pub(crate) fn split(rest: &str) -> Option<(&str, Self)> {
        let Some((device, word)) = rest.rsplit_once("cache=") else { return Some((rest, Self::Best)) };
        let device = device.strip_suffix(['?', '&'])?;
        Self::NAMES.iter().find(|(name, _)| *name == word).map(|(_, cache)| (device, *cache))
    }

    /// The text for this mode after the name `device`; empty for the default.
    pub(crate) fn suffix(self, device: &str) -> String {
        let mark = if device.contains('?') { '&' } else { '?' };
        self.name().map_or(String::new(), |name| format!("{mark}cache={name}"))
    }

    /// Name of the mode; `None` for the default.
    pub(crate) fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(_, cache)| *cache == self).map(|(name, _)| *name)
    }
}

impl Device {
    /// Parses the text after `ivshmem://`; `None` when it has none of the forms of a device's name.
    pub fn parse(rest: &str) -> Option<Self> {
        let text = decode(rest)?;
        if text.is_empty() {
            return Some(Self::Only);
        }
        if text.contains('\0') {
            return None;
        }
        if let Some(size) = text.strip_prefix("?size=") {
            return bytes(size).map(Self::Size);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self::Index);
        }
        // Checked before files: shells and URIs turn an interface path into `//?/PCI#...`.
        let slashed = text.replace('/', "\\");
        if slashed.starts_with(r"\\?\") || slashed.starts_with(r"\\.\") {
            return (slashed.len() > 4).then_some(Self::Interface(slashed));
        }
        instance(slashed).or_else(|| file(&text)).or_else(|| address(&text))
    }
}

/// The text after `ivshmem://`, which [`Device::parse`] turns into the same value.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Index(index) => write!(f, "{index}"),
            Self::Size(bytes) => {
                let (count, unit) = binary(*bytes);
                write!(f, "?size={count}{unit}")
            }
            Self::File(path) => encode(path).fmt(f),
            Self::Address(text) | Self::Interface(text) | Self::Instance(text) => encode(text).fmt(f),
        }
    }
}

/// The same number of bytes in the largest unit that holds it without a rest: `(64, "M")`.
pub(crate) fn binary(bytes: u64) -> (u64, &'static str) {
    const UNITS: [(u32, &str); 3] = [(30, "G"), (20, "M"), (10, "K")];
    let fits = |shift: u32| bytes != 0 && bytes.trailing_zeros() >= shift;
    UNITS.into_iter().find(|(shift, _)| fits(*shift)).map_or((bytes, ""), |(shift, unit)| (bytes >> shift, unit))
}

/// Parses `64M` and the like; `None` for 0, because no device is that small.
fn bytes(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|bytes| *bytes != 0)
}

fn instance(id: String) -> Option<Device> {
    let (bus, rest) = id.split_once('\\')?;
    (bus.eq_ignore_ascii_case("PCI") && !rest.is_empty()).then_some(Device::Instance(id))
}

fn file(text: &str) -> Option<Device> {
    (text.starts_with('/') && text.bytes().any(|byte| byte != b'/')).then(|| Device::File(text.into()))
}

/// `DOMAIN:BUS:DEVICE.FUNCTION` or `BUS:DEVICE.FUNCTION`, all in hexadecimal digits.
fn address(text: &str) -> Option<Device> {
    let (slot, function) = text.rsplit_once('.')?;
    let (bus, device) = slot.rsplit_once(':')?;
    let (domain, bus) = bus.rsplit_once(':').unwrap_or(("0000", bus));
    // Domains above ffff exist, for example behind a storage controller.
    let widths = (4..=8).contains(&domain.len()) && bus.len() == 2 && device.len() == 2 && function.len() == 1;
    if !widths || hexadecimal(device)? > 0x1f || hexadecimal(function)? > 7 {
        return None;
    }
    hexadecimal(domain).and(hexadecimal(bus))?;
    Some(Device::Address(format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase()))
}

fn hexadecimal(text: &str) -> Option<u32> {
    // The parser of the standard library accepts a sign, which an address cannot have.
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
}

/// Examples of device names on the system of this build.
#[cfg(windows)]
pub(crate) const EXAMPLES: &str = "ivshmem://0, ivshmem://?size=64M, its instance id or its interface path";
/// Examples of device names on the system of this build.
#[cfg(not(windows))]
pub(crate) const EXAMPLES: &str = "ivshmem://0, ivshmem://?size=64M, its PCI address or the path of its file";

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = r"PCI\VEN_1AF4&DEV_1110&SUBSYS_11001AF4&REV_01\3&11583659&0&88";
    const INTERFACE: &str =
        r"\\?\PCI#VEN_1AF4&DEV_1110&SUBSYS_11001AF4&REV_01#3&11583659&0&88#{df576976-569d-4672-95a0-f57e4ea0b210}";

    fn address(text: &str) -> Device {
        Device::Address(text.into())
    }

    fn table() -> Vec<(String, Device)> {
        let instance = Device::Instance(INSTANCE.into());
        let interface = Device::Interface(INTERFACE.into());
        let mut table = vec![
            (INSTANCE.into(), instance.clone()),
            (INSTANCE.replace('\\', "/"), instance.clone()),
            (INSTANCE.replace('\\', "%5C").replace('&', "%26"), instance),
            (INTERFACE.into(), interface.clone()),
            (INTERFACE.replace('\\', "/"), interface.clone()),
            (INTERFACE.replace('#', "%23").replace('{', "%7b").replace('}', "%7D"), interface),
        ];
        let short: [(&str, Device); 20] = [
            ("", Device::Only),
            ("0", Device::Index(0)),
            ("17", Device::Index(17)),
            ("4294967295", Device::Index(u32::MAX)),
            ("?size=64M", Device::Size(64 << 20)),
            ("?size=67108864", Device::Size(64 << 20)),
            ("%3Fsize=8192k", Device::Size(8 << 20)),
            ("?size=1G", Device::Size(1 << 30)),
            ("?size=5000001", Device::Size(5_000_001)),
            ("0000:00:04.0", address("0000:00:04.0")),
            ("00:1F.7", address("0000:00:1f.7")),
            ("10000:e1:00.0", address("10000:e1:00.0")),
            ("/dev/kvmfr0", Device::File("/dev/kvmfr0".into())),
            ("/dev/shm/a%20b%25", Device::File("/dev/shm/a b%".into())),
            ("/sys/bus/pci/devices/0000:00:04.0", Device::File("/sys/bus/pci/devices/0000:00:04.0".into())),
            ("//dev/uio0", Device::File("//dev/uio0".into())),
            (r"pci\ven_1af4", Device::Instance(r"pci\ven_1af4".into())),
            (r"\\.\PCI#VEN_1AF4", Device::Interface(r"\\.\PCI#VEN_1AF4".into())),
            ("//./x", Device::Interface(r"\\.\x".into())),
            (r"\\?/x", Device::Interface(r"\\?\x".into())),
        ];
        table.extend(short.map(|(text, device)| (text.into(), device)));
        table
    }

    #[test]
    fn each_form_of_a_name_is_read() {
        for (text, device) in table() {
            assert_eq!(Device::parse(&text), Some(device), "{text}");
        }
    }

    #[test]
    fn text_that_names_no_device_is_refused() {
        let numbers = "x -1 +1 4294967296 ?size= ?size=0 ?size=M ?size=+1 ?size=64MB ?size=1T ?other=1 \
             ?size=18446744073709551615K";
        let names = r"/ // //?/ \\.\ \\server\share PCI PCI\ USB\VID_1AF4\1";
        let addresses = "00:04 00:20.0 00:04.8 0:4.0 000:00:04.0 00:0g.0 +000:00:04.0";
        let escapes = "a% /a%5 /a%5g /a%+5 /a%00 /a%ff /a%\u{e9}";
        let bad = [numbers, names, addresses, escapes].map(str::split_whitespace).into_iter().flatten();
        for text in bad {
            assert_eq!(Device::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_text_of_a_device_parses_to_the_same_device() {
        for (_, device) in table() {
            let text = device.to_string();
            assert_eq!(Device::parse(&text), Some(device), "{text}");
            let allowed = |byte: u8| byte.is_ascii_graphic() && !br#"\#{}<>"^`|"#.contains(&byte);
            assert!(text.bytes().all(allowed), "{text}");
        }
        assert_eq!(Device::Size(64 << 20).to_string(), "?size=64M");
        assert_eq!(Device::Size(5_000_001).to_string(), "?size=5000001");
        let interface = Device::Interface(r"\\?\PCI#a&b#{c}".into());
        assert_eq!(interface.to_string(), "%5C%5C%3F%5CPCI%23a&b%23%7Bc%7D");
    }
}
