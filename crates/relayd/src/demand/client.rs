//! One connection.

use super::listener::Stream;
use std::io::{self, Read};
use std::time::Instant;
use subtle::ConstantTimeEq;
use tracing::info;

/// The longest line, in bytes.
const LONGEST: usize = 1024;
/// Lines of one client that are logged.
const MOST_LINES: usize = 20;
/// Bytes read in one turn, so that one client that floods keeps no other.
const TURN: usize = 16 * 1024;

pub(super) struct Client {
    stream: Stream,
    pub(super) name: String,
    /// It sent the token, or none is wanted.
    pub(super) may_stay: bool,
    pub(super) since: Instant,
    line: Vec<u8>,
    /// Lines of it that were logged.
    lines: usize,
}

/// What came of a look at a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Done,
    /// There is more to read.
    More,
    /// It is gone, or has to go.
    Over(&'static str),
}

impl Client {
    pub(super) fn new(stream: Stream, name: String, may_stay: bool) -> Self {
        Self { stream, name, may_stay, since: Instant::now(), line: Vec::new(), lines: 0 }
    }

    /// Reads what is there.
    pub(super) fn turn(&mut self, token: Option<&str>) -> Turn {
        let mut bytes = [0; 4096];
        for _ in 0..TURN / bytes.len() {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Turn::Over("went"),
                Ok(count) => {
                    if let Some(why) = self.take(&bytes[..count], token) {
                        return Turn::Over(why);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Done,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Turn::Over("was lost"),
            }
        }
        Turn::More
    }

    /// Takes bytes; returns why the client has to go, if it has.
    fn take(&mut self, bytes: &[u8], token: Option<&str>) -> Option<&'static str> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > LONGEST {
                    return Some("is sent away: its line is longer than 1024 bytes");
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            match token {
                Some(token) if !self.may_stay => {
                    self.may_stay = line.ct_eq(token.as_bytes()).into();
                    if !self.may_stay {
                        return Some("is sent away: its token is wrong");
                    }
                }
                // Nobody needs to read the secret in a log.
                Some(token) if bool::from(line.ct_eq(token.as_bytes())) => {}
                _ if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") => {
                    return Some("is sent away: it speaks HTTP, as a browser does that a page sent here");
                }
                _ if self.lines >= MOST_LINES || line.is_empty() => {}
                _ => {
                    self.lines += 1;
                    info!("{} says {:?}", self.name, String::from_utf8_lossy(line));
                }
            }
        }
        None
    }
}
