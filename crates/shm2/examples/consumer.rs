//! Reads frames in place; any number of these processes can run: `cargo run -p shm2 --example consumer`

use shm2::{Consumer, ReceiveError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut consumer = Consumer::new("shm:///dev/shm/shm2-example")?; // the producer may start later
    loop {
        match consumer.next(None) {
            Ok(frame) => {
                let text = String::from_utf8_lossy(&frame.to_vec()).into_owned();
                println!("{} ({} missed before it): {text}", frame.sequence(), frame.missed());
            } // the frame is dropped here, and the producer can reuse its memory
            Err(ReceiveError::EndOfStream) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
