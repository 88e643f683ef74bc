//! Creates a channel for each client that connects to a Unix socket, and answers with the sum of the received values.
//! One mio loop serves all channels. Start any number of clients:
//! `cargo run -p shm2-channel --example channel_client`.

use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use shm2_channel::{Receiver, StepError};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

/// Capacity of each channel in elements.
const CAPACITY: usize = 500_000;
const LISTENER: Token = Token(0);

struct Client {
    stream: UnixStream,
    channel: Receiver<f64>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("channel_server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/shm2-channel".into());
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(format!("another server listens at {path}: give another path").into());
    }
    // A killed server leaves its socket; there may be none.
    let _ = std::fs::remove_file(&path);
    let mut listener = UnixListener::bind(&path)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening at {path}");
    let mut clients = HashMap::new();
    let mut events = Events::with_capacity(64);
    let mut tokens = (1..).map(Token);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Some(stream) = accept(&listener)? {
                    let token = tokens.next().unwrap_or(LISTENER);
                    match add_client(stream, &poll, token) {
                        Ok(client) => drop(clients.insert(token, client)),
                        // For example, the client closed its socket already.
                        Err(error) => println!("client {}: {error}", token.0),
                    }
                }
            } else if let Some(Err(error)) = clients.get_mut(&event.token()).map(serve) {
                println!("client {}: {error}", event.token().0);
                // Closing its descriptors also removes them from the loop.
                clients.remove(&event.token());
            }
        }
    }
}

fn accept(listener: &UnixListener) -> io::Result<Option<UnixStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates a channel and sends its other side to the client.
fn add_client(stream: UnixStream, poll: &Poll, token: Token) -> Result<Client, Box<dyn Error>> {
    let (channel, offer) = Receiver::offer(CAPACITY)?;
    offer.send(&stream)?;
    let descriptor = channel.signals().wait_on().as_raw_fd();
    poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
    Ok(Client { stream, channel })
}

/// Takes all values and sends the client their sum. A client that never stops sending occupies this loop; a server
/// for such clients takes a bounded number and then serves the others.
fn serve(client: &mut Client) -> Result<(), StepError> {
    // Values sent before the client's end can still be received, so the end is returned afterwards.
    let end = client.channel.wait_clear();
    let (mut sum, mut count) = (0.0, 0);
    while client.channel.wait_status()?.1 > 0 {
        client.channel.recv_foreach(CAPACITY, |_, value| {
            sum += value;
            count += 1;
        })?;
    }
    if count > 0 {
        println!("{count} values, sum {sum}");
        writeln!(client.stream, "{count} {sum}")?;
    }
    end
}
