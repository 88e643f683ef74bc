//! Names of files that are being made: the name of the region, `.new-`, and 16 hexadecimal digits.
//!
//! A security policy may permit only names that begin with the region's, so a temporary name begins with it. It is
//! shortened where the name would be too long.

use std::ffi::OsStr;

const SUFFIX: &str = ".new-";
const DIGITS: usize = 16;
/// Longest name of a file, in bytes.
#[cfg(all(target_os = "linux", not(miri)))]
const LONGEST: usize = 255;

/// Whether this is the temporary name of some region.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    stem_of(name.as_encoded_bytes()).is_some()
}

/// What precedes the suffix.
fn stem_of(name: &[u8]) -> Option<&[u8]> {
    let (rest, digits) = name.split_at_checked(name.len().checked_sub(DIGITS)?)?;
    let is_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    rest.strip_suffix(SUFFIX.as_bytes()).filter(|stem| !stem.is_empty() && digits.iter().all(is_hex))
}

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use super::{DIGITS, LONGEST, SUFFIX, stem_of};
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    /// A temporary name for the region `name`.
    pub(crate) fn temporary(name: &OsStr, number: u64) -> OsString {
        let suffix = format!("{SUFFIX}{number:0DIGITS$x}");
        OsString::from_vec([shortened(name.as_bytes()), suffix.as_bytes()].concat())
    }

    /// Whether `name` is a temporary name of the region `of`.
    pub(crate) fn is_temporary_of(name: &OsStr, of: &OsStr) -> bool {
        stem_of(name.as_bytes()) == Some(shortened(of.as_bytes()))
    }

    /// As much of the name as a temporary name has. A character is not cut.
    fn shortened(name: &[u8]) -> &[u8] {
        let mut length = name.len().min(LONGEST - SUFFIX.len() - DIGITS);
        while name.get(length).is_some_and(|byte| byte & 0xc0 == 0x80) && length > 0 {
            length -= 1;
        }
        &name[..length]
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) use linux::{is_temporary_of, temporary};

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_begins_with_the_name_and_is_never_too_long() {
        let long = "a".repeat(255);
        let umlauts = format!("x{}", "\u{e4}".repeat(127));
        for name in ["cam", "snap.app.cam", &long, &umlauts].map(OsStr::new) {
            let made = temporary(name, 0xabc);
            let text = made.to_str().unwrap();
            assert!(made.len() <= 255 && text.ends_with(".new-0000000000000abc"), "{text}");
            let begin = text.split(".new-").next().unwrap();
            assert!(name.to_str().unwrap().starts_with(begin) && begin.len() >= name.len().min(233));
            assert!(
                is_temporary(&made) && is_temporary_of(&made, name) && !is_temporary_of(&made, OsStr::new("other"))
            );
        }
        for name in ["cam", "cam.new-", "cam.new-0123", "cam.new-0123456789abcdeg", ".new-0123456789abcdef", ""] {
            assert!(!is_temporary(OsStr::new(name)), "{name}");
        }
        assert!(!is_temporary_of(OsStr::new("cam2.new-0123456789abcdef"), OsStr::new("cam")));
    }
}
