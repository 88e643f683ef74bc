//! Receives a channel from `channel_server` and sends random numbers in batches. The server answers with the sum of
//! one or more batches.

use shm2_channel::Offer;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

const BATCHES: usize = 10;
const BATCH: usize = 100_000;
const LONG: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("channel_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/shm2-channel".into());
    let stream = UnixStream::connect(path)?;
    let mut channel = Offer::receive(&stream, Some(LONG))?.into_sender::<f64>()?;
    let mut random = std::process::id();
    let (mut sent, mut sum) = (0, 0.0);
    for _ in 0..BATCHES {
        channel.block_until_writable(BATCH, Some(LONG))?;
        let status = channel.send_foreach(BATCH, |_| {
            // A linear congruential generator. Whole numbers keep the sums exact.
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f64::from(random >> 16);
            sum += value;
            value
        })?;
        sent += BATCH;
        println!("sent {BATCH} values; {} slots are free", status.remaining);
    }
    let (mut count, mut answered) = (0, 0.0);
    let mut lines = BufReader::new(stream).lines();
    while count < sent {
        let line = lines.next().ok_or("the server is gone")??;
        let (values, part) = line.split_once(' ').ok_or("no answer of the server")?;
        count += values.parse::<usize>()?;
        answered += part.parse::<f64>()?;
    }
    println!("sum {sum}, the sum of the server {answered}");
    if sum == answered { Ok(()) } else { Err("the sums differ".into()) }
}
