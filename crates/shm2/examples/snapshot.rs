//! Reads copies of frames, which needs no write permission: `cargo run -p shm2 --example snapshot`

use shm2::{Access, Consumer, OnProducerExit, ReceiveError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut consumer = Consumer::builder("shm:///dev/shm/shm2-example")?
        .access(Access::Snapshot)
        .latest_only(true)
        .on_producer_exit(OnProducerExit::EndOfStream)
        .build();
    loop {
        match consumer.next(None) {
            Ok(frame) => println!("{}: {}", frame.sequence(), String::from_utf8_lossy(&frame.to_vec())),
            Err(ReceiveError::EndOfStream) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
