//! A hundred channels in one tokio runtime with two threads; each channel has a task for its sender and one for its
//! receiver. `cargo run -p shm2-channel --features tokio --example channels_tokio`

use shm2_channel::{Receiver, StepError, tokio as channel};

const CHANNELS: u64 = 100;
const VALUES: u64 = 10_000;
const CAPACITY: usize = 256;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sums = Vec::new();
    for number in 0..CHANNELS {
        let (receiver, offer) = Receiver::<u64>::offer(CAPACITY)?;
        // Another process would receive the offer by a socket.
        let sender = channel::Sender::new(offer.into_sender::<u64>()?)?;
        tokio::spawn(send(sender, number));
        sums.push(tokio::spawn(sum(channel::Receiver::new(receiver)?)));
    }
    let mut all = 0;
    for sum in sums {
        all += sum.await??;
    }
    let expected = CHANNELS * VALUES * (VALUES - 1) / 2 + VALUES * CHANNELS * (CHANNELS - 1) / 2;
    println!("{CHANNELS} channels, {VALUES} values each: sum {all}, expected {expected}");
    if all == expected { Ok(()) } else { Err("the sums differ".into()) }
}

async fn send(mut sender: channel::Sender<u64>, number: u64) -> Result<(), StepError> {
    for value in 0..VALUES {
        sender.send_all(&[number + value]).await?;
    }
    Ok(())
}

/// Adds up the values until the sender is gone.
async fn sum(mut receiver: channel::Receiver<u64>) -> Result<u64, StepError> {
    let mut sum = 0;
    loop {
        match receiver.readable(1).await {
            Ok(count) => receiver.get_mut().recv_foreach(count, |_, value| sum += value).map(|_| ()),
            Err(StepError::PeerGone) => return Ok(sum),
            Err(error) => Err(error),
        }?;
    }
}
