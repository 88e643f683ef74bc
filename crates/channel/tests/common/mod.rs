//! Socket paths and listeners for the tests.

use shm2_channel::duplex::{Listener, Options};
use shm2_testing::TempPath;
use std::time::Duration;

pub const LONG: Option<Duration> = Some(Duration::from_secs(20));
pub const CAPACITY: usize = 64;

/// A path for a socket that no other test uses. Removed when dropped.
pub struct SocketPath(pub TempPath);

impl SocketPath {
    pub fn new() -> Self {
        Self(TempPath::new("duplex"))
    }

    pub fn listener<T: shm2_channel::Element>(&self) -> Listener<T> {
        Listener::bind(&self.0, Options::new(CAPACITY).descriptors(true)).unwrap()
    }
}
