//! `shm-path`: how a region is named. One grammar for every program.
//!
//! | text | region |
//! |---|---|
//! | `shm:///dev/shm/NAME`, `/dev/shm/NAME` | a file on Linux |
//! | `winshm://Local/NAME`, `winshm://Global/NAME` | a named section on Windows |
//! | `ivshmem://...` | a PCI device's memory in a virtual machine |

use crate::error::SpecError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A parsed region name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    path: PathBuf,
}

impl Spec {
    /// The region's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl From<&Spec> for Spec {
    fn from(spec: &Spec) -> Self {
        spec.clone()
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shm://")?;
        for byte in self.path.to_string_lossy().bytes() {
            // Characters of a path in RFC 3986.
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => write!(f, "{}", char::from(byte))?,
                _ if b"/-._~!$&'()*+,;=:@".contains(&byte) => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text.split_once("://") {
            None => file(text, text.to_owned()),
            Some(("shm", rest)) => file(text, unescape(rest).ok_or_else(|| SpecError::BadCharacter(text.into()))?),
            Some(("winshm", rest)) => Err(elsewhere(text, rest, "Windows named sections")),
            Some(("ivshmem", _)) => Err(unsupported(text, "the ivshmem backend")),
            Some((scheme, _)) => Err(SpecError::UnknownScheme { scheme: scheme.into(), spec: text.into() }),
        }
    }
}

fn file(text: &str, path: String) -> Result<Spec, SpecError> {
    if path.is_empty() || path.bytes().all(|b| b == b'/') {
        return Err(SpecError::Empty(text.into()));
    }
    if path.contains('\0') {
        return Err(SpecError::BadCharacter(text.into()));
    }
    if !path.starts_with('/') {
        // shm://dev/shm/name has one slash too few; a name alone would end up in the root directory.
        return if text.contains("://") && path.contains('/') {
            Ok(Spec { path: format!("/{path}").into() })
        } else {
            Err(SpecError::NotAbsolute(text.into()))
        };
    }
    Ok(Spec { path: path.into() })
}

fn elsewhere(text: &str, rest: &str, needs: &'static str) -> SpecError {
    if rest.is_empty() { SpecError::Empty(text.into()) } else { unsupported(text, needs) }
}

fn unsupported(text: &str, needs: &'static str) -> SpecError {
    SpecError::Unsupported { spec: text.into(), needs, os: std::env::consts::OS }
}

/// Resolves `%2F` and the like; `None` when an escape is broken or the result is not UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> String {
        text.parse::<Spec>().unwrap().path().display().to_string()
    }

    #[test]
    fn one_region_has_several_names() {
        assert_eq!(path("/dev/shm/x"), "/dev/shm/x");
        assert_eq!(path("shm:///dev/shm/x"), "/dev/shm/x");
        assert_eq!(path("shm://dev/shm/x"), "/dev/shm/x");
        assert_eq!(path("shm:///dev/shm/a%20b"), "/dev/shm/a b");
    }

    #[test]
    fn a_name_survives_its_own_text() {
        let spec: Spec = "/dev/shm/50%25 off?\u{e4}#1".parse().unwrap();
        assert_eq!(spec.to_string(), "shm:///dev/shm/50%2525%20off%3F%C3%A4%231");
        assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
    }

    #[test]
    fn bad_names_have_their_own_errors() {
        let error = |text: &str| text.parse::<Spec>().unwrap_err();
        assert!(matches!(error(""), SpecError::Empty(_)));
        assert!(matches!(error("shm://"), SpecError::Empty(_)));
        assert!(matches!(error("shm:///"), SpecError::Empty(_)));
        assert!(matches!(error("winshm://"), SpecError::Empty(_)));
        assert!(matches!(error("winshm://Local/x"), SpecError::Unsupported { .. }));
        assert!(matches!(error("http://x"), SpecError::UnknownScheme { .. }));
        assert!(matches!(error("relative"), SpecError::NotAbsolute(_)));
        assert!(matches!(error("shm://name"), SpecError::NotAbsolute(_)));
        assert!(matches!(error("shm:///a%0"), SpecError::BadCharacter(_)));
        assert!(matches!(error("shm:///a%00"), SpecError::BadCharacter(_)));
        assert!(matches!(error("/a\0b"), SpecError::BadCharacter(_)));
    }
}
