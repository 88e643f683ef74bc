//! One connection.

use super::listener::Stream;
use crate::log_limit::LogLimit;
use std::io::{self, Read};
use std::time::Instant;
use subtle::ConstantTimeEq;
use tracing::info;

/// The longest line, in bytes.
const LONGEST: usize = 1024;
/// Lines of one client that are logged.
const MOST_LINES: usize = 20;
/// Bytes read in one turn, so that a flooding client does not delay the others.
const TURN: usize = 16 * 1024;

pub(super) struct Client {
    stream: Stream,
    pub(super) name: String,
    /// It sent the token, or no token is required.
    pub(super) may_stay: bool,
    pub(super) since: Instant,
    line: Vec<u8>,
    /// Number of its lines that were logged.
    lines: usize,
}

/// Result of reading from a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Done,
    /// More is left to read.
    More,
    /// The client is gone or is to be disconnected, and why.
    Over(&'static str),
}

impl Client {
    pub(super) fn new(stream: Stream, name: String, may_stay: bool) -> Self {
        Self { stream, name, may_stay, since: Instant::now(), line: Vec::new(), lines: 0 }
    }

    /// Reads what has arrived.
    pub(super) fn turn(&mut self, token: Option<&str>, log: &mut LogLimit) -> Turn {
        let mut bytes = [0; 4096];
        for _ in 0..TURN / bytes.len() {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Turn::Over("disconnected"),
                Ok(count) => {
                    if let Some(why) = self.take(&bytes[..count], token, log) {
                        return Turn::Over(why);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Done,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Turn::Over("lost its connection"),
            }
        }
        Turn::More
    }

    /// Handles received bytes; returns the reason if the client is to be disconnected.
    fn take(&mut self, bytes: &[u8], token: Option<&str>, log: &mut LogLimit) -> Option<&'static str> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > LONGEST {
                    return Some("is disconnected: its line is longer than 1024 bytes");
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            match token {
                Some(token) if !self.may_stay => {
                    self.may_stay = line.ct_eq(token.as_bytes()).into();
                    if !self.may_stay {
                        return Some("is disconnected: its token is wrong");
                    }
                }
                // The secret must not appear in the log.
                Some(token) if bool::from(line.ct_eq(token.as_bytes())) => {}
                _ if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") => {
                    return Some("is disconnected: it speaks HTTP, as a browser does");
                }
                _ if self.lines >= MOST_LINES || line.is_empty() => {}
                _ => {
                    self.lines += 1;
                    if log.permits("says", Instant::now()) {
                        info!("{} says {:?}", self.name, String::from_utf8_lossy(line));
                    }
                }
            }
        }
        None
    }
}
