//! Names of regions (`shm-path`). One grammar for every program.
//!
//! | text | region |
//! |---|---|
//! | `shm:///dev/shm/NAME`, `/dev/shm/NAME` | a file on Linux |
//! | `winshm://Local/NAME`, `winshm://Global/NAME` | a named section on Windows |
//! | `ivshmem://...` | a PCI device's memory in a virtual machine; see [`Device`] |
//!
//! On Windows a name without a scheme is a section's: `NAME`, `Local\NAME`, `Global\NAME`.

mod escape;
pub mod ivshmem;
pub(crate) mod temporary;

use escape::{decode, decode_path, encode};
use ivshmem::{Cache, Device};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A parsed region name.
///
/// ```
/// use shm2::{Spec, error::SpecError};
///
/// # #[cfg(not(windows))] {
/// let spec: Spec = "shm:///dev/shm/front%20door".parse()?;
/// assert_eq!(spec.path().to_str(), Some("/dev/shm/front door"));
/// assert_eq!(spec.to_string(), "shm:///dev/shm/front%20door");
/// assert!(matches!("camera".parse::<Spec>(), Err(SpecError::NotAbsolute(_))));
/// # }
/// assert!("ivshmem://?size=64M".parse::<Spec>()?.is_device());
/// # Ok::<(), SpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    path: PathBuf,
    target: Target,
}

/// The memory that a name refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    File,
    Section(Section),
    Device(Device, Cache),
}

/// A named section of Windows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Section {
    /// Visible in every session of Windows, not only in the session of its producer.
    pub(crate) global: bool,
    pub(crate) name: String,
}

/// Longest name of a section, in UTF-16 units. The system allows 260, and each of a region's objects has a longer name.
const LONGEST_SECTION: usize = 180;

impl Spec {
    /// The region's file, or the whole name for a section or a device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(not(miri))]
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the region is a device's memory. Another kernel may share it, so locks and wake-ups do not reach all
    /// peers.
    pub fn is_device(&self) -> bool {
        matches!(self.target, Target::Device(..))
    }

    /// The name of an existing file.
    pub(crate) fn of_file(path: PathBuf) -> Self {
        Self { path, target: Target::File }
    }

    fn of_section(section: Section) -> Self {
        let path = format!("winshm://{}/{}", if section.global { "Global" } else { "Local" }, section.name);
        Self { path: path.into(), target: Target::Section(section) }
    }

    fn of_device(device: Device, cache: Cache) -> Self {
        let name = format!("ivshmem://{device}");
        let suffix = cache.suffix(&name);
        Self { path: (name + &suffix).into(), target: Target::Device(device, cache) }
    }
}

impl From<&Spec> for Spec {
    fn from(spec: &Spec) -> Self {
        spec.clone()
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.target != Target::File {
            return write!(f, "{}", self.path.display());
        }
        f.write_str("shm://")?;
        encode(&self.path).fmt(f)
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let bad = || SpecError::BadCharacter(text.into());
        match text.split_once("://") {
            None if cfg!(windows) => section(text, text),
            None => file(text, text.into()),
            Some(("shm", rest)) if cfg!(windows) => Err(elsewhere(text, rest, "files of Linux")),
            Some(("shm", rest)) => file(text, decode_path(rest).ok_or_else(bad)?),
            Some(("winshm", rest)) if cfg!(windows) => section(text, &decode(rest).ok_or_else(bad)?),
            Some(("winshm", rest)) => Err(elsewhere(text, rest, "Windows named sections")),
            Some(("ivshmem", rest)) => device(text, rest),
            Some((scheme, _)) => Err(SpecError::UnknownScheme { scheme: scheme.into(), spec: text.into() }),
        }
    }
}

fn file(text: &str, path: OsString) -> Result<Spec, SpecError> {
    let bytes = path.as_encoded_bytes();
    if bytes.iter().all(|b| *b == b'/') {
        return Err(SpecError::Empty(text.into()));
    }
    if bytes.contains(&0) {
        return Err(SpecError::BadCharacter(text.into()));
    }
    if bytes.ends_with(b"/") {
        return Err(SpecError::Directory(text.into()));
    }
    if !bytes.starts_with(b"/") {
        // `shm://dev/shm/name` has one slash too few. A name without a directory would be a file in the root directory.
        return if text.contains("://") && bytes.contains(&b'/') {
            Ok(Spec::of_file(Path::new("/").join(path)))
        } else {
            Err(SpecError::NotAbsolute(text.into()))
        };
    }
    Ok(Spec::of_file(path.into()))
}

/// `Local/NAME`, `Global/NAME` or `NAME`, with either slash.
fn section(text: &str, name: &str) -> Result<Spec, SpecError> {
    let (global, name) = match name.split_once(['/', '\\']) {
        None => (false, name),
        Some(("Local", name)) => (false, name),
        Some(("Global", name)) => (true, name),
        Some(_) => return Err(SpecError::BadSection(text.into())),
    };
    if name.is_empty() {
        return Err(SpecError::Empty(text.into()));
    }
    let characters = name.encode_utf16().count();
    if name.contains(['/', '\\', '\0']) || characters > LONGEST_SECTION {
        return Err(SpecError::BadSection(text.into()));
    }
    Ok(Spec::of_section(Section { global, name: name.into() }))
}

fn device(text: &str, rest: &str) -> Result<Spec, SpecError> {
    let bad = || SpecError::BadDevice(text.into());
    let (rest, cache) = Cache::split(rest).ok_or_else(bad)?;
    match Device::parse(rest).ok_or_else(bad)? {
        Device::Interface(_) | Device::Instance(_) if !cfg!(windows) => Err(unsupported(text, "a Windows guest")),
        Device::Address(_) | Device::File(_) if cfg!(windows) => Err(unsupported(text, "a Linux guest")),
        device => Ok(Spec::of_device(device, cache)),
    }
}

fn elsewhere(text: &str, rest: &str, needs: &'static str) -> SpecError {
    if rest.is_empty() { SpecError::Empty(text.into()) } else { unsupported(text, needs) }
}

fn unsupported(text: &str, needs: &'static str) -> SpecError {
    let example = if text.starts_with("ivshmem") { "ivshmem://0" } else { EXAMPLE };
    SpecError::Unsupported { spec: text.into(), needs, os: std::env::consts::OS, example }
}

/// A name that works on this system.
pub(crate) const EXAMPLE: &str = if cfg!(windows) { "winshm://Local/NAME" } else { "shm:///dev/shm/NAME" };

/// Why a region's name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// There is no text after the scheme.
    #[error("the region name {0:?} is empty: write for example {example}", example = EXAMPLE)]
    Empty(String),
    /// The scheme is not known.
    #[error("the scheme {scheme:?} of {spec:?} is not known: use {example}", example = EXAMPLE)]
    UnknownScheme {
        /// The text before `://`.
        scheme: String,
        /// The whole text.
        spec: String,
    },
    /// This build does not support the scheme.
    #[error("{spec:?} needs {needs}, which this build for {os} does not have: use {example} here")]
    Unsupported {
        /// The whole text.
        spec: String,
        /// What the name requires.
        needs: &'static str,
        /// The operating system of this build.
        os: &'static str,
        /// A name that works here.
        example: &'static str,
    },
    /// The text is no name of a section.
    #[error(
        "{0:?} is no name of a section: write winshm://Local/NAME or winshm://Global/NAME, NAME without slashes and of \
         at most 180 characters"
    )]
    BadSection(String),
    /// The text is no name of a device.
    #[error(
        "{0:?} names no ivshmem device: write ivshmem:// for the only one, ivshmem://0 for the first, \
         ivshmem://?size=64M for the one of that size, ivshmem://0000:00:04.0 or ivshmem:///dev/kvmfr0 (any file) on \
         Linux, ivshmem://PCI/VEN_... on Windows; ?cache= takes full, combined or none"
    )]
    BadDevice(String),
    /// The name has a zero byte or an invalid percent escape.
    #[error("the region name {0:?} has a zero byte or an invalid %-escape: write %25 for a percent sign")]
    BadCharacter(String),
    /// The name ends with a slash.
    #[error("{0:?} ends with a slash, so it names a directory: write a file's name, such as {example}", example = EXAMPLE)]
    Directory(String),
    /// The name has no directory, so it is ambiguous.
    #[error("{0:?} is not an absolute path: write shm:///dev/shm/NAME")]
    NotAbsolute(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn path(text: &str) -> String {
        text.parse::<Spec>().unwrap().path().display().to_string()
    }

    #[cfg(unix)]
    #[test]
    fn one_region_has_several_names() {
        assert_eq!(path("/dev/shm/x"), "/dev/shm/x");
        assert_eq!(path("shm:///dev/shm/x"), "/dev/shm/x");
        assert_eq!(path("shm://dev/shm/x"), "/dev/shm/x");
        assert_eq!(path("shm:///dev/shm/a%20b"), "/dev/shm/a b");
    }

    #[cfg(unix)]
    #[test]
    fn the_text_of_a_name_parses_to_the_same_name() {
        let spec: Spec = "/dev/shm/50%25 off?\u{e4}#1".parse().unwrap();
        assert_eq!(spec.to_string(), "shm:///dev/shm/50%2525%20off%3F%C3%A4%231");
        assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf_8_has_a_name() {
        use std::os::unix::ffi::OsStrExt;
        let spec: Spec = "shm:///dev/shm/%ff%C3x".parse().unwrap();
        assert_eq!(spec.path().as_os_str().as_bytes(), b"/dev/shm/\xff\xc3x");
        assert_eq!(spec.to_string(), "shm:///dev/shm/%FF%C3x");
        assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
    }

    #[cfg(unix)]
    #[test]
    fn bad_names_have_their_own_errors() {
        let error = |text: &str| text.parse::<Spec>().unwrap_err();
        assert!(matches!(error(""), SpecError::Empty(_)));
        assert!(matches!(error("shm://"), SpecError::Empty(_)));
        assert!(matches!(error("shm:///"), SpecError::Empty(_)));
        assert!(matches!(error("winshm://"), SpecError::Empty(_)));
        assert!(matches!(error("winshm://Local/x"), SpecError::Unsupported { .. }));
        assert!(matches!(error("http://x"), SpecError::UnknownScheme { .. }));
        assert!(matches!(error("/dev/shm/x/"), SpecError::Directory(_)));
        assert!(matches!(error("shm:///dev/shm/x//"), SpecError::Directory(_)));
        assert!(matches!(error("relative"), SpecError::NotAbsolute(_)));
        assert!(matches!(error("shm://name"), SpecError::NotAbsolute(_)));
        assert!(matches!(error("shm:///a%0"), SpecError::BadCharacter(_)));
        assert!(matches!(error("shm:///a%00"), SpecError::BadCharacter(_)));
        assert!(matches!(error("/a\0b"), SpecError::BadCharacter(_)));
    }

    #[test]
    fn device_names_are_parsed_on_the_system_that_has_them() {
        let parse = |text: &str| text.parse::<Spec>();
        for text in [
            "ivshmem://",
            "ivshmem://0",
            "ivshmem://?size=64M",
            "ivshmem://?size=64M&cache=none",
            "ivshmem://0?cache=full",
        ] {
            let spec = parse(text).unwrap();
            assert!(spec.is_device());
            assert_eq!(parse(&spec.to_string()).unwrap(), spec);
        }
        for text in ["ivshmem://nonsense", "ivshmem://0?cache=much", "ivshmem://0cache=none", "ivshmem://?size=0"] {
            assert!(matches!(parse(text), Err(SpecError::BadDevice(_))), "{text}");
        }
        let linux = ["ivshmem://0000:00:04.0", "ivshmem:///sys/bus/pci/devices/0000:00:04.0", "ivshmem:///dev/kvmfr0"];
        let windows = ["ivshmem://PCI\\VEN_1AF4&DEV_1110\\3&11583659&0&88", "ivshmem://\\\\?\\PCI#VEN_1AF4#3&1#{df57}"];
        let (here, there) = if cfg!(windows) { (&windows[..], &linux[..]) } else { (&linux[..], &windows[..]) };
        for text in here {
            let spec = parse(text).unwrap();
            assert_eq!(parse(&spec.to_string()).unwrap(), spec, "{spec}");
        }
        for text in there {
            assert!(matches!(parse(text), Err(SpecError::Unsupported { .. })), "{text}");
        }
    }

    #[cfg(windows)]
    #[test]
    fn one_section_has_several_names() {
        let path = |text: &str| text.parse::<Spec>().unwrap().to_string();
        for text in ["winshm://Local/x", "winshm://Local\\x", "winshm://x", "x", "Local\\x", "Local/x"] {
            assert_eq!(path(text), "winshm://Local/x");
        }
        assert_eq!(path("Global\\x"), "winshm://Global/x");
        let error = |text: &str| text.parse::<Spec>().unwrap_err();
        assert!(matches!(error("winshm://"), SpecError::Empty(_)));
        assert!(matches!(error("winshm://Local/"), SpecError::Empty(_)));
        assert!(matches!(error("winshm://Session/x"), SpecError::BadSection(_)));
        assert!(matches!(error("winshm://Local/a/b"), SpecError::BadSection(_)));
        assert!(matches!(error("winshm://Local/a%00b"), SpecError::BadSection(_)));
        assert!(matches!(error(&"x".repeat(181)), SpecError::BadSection(_)));
        assert!(matches!(error("shm:///dev/shm/x"), SpecError::Unsupported { .. }));
        assert!(matches!(error("http://x"), SpecError::UnknownScheme { .. }));
    }
}
