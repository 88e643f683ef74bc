//! Names of regions by a pattern: a folder, and a file name with `*` and `?`.

use std::path::{Path, PathBuf};

/// A folder, and a pattern of file names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    folder: PathBuf,
    name: String,
}

impl Pattern {
    /// Reads a pattern such as `/dev/shm/cam-*`. `None` if the path is not absolute, has no file name, or a star in its
    /// folder.
    pub fn new(text: &str) -> Option<Self> {
        let path = Path::new(text);
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let is_one = path.is_absolute() && !folder.to_str()?.contains(['*', '?']);
        is_one.then(|| Self { folder: folder.into(), name: name.into() })
    }

    /// The region's path for a mount's path such as `/cam-1`, if its name matches.
    pub fn region(&self, mount: &str) -> Option<String> {
        let name = mount.strip_prefix('/')?;
        // As in a path of a mount that is given. Others could not be told apart from the syntax of addresses and pipelines.
        let is_name = !name.is_empty() && name.bytes().all(is_plain) && name != "." && name != "..";
        let path = self.folder.join(name).to_str()?.to_owned();
        (is_name && matches(self.name.as_bytes(), name.as_bytes())).then_some(path)
    }
}

/// Whether a byte may be part of a mount's path, beside the slash.
pub fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

/// Whether a name matches. Only the last `*` is tried again, which is enough and takes no longer than both lengths
/// multiplied.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut next, mut star) = (0, 0, None);
    while next < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, next));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[next] => (at, next) = (at + 1, next + 1),
            _ => {
                let Some((star_at, covered)) = star else { return false };
                star = Some((star_at, covered + 1));
                (at, next) = (star_at + 1, covered + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_a_region_whose_name_matches() {
        let pattern = Pattern::new("/dev/shm/cam-*").unwrap();
        assert_eq!(pattern.region("/cam-1").as_deref(), Some("/dev/shm/cam-1"));
        for other in [
            "/came-1",
            "/cam",
            "cam-1",
            "/cam-1/x",
            "/",
            "",
            "/..",
            "/cam-\\",
            "/cam-\"!fakesink",
            "/cam-\u{fffd}",
            "/cam-%31",
        ] {
            assert_eq!(pattern.region(other), None, "{other}");
        }
        let any = Pattern::new("/dev/shm/*").unwrap();
        assert!(any.region("/x").is_some() && any.region("/..").is_none() && any.region("/../etc").is_none());
        assert_eq!([Pattern::new("cam-*"), Pattern::new("/dev/*/cam")], [None, None]);
    }

    #[test]
    fn stars_and_question_marks_match() {
        for (pattern, name) in [("*", ""), ("a*b*c", "aXbbc"), ("?a", "ba"), ("a**", "a"), ("*.h264", "x.h264")] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("?", ""), ("a*b", "a"), ("a", "ab"), ("a*bc", "abcd")] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }
}
