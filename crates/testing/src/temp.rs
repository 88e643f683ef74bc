//! Names that no other test uses, removed at drop.

use std::fs::OpenOptions;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Process id and a number that no other name of this process has.
fn unique() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn remove(path: &Path) {
    if std::fs::remove_file(path).is_err() {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Name of a region that no other test uses. A file that is left at it is removed at drop.
///
/// It is a path in `/dev/shm` on Linux and a `winshm://` name on Windows, and dereferences to that text.
#[derive(Debug)]
pub struct TempRegion(String);

impl TempRegion {
    /// A new name; nothing is created.
    #[expect(clippy::new_without_default, reason = "two values are never equal")]
    pub fn new() -> Self {
        let parent = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
        Self(format!("{parent}shm2-test-{}", unique()))
    }

    /// Path of the region's file; on Windows no such file exists.
    pub fn path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The name with its scheme, `shm://` or `winshm://`.
    pub fn uri(&self) -> String {
        if cfg!(windows) { self.0.clone() } else { format!("shm://{}", self.0) }
    }

    /// Whether the region has a file. Always false on Windows: a section's name goes with its last user.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Truncates or extends the region's file.
    pub fn set_len(&self, bytes: u64) {
        OpenOptions::new().write(true).open(self.path()).unwrap().set_len(bytes).unwrap();
    }

    /// The number of the region's file, which tells a kept file from a new one.
    #[cfg(unix)]
    pub fn inode(&self) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(self.path()).unwrap())
    }
}

impl Deref for TempRegion {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for TempRegion {
    fn drop(&mut self) {
        remove(self.path());
    }
}

/// Path in the directory for temporary files that no other test uses, for a socket, a file or a directory. What is left
/// there is removed at drop, a directory with its content.
#[derive(Debug)]
pub struct TempPath(PathBuf);

impl TempPath {
    /// A new path whose name contains `what`; nothing is created.
    pub fn new(what: &str) -> Self {
        Self(std::env::temp_dir().join(format!("shm2-test-{what}-{}", unique())))
    }

    /// The path as text.
    ///
    /// # Panics
    /// When the directory for temporary files has a name that is not UTF-8.
    pub fn text(&self) -> &str {
        self.0.to_str().expect("a UTF-8 path")
    }
}

impl Deref for TempPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for TempPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<std::ffi::OsStr> for TempPath {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.0.as_os_str()
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_what_is_left_at_them_is_removed() {
        let (file, directory) = (TempPath::new("file"), TempPath::new("directory"));
        assert_ne!(&*file, &*directory);
        std::fs::write(&file, b"x").unwrap();
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("inner"), b"x").unwrap();
        let paths = [file.to_path_buf(), directory.to_path_buf()];
        drop((file, directory));
        assert!(paths.iter().all(|path| !path.exists()));
    }
}
