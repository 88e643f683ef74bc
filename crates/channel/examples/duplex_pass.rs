//! Passes an open file beside a message: `duplex_pass SOCKET` serves, `duplex_pass SOCKET FILE` passes FILE and prints
//! the server's answer. The server can read a file that only the client may open.

use shm2_channel::duplex::{Interface, Listener, Options, Passed};
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

/// Bytes of each ring; equal on both sides.
const CAPACITY: usize = 4096;
const TIMEOUT: Option<Duration> = Some(Duration::from_secs(10));

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "/tmp/shm2-duplex-pass".into());
    let outcome = match arguments.next() {
        None => serve(&path),
        Some(file) => ask(&path, &file),
    };
    if let Err(error) = &outcome {
        eprintln!("duplex_pass: {error}");
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ask(path: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let mut server = Interface::<u8>::connect(path, Options::new(CAPACITY))?;
    // The number links the descriptor with the message: they are not ordered.
    let number = 7;
    server.pass(number, &[File::open(name)?.as_fd()])?;
    server.xmit_message(&[&number.to_le_bytes()[..], name.as_bytes()].concat())?;
    server.wait(1, TIMEOUT)?;
    let mut answer = Vec::new();
    server.recv_message(&mut answer)?;
    println!("{}", String::from_utf8_lossy(&answer));
    Ok(())
}

fn serve(path: &str) -> Result<(), Box<dyn Error>> {
    // Without `descriptors(true)` a side accepts none.
    let mut listener = Listener::<u8>::bind(path, Options::new(CAPACITY).descriptors(true))?;
    println!("listening at {path}");
    loop {
        let Some(mut client) = listener.accept(None)? else { continue };
        if let Err(error) = answer(&mut client) {
            println!("a client: {error}");
        }
    }
}

fn answer(client: &mut Interface<u8>) -> Result<(), Box<dyn Error>> {
    client.wait(1, TIMEOUT)?;
    let mut message = Vec::new();
    client.recv_message(&mut message)?;
    let (number, name) = message.split_first_chunk().ok_or("a message without a number")?;
    // The client sent the descriptor before the message, so one step receives it.
    client.clear()?;
    let passed = |passed: &Passed| passed.number == u64::from_le_bytes(*number);
    let Passed { fds, .. } = client.take_passed().filter(passed).ok_or("no descriptor of this number")?;
    // The client chose the file. A pipe would block this thread.
    let mut file = File::from(fds.into_iter().next().ok_or("no descriptor")?);
    if !file.metadata()?.is_file() {
        return Err("no regular file".into());
    }
    let (mut start, mut text) = ([0; 16], String::from_utf8_lossy(name).into_owned());
    let length = file.read(&mut start)?;
    text += &format!(": {} bytes, begins with {:?}", file.metadata()?.len(), String::from_utf8_lossy(&start[..length]));
    client.xmit_message(text.as_bytes())?;
    Ok(())
}
