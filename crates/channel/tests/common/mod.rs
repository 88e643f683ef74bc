//! Where clients and servers meet.

use shm2_channel::duplex::{Listener, Options};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub const LONG: Option<Duration> = Some(Duration::from_secs(20));
pub const CAPACITY: usize = 64;

/// A socket's path that no other test uses.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("shm2-test-duplex-{}-{number}", std::process::id())))
    }

    pub fn listener<T: shm2_channel::Element>(&self) -> Listener<T> {
        Listener::bind(&self.0, Options::new(CAPACITY).descriptors(true)).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
