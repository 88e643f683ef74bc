//! Questions from outside: `--status` by a Unix socket, metrics by HTTP.

use crate::event::{Event, Events};
use crate::status::Status;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// Time for an answer, and for whoever asks to say what.
const ANSWER: Duration = Duration::from_secs(2);
/// The longest request.
const LONGEST: usize = 8 * 1024;

fn ask(events: &Events) -> Option<Status> {
    let (sender, receiver) = mpsc::channel();
    events.send(Event::Status(sender));
    receiver.recv_timeout(ANSWER).ok()
}

/// A socket's file, removed in the end.
#[derive(Debug)]
pub struct ControlSocket(PathBuf);

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Gone already: either way there is nothing to do.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Answers at a path with the status as JSON, for this user alone.
///
/// # Errors
/// When the path cannot be used, or another daemon answers there.
#[cfg(unix)]
pub fn serve_status(path: &Path, events: Events) -> io::Result<ControlSocket> {
    use std::os::unix::fs::PermissionsExt;
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there"));
    }
    // Of one that was killed; there may be none.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let answer = move || {
        for mut stream in listener.incoming().flatten() {
            let text = ask(&events).and_then(|status| serde_json::to_string_pretty(&status).ok());
            // Whoever asked may be gone.
            let _ = stream.set_write_timeout(Some(ANSWER));
            let _ = writeln!(stream, "{}", text.unwrap_or_default());
        }
    };
    std::thread::Builder::new().name("control".into()).spawn(answer)?;
    Ok(ControlSocket(path.into()))
}

/// What the daemon at a path answers.
///
/// # Errors
/// When none answers.
#[cfg(unix)]
pub fn status_at(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(2 * ANSWER))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text.trim().is_empty() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(text) }
}

/// Answers `GET /metrics` at an address. Returns where, as the port may have been 0.
///
/// # Errors
/// When the address is not to be had.
pub fn serve_metrics(address: SocketAddr, events: Events) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let answer = move || {
        for mut stream in listener.incoming().flatten() {
            let timeouts = stream.set_read_timeout(Some(ANSWER)).and(stream.set_write_timeout(Some(ANSWER)));
            if timeouts.is_ok() {
                let answer = respond(&request(&mut stream), &events);
                // Whoever asked may be gone.
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    };
    std::thread::Builder::new().name("metrics".into()).spawn(answer)?;
    Ok(address)
}

/// The request's first line.
fn request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 1024];
    while bytes.len() < LONGEST && !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&part[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().into()
}

fn respond(request: &str, events: &Events) -> String {
    let is_metrics = request.starts_with("GET /metrics ");
    let (code, kind, text) = match is_metrics.then(|| ask(events)) {
        None => ("404 Not Found", "text/plain", "metrics are at /metrics\n".into()),
        Some(None) => ("503 Service Unavailable", "text/plain", "the daemon does not answer\n".into()),
        Some(Some(status)) => {
            ("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", status.metrics())
        }
    };
    let length = text.len();
    format!("HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
}
