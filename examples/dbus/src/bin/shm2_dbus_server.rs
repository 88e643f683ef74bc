//! Hands a channel to each caller on the session bus, and reports the sums of the received values by a signal:
//! `cargo run --manifest-path examples/dbus/Cargo.toml --bin shm2_dbus_server`. Run `shm2_dbus_client` beside it, any
//! number of times.

#![forbid(unsafe_code)]

use shm2_channel::{Receiver, StepError};
use shm2_example_dbus::{NAME, PATH};
use std::error::Error;
use std::process::ExitCode;
use zbus::fdo::RequestNameFlags;
use zbus::object_server::SignalEmitter;
use zbus::wire::OwnedFd;
use zbus::{connection, fdo, interface};

/// Elements of each channel.
const CAPACITY: usize = 500_000;

struct Server;

#[interface(name = "org.shm2.Example1")]
impl Server {
    async fn setup(&self, #[zbus(signal_emitter)] emitter: SignalEmitter<'_>) -> fdo::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let failed = |error: &dyn Error| fdo::Error::Failed(error.to_string());
        let (channel, offer) = Receiver::<f64>::offer(CAPACITY).map_err(|e| failed(&e))?;
        let emitter = emitter.to_owned();
        let serve = move || match serve(channel, &emitter) {
            Ok(()) => println!("a client is done"),
            Err(error) => println!("a client: {error}"),
        };
        std::thread::Builder::new().spawn(serve).map_err(|e| failed(&e))?;
        let (description, descriptors) = offer.into_parts();
        Ok((description.into(), descriptors.map(OwnedFd::from).into()))
    }

    #[zbus(signal)]
    async fn sum(emitter: &SignalEmitter<'_>, count: u64, sum: f64) -> zbus::Result<()>;
}

/// Serves one client until it disconnects.
fn serve(mut channel: Receiver<f64>, emitter: &SignalEmitter) -> Result<(), Box<dyn Error>> {
    loop {
        match channel.block_until_readable(1, None) {
            Ok(_) => {}
            Err(StepError::PeerGone) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let (mut count, mut sum) = (0, 0.0);
        channel.recv_foreach(CAPACITY, |_, value| {
            count += 1;
            sum += value;
        })?;
        zbus::block_on(Server::sum(emitter, count, sum))?;
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm2_dbus_server: {error} (is there a session bus? dbus-run-session -- bash makes one)");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    zbus::block_on(async {
        let connection = connection::Builder::session().serve_at(PATH, Server).build().await?;
        // Fails when another process owns the name.
        connection.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE).await?;
        println!("serving {NAME}");
        std::future::pending::<()>().await;
        Ok(())
    })
}
