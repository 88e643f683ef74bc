//! A listener, and limits.

use shm2_channel::duplex::{Listener, Options};
use shm2_testing::TempPath;
use std::time::Duration;

pub const LONG: Option<Duration> = Some(Duration::from_secs(20));
pub const CAPACITY: usize = 64;

pub fn listener<T: shm2_channel::Element>(path: &TempPath) -> Listener<T> {
    Listener::bind(path, Options::new(CAPACITY).descriptors(true)).unwrap()
}
