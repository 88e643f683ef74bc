//! Metrics by HTTP: one thread serves all connections, so a client that sends nothing delays no other.

use crate::demand::ACCEPT_PAUSE;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Poll, Token};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tracing::error;

/// Time for a client to send its request and to take the answer.
const TIME: Duration = Duration::from_secs(2);
/// Connections at a time. The oldest one is closed when there are more.
const MOST: usize = 256;
/// The longest request.
const LONGEST: usize = 8 * 1024;
const LISTENER: Token = Token(0);

/// Makes the text of the metrics; `None` if the daemon does not answer.
pub type Text = Box<dyn Fn() -> Option<String> + Send>;

/// Serves `GET /metrics` at an address. Returns the bound address: the given port may be 0.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve_metrics(address: SocketAddr, text: Text) -> io::Result<SocketAddr> {
    let mut listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server { poll, listener, text, connections: BTreeMap::new(), next: LISTENER.0, is_paused: false };
    let work = move || {
        if let Err(error) = server.work() {
            error!("metrics are not served any more: {error}");
        }
    };
    std::thread::Builder::new().name("metrics".into()).spawn(work)?;
    Ok(address)
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    text: Text,
    /// By their numbers, which increase: the first one is the oldest.
    connections: BTreeMap<usize, Connection>,
    next: usize,
    /// A connection could not be accepted and is still waiting.
    is_paused: bool,
}

struct Connection {
    stream: TcpStream,
    deadline: Instant,
    request: Vec<u8>,
    /// The answer, and how much of it was sent.
    answer: Option<(Vec<u8>, usize)>,
}

impl Server {
    fn work(&mut self) -> io::Result<()> {
        let mut ready = mio::Events::with_capacity(256);
        loop {
            let was_paused = std::mem::take(&mut self.is_paused);
            let sleep = if was_paused { Some(ACCEPT_PAUSE) } else { self.longest_sleep() };
            match self.poll.poll(&mut ready, sleep) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for token in ready.iter().map(mio::event::Event::token).filter(|token| *token != LISTENER) {
                self.serve(token.0);
            }
            if was_paused || ready.iter().any(|event| event.token() == LISTENER) {
                self.accept();
            }
            let now = Instant::now();
            self.connections.retain(|_, connection| connection.deadline > now);
        }
    }

    fn longest_sleep(&self) -> Option<Duration> {
        let deadline = self.connections.values().map(|connection| connection.deadline).min();
        deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn accept(&mut self) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                    continue;
                }
                Err(_) => {
                    self.is_paused = true;
                    return;
                }
            };
            // Numbers are not reused: a late event for a closed connection matches no other.
            self.next += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(self.next), interest).is_err() {
                continue;
            }
            if self.connections.len() >= MOST {
                self.connections.pop_first();
            }
            let deadline = Instant::now() + TIME;
            self.connections.insert(self.next, Connection { stream, deadline, request: Vec::new(), answer: None });
        }
    }

    fn serve(&mut self, number: usize) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match connection.advance(&self.text) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The answer was sent, or the client is gone.
            _ => drop(self.connections.remove(&number)),
        }
    }
}

impl Connection {
    /// Reads the request and writes the answer, as far as possible without waiting.
    fn advance(&mut self, text: &Text) -> io::Result<()> {
        if self.answer.is_none() {
            self.read_request()?;
            let first_line = String::from_utf8_lossy(&self.request).lines().next().unwrap_or_default().to_owned();
            self.answer = Some((respond(&first_line, text).into_bytes(), 0));
        }
        let Some((bytes, sent)) = &mut self.answer else { return Ok(()) };
        while *sent < bytes.len() {
            match self.stream.write(&bytes[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads up to the end of the request's head, or as much as is permitted.
    fn read_request(&mut self) -> io::Result<()> {
        let mut part = [0; 1024];
        while self.request.len() < LONGEST && !self.request.windows(4).any(|end| end == b"\r\n\r\n") {
            match self.stream.read(&mut part) {
                Ok(0) if self.request.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(0) => return Ok(()),
                Ok(count) => self.request.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn respond(request: &str, metrics: &Text) -> String {
    let is_metrics = request.starts_with("GET /metrics ");
    let (code, kind, text) = match is_metrics.then(metrics) {
        None => ("404 Not Found", "text/plain", "metrics are at /metrics\n".into()),
        Some(None) => ("503 Service Unavailable", "text/plain", "the daemon does not answer\n".into()),
        Some(Some(text)) => ("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
    };
    let length = text.len();
    format!("HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
}
