//! Publishes a counter ten times a second: `cargo run -p shm2 --example producer`

use shm2::{FrameInfo, Producer};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut producer = Producer::builder("shm:///dev/shm/shm2-example")?.size(8 << 20).create()?;
    producer.set_caps(b"text/plain")?;
    println!("publishing to {}", producer.path().display());
    for number in 0..100u64 {
        let text = format!("frame {number}");
        let mut slot = producer.reserve(text.len())?; // memory of the region
        slot.write_at(0, text.as_bytes())?; // filled in place
        producer.publish(slot, &FrameInfo::new().with_pts(number * 100_000_000))?;
        std::thread::sleep(Duration::from_millis(100));
    }
    producer.end_of_stream()?;
    producer.drain(Duration::from_secs(1));
    Ok(())
}
