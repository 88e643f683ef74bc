//! Serves any number of clients on one thread: what each sends comes back in capital letters. Beside it run
//! `cargo run -p shm2 --example duplex_client`, as often as you like.

use shm2_channel::duplex::{ClientId, Event, Listener, Options, Server};
use std::collections::{HashMap, VecDeque};
use std::process::ExitCode;

/// Bytes of each ring; also the longest message.
pub const CAPACITY: usize = 64 * 1024;
/// Answers kept for a client that does not take them; then nothing more is read from it.
const MOST_ANSWERS: usize = 100;
/// Messages taken from a client before the others have their turn.
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
                    let who = server.client(id).and_then(|client| client.credentials().ok());
                    println!("{id:?} came: {who:?}");
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
            if let Err(error) = &outcome {
                println!("{id:?}: {error}");
            }
            if is_gone || outcome.is_err() {
                server.remove(id);
                answers.remove(&id);
            }
        }
    }
}

/// Reads while there are messages and room for their answers.
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
    // Not all was taken, so no signal will come for it.
    server.schedule(id);
    Ok(())
}
