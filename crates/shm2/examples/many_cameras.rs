//! One thread that receives from any number of cameras, and counts: `cargo run -p shm2 --example many_cameras -- REGION...`
//!
//! Cameras may be started later, killed, and started again. The program ends when each has ended its stream. The page
//! docs/tutorials/many-cameras.md uses it.

use shm2::consumer::Change;
use shm2::wait_set::Token;
use shm2::{Consumer, Frame, ReceiveError, WaitSet};
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

/// What is known of a camera.
#[derive(Default)]
struct Camera {
    name: String,
    frames: u64,
    missed: u64,
    /// Sum of the first bytes of all frames: stands for the work on a picture.
    work: u64,
}

impl Camera {
    /// The frame is dropped at the end: its memory goes back to the camera.
    fn receive(&mut self, frame: &Frame) {
        let mut first = [0; 64];
        let length = first.len().min(frame.len());
        if frame.read_at(0, &mut first[..length]) {
            self.work += first.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
        self.frames += 1;
        self.missed += frame.missed();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut set = WaitSet::new();
    let mut cameras = HashMap::new();
    for name in std::env::args().skip(1) {
        let token = set.add(consumer(&name)?)?;
        cameras.insert(token, Camera { name, ..Camera::default() });
    }
    while !set.is_empty() {
        match set.next(Some(Duration::from_secs(10))) {
            Some(ready) => match ready.frame {
                Ok(frame) => cameras.entry(ready.token).or_default().receive(&frame),
                Err(ReceiveError::EndOfStream) => end(&mut set, ready.token, &cameras),
                // A camera with a broken region: the set asks it again in 250 ms, for its next region.
                Err(error) => println!("{error}"),
            },
            None => println!("no camera has sent anything for ten seconds"),
        }
    }
    Ok(())
}

/// A consumer that tells when its camera comes and goes.
fn consumer(name: &str) -> Result<Consumer, shm2::SpecError> {
    let mut consumer = Consumer::new(name)?;
    let name = name.to_owned();
    consumer.observe(move |change| match change {
        Change::Attached { .. } => println!("{name}: came"),
        Change::Detached => println!("{name}: went"),
        _ => {}
    });
    Ok(consumer)
}

/// Takes a camera that has ended its stream out of the set.
fn end(set: &mut WaitSet, token: Token, cameras: &HashMap<Token, Camera>) {
    let Some(consumer) = set.remove(token) else { return };
    if let Some(Camera { name, frames, missed, work }) = cameras.get(&token) {
        let producers = consumer.stats().attaches;
        println!("{name}: ended, {frames} frames of {producers} producers, {missed} missed, work {work}");
    }
}
