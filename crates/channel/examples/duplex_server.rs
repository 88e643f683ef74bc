//! Serves up to 100 clients on one thread: each message is returned in capital letters. Start any number of clients:
//! `cargo run -p shm2-channel --example duplex_client`.

use shm2_channel::duplex::{ClientId, Event, Listener, Options, Server};
use std::collections::{HashMap, VecDeque};
use std::process::ExitCode;

/// Bytes of each ring. The longest message has 4 bytes less.
const CAPACITY: usize = 64 * 1024;
/// Largest number of answers kept for a client; the server then stops reading its messages.
const MOST_ANSWERS: usize = 100;
/// Largest number of messages taken from a client in one turn.
const TURN: usize = 100;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("duplex_server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/shm2-duplex".into());
    let mut server = Server::new(Listener::<u8>::bind(&path, Options::new(CAPACITY))?, 100);
    println!("listening at {path}");
    let mut answers: HashMap<ClientId, VecDeque<Vec<u8>>> = HashMap::new();
    loop {
        for event in server.wait(None)? {
            let (id, is_gone) = match event {
                Event::Connected(id) => {
                    let credentials = server.client(id).and_then(|client| client.credentials().ok());
                    println!("{id:?} connected: {credentials:?}");
                    (id, false)
                }
                Event::Ready(id) => (id, false),
                Event::Gone(id, error) => {
                    println!("{id:?}: {error}");
                    (id, true)
                }
                _ => continue,
            };
            let outcome = serve(&mut server, id, answers.entry(id).or_default());
            // The end of a client that is gone was printed above.
            if let (Err(error), false) = (&outcome, is_gone) {
                println!("{id:?}: {error}");
            }
            if is_gone || outcome.is_err() {
                server.remove(id);
                answers.remove(&id);
            }
        }
    }
}

/// Reads messages until none is left, or the largest number of answers is kept.
fn serve(
    server: &mut Server<u8>,
    id: ClientId,
    answers: &mut VecDeque<Vec<u8>>,
) -> Result<(), shm2_channel::StepError> {
    let Some(client) = server.client(id) else { return Ok(()) };
    let mut message = Vec::new();
    for _ in 0..TURN {
        while let Some(answer) = answers.front() {
            if !client.xmit_message(answer)? {
                break;
            }
            answers.pop_front();
        }
        if answers.len() >= MOST_ANSWERS || !client.recv_message(&mut message)? {
            return Ok(());
        }
        message.make_ascii_uppercase();
        answers.push_back(message.clone());
    }
    // Messages may be left, for which no signal will come.
    server.schedule(id);
    Ok(())
}
