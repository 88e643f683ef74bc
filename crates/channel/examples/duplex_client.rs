//! Sends each line of its standard input to `duplex_server` and prints the answer.

use shm2_channel::duplex::{Interface, Options};
use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

/// Bytes of each ring; must equal the server's.
const CAPACITY: usize = 64 * 1024;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("duplex_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/shm2-duplex".into());
    let mut server = Interface::<u8>::connect(&path, Options::new(CAPACITY))?;
    eprintln!("connected; type a line, end with Ctrl-D");
    let mut answer = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        while !server.xmit_message(line.as_bytes())? {
            server.wait_for_message_space(line.len(), None)?;
        }
        while !server.recv_message(&mut answer)? {
            server.wait(1, Some(Duration::from_secs(10)))?;
        }
        println!("{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
