//! Receives a channel from `shm2_dbus_server` by the session bus, sends a million numbers through it, and compares the sums.

#![forbid(unsafe_code)]

use shm2_channel::Offer;
use shm2_example_dbus::ExampleProxy;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use zbus::Connection;
use zbus::export::futures_core::Stream;

const BATCHES: usize = 10;
const BATCH: usize = 100_000;
const LONG: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm2_dbus_client: {error} (start shm2_dbus_server on the same session bus first)");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    zbus::block_on(async {
        let connection = Connection::session().await?;
        let server = ExampleProxy::new(&connection).await?;
        let mut sums = server.receive_sum().await?;
        let (description, descriptors) = server.setup().await?;
        let descriptors = descriptors.into_iter().map(Into::into).collect();
        let mut channel = Offer::from_parts(&description, descriptors)?.into_sender::<f64>()?;
        let (mut next, mut sum) = (0.0, 0.0);
        for _ in 0..BATCHES {
            channel.block_until_writable(BATCH, Some(LONG))?;
            channel.send_foreach(BATCH, |_| {
                next += 1.0;
                sum += next;
                next
            })?;
        }
        let (mut count, mut answered) = (0, 0.0);
        while count < (BATCHES * BATCH) as u64 {
            let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut sums).poll_next(context)).await;
            let part = next.ok_or("the server is gone")?;
            let part = part.args()?;
            count += part.count;
            answered += part.sum;
        }
        println!("sum {sum}, the server says {answered}");
        if sum == answered { Ok(()) } else { Err("the sums differ".into()) }
    })
}
