//! Makes a channel for each client that connects to a Unix socket, and tells it the sum of what it sends. All channels are
//! served by one loop of mio. Beside it run `cargo run -p shm2 --example channel_client`, as often as you like.

use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use shm2_channel::{Receiver, StepError};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

/// Elements of each channel.
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
    // Of a server that was killed; there may be none.
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
                    match welcome(stream, &poll, token) {
                        Ok(client) => drop(clients.insert(token, client)),
                        // Gone before it was served, for one.
                        Err(error) => println!("client {}: {error}", token.0),
                    }
                }
            } else if let Some(Err(error)) = clients.get_mut(&event.token()).map(serve) {
                println!("client {}: {error}", event.token().0);
                // Its descriptors are closed, and with that the loop is rid of them.
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

/// Makes a channel and hands its other side over.
fn welcome(stream: UnixStream, poll: &Poll, token: Token) -> Result<Client, Box<dyn Error>> {
    let (channel, offer) = Receiver::offer(CAPACITY)?;
    offer.send(&stream)?;
    let descriptor = channel.signals().wait_on().as_raw_fd();
    poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
    Ok(Client { stream, channel })
}

/// Takes all that is there, and tells the client its sum. (A client that never stops sending keeps the loop to itself: a
/// server for such clients takes a part, and looks at the others in between.)
fn serve(client: &mut Client) -> Result<(), StepError> {
    // What a client sent before it went is still to be had, so its end is told afterwards.
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
