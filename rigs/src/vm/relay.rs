//! The relay in a guest with a camera (vivid) and vsock: the camera is open only while a client is connected.

use super::{expect_all, guest::Guest};
use std::time::Duration;
use xtask::Outcome;

/// What `camera.sh` must print.
const EXPECTED: &[&str] = &[
    "--activate video-device:/dev/video0: it is no video device that reports its readers",
    "OPEN without clients: 0",
    "OPEN tcp: 1",
    "OPEN after tcp: 0",
    "OPEN vsock: 1",
    "UNPLUGGED: 0",
    "PLUGGED AGAIN: 1",
    "OPEN after vsock: 0",
    "relay ended with 0",
];

pub fn camera(guest: &mut Guest) -> Outcome {
    let output = guest.run("camera.sh", Duration::from_secs(300))?;
    print!("{output}");
    expect_all(&output, EXPECTED)
}
