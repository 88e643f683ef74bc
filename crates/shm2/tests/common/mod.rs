//! What several tests need.

#![allow(dead_code)]

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A region name that no other test uses; whatever is left there goes away with it.
pub struct Name(String);

impl Name {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
        Self(format!("{place}shm2-test-{}-{number}", std::process::id()))
    }

    pub fn path(&self) -> &Path {
        Path::new(&self.0)
    }

    pub fn path_buf(&self) -> PathBuf {
        self.0.clone().into()
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Of several threads that make a producer at the same moment, what those got that could.
pub fn contest<E: Send>(create: impl Fn() -> Result<shm2::Producer, E> + Sync) -> Vec<shm2::Producer> {
    let start = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        let attempt = || {
            start.wait();
            create().ok()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}

/// Says that a test is not run, and why: for whoever looks at this test, and in the file that `cargo xtask test` shows.
pub fn skip(why: &str) {
    println!("skipped: {why}");
    if let Some(file) = std::env::var_os("SHM2_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("skipped: {why}\n").as_bytes()));
    }
}
