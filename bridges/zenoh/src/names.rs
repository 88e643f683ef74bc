//! Names of hosts and regions as keys of zenoh, and patterns of regions.
//!
//! The key of a region is `shm2/HOST/REGION`. REGION is the path below the folder of the regions, so a folder in it is
//! one more part of the key. What a key must not hold (`*`, `$`, `?`, `#`, a leading `@`) and what a path of a local
//! region must not be made of is written as `%` and two hexadecimal digits.

use std::path::{Component, Path, PathBuf};

/// First part of all keys.
pub const PREFIX: &str = "shm2";
/// Longest name of a host or a region that this program accepts, in bytes.
const LONGEST: usize = 200;

/// A region of a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The host's name, escaped.
    pub host: String,
    /// Path of the region below its folder, escaped.
    pub region: String,
}

impl Address {
    /// Parses `HOST/REGION`, as `shm2_zenoh list` prints it.
    ///
    /// # Errors
    /// A sentence with the value in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not HOST/REGION: `shm2_zenoh list` shows the names");
        let (host, region) = text.split_once('/').ok_or_else(wrong)?;
        Self::of_parts(host, region).ok_or_else(wrong)
    }

    /// From a key that another host has declared; `None` if it is no valid name.
    pub fn of_key(key: &str) -> Option<Self> {
        let (host, region) = key.strip_prefix(PREFIX)?.strip_prefix('/')?.split_once('/')?;
        Self::of_parts(host, region)
    }

    fn of_parts(host: &str, region: &str) -> Option<Self> {
        let is_valid = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain) && !part.starts_with('@')
        };
        let fits = host.len() <= LONGEST && region.len() <= LONGEST;
        let is_name = fits && is_valid(host) && region.split('/').all(is_valid);
        is_name.then(|| Self { host: host.into(), region: region.into() })
    }

    /// Its key.
    pub fn key(&self) -> String {
        format!("{PREFIX}/{}/{}", self.host, self.region)
    }

    /// Path of the local region below `folder`: both names joined by a full stop, so that hosts do not mix.
    pub fn local_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.{}", self.host, self.region.replace('/', ".")))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.region)
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-+=,:~%@()[]{}!".contains(c)
}

/// One part of a key: everything that is not plain is escaped.
pub fn escape(part: &str) -> String {
    let mut escaped = String::new();
    for (index, c) in part.char_indices() {
        if is_plain(c) && c != '%' && (c != '@' || index > 0) {
            escaped.push(c);
        } else {
            c.to_string().bytes().for_each(|byte| escaped += &format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The name under which a region below `folder` is published; `None` for a path elsewhere, or not of UTF-8.
pub fn region_name(path: &Path, folder: &Path) -> Option<String> {
    let below = path.strip_prefix(folder).ok()?;
    let parts = below.components().map(|part| match part {
        Component::Normal(part) => part.to_str().map(escape),
        _ => None,
    });
    let name = parts.collect::<Option<Vec<_>>>()?.join("/");
    (!name.is_empty() && name.len() <= LONGEST).then_some(name)
}

/// A name in which `*` stands for any characters.
#[derive(Debug, Clone)]
pub struct Pattern(String);

impl Pattern {
    /// Parses a pattern of names below `folder`: `camera-*`, or the path or the `shm://` name of one region.
    ///
    /// # Errors
    /// A sentence with the value in it.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let path = text.strip_prefix("shm://").unwrap_or(text);
        let name = match path.strip_prefix('/') {
            Some(_) => Path::new(path)
                .strip_prefix(folder)
                .ok()
                .and_then(Path::to_str)
                .ok_or_else(|| format!("{text:?} is not below {folder:?}: name a region there, or set --folder"))?,
            None => path,
        };
        if name.is_empty() || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("{text:?} names no region: write a name as camera, a pattern as 'camera-*', or '*'"));
        }
        Ok(Self(name.into()))
    }

    /// Whether a path below the folder fits.
    pub fn matches(&self, path: &Path, folder: &Path) -> bool {
        let name = path.strip_prefix(folder).ok().and_then(Path::to_str);
        name.is_some_and(|name| fits(&self.0, name))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Whether `name` fits `pattern`.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(begin) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place leaves the most for what follows.
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

/// This host's name.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = escape(name.trim());
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_names_that_it_should() {
        for (pattern, name, does) in [
            ("camera", "camera", true),
            ("camera", "camera2", false),
            ("*", "a/b", true),
            ("cam*", "camera", true),
            ("*-raw", "front-raw", true),
            ("c*m*a", "camera", true),
            ("c*x*a", "camera", false),
            ("c*m*a", "cama", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(fits(pattern, name), does, "{pattern} {name}");
        }
        let folder = Path::new("/dev/shm");
        assert!(Pattern::parse("shm:///dev/shm/x", folder).unwrap().matches(Path::new("/dev/shm/x"), folder));
        for wrong in ["", "/tmp/x", "/dev/shm", "a//b", "../x"] {
            assert!(Pattern::parse(wrong, folder).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_escaped_and_names_of_others_cannot_leave_the_folder() {
        assert_eq!(escape("@a*b $c%"), "%40a%2Ab%20%24c%25");
        let folder = Path::new("/dev/shm");
        assert_eq!(region_name(Path::new("/dev/shm/a b/c"), folder).as_deref(), Some("a%20b/c"));
        assert_eq!(region_name(Path::new("/tmp/x"), folder), None);
        let address = Address::parse("north/a/b").unwrap();
        assert_eq!(
            (address.key().as_str(), address.local_path(folder)),
            ("shm2/north/a/b", "/dev/shm/north.a.b".into())
        );
        for wrong in ["", "x", "/x", "x/", "x/../y", "x/a*", "x/@a", "x/a b", "../x", "x/a\nb"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Address::of_key("shm2/h/r").map(|a| a.to_string()).as_deref(), Some("h/r"));
        assert!(Address::of_key("other/h/r").is_none() && Address::of_key("shm2/h").is_none());
    }
}
