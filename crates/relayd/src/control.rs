//! Queries of the daemon's state: `--status` by a Unix socket, metrics by HTTP.

use crate::event::{Event, Events};
use crate::status::Status;
#[cfg(unix)]
use shm2_channel::socket_path::{OwnPath, listen};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(unix)]
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Time for the supervisor to answer, and for a client to send its request.
const ANSWER: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted, for example because descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The longest request.
const LONGEST: usize = 8 * 1024;

fn ask(events: &Events) -> Option<Status> {
    let (sender, receiver) = mpsc::channel();
    events.send(Event::Status(sender));
    receiver.recv_timeout(ANSWER).ok()
}

/// Serves the status as JSON at a path that only this user can open.
///
/// # Errors
/// When the path cannot be used, or another process listens there.
#[cfg(unix)]
pub fn serve_status(path: &Path, events: Events) -> io::Result<OwnPath> {
    use std::os::unix::fs::PermissionsExt;
    let (listener, own) = listen(path, |path| UnixListener::bind(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let answer = move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else {
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            let text = ask(&events).and_then(|status| serde_json::to_string_pretty(&status).ok());
            // The client may have disconnected.
            let _ = stream.set_write_timeout(Some(ANSWER));
            let _ = writeln!(stream, "{}", text.unwrap_or_default());
        }
    };
    std::thread::Builder::new().name("control".into()).spawn(answer)?;
    Ok(own)
}

/// Asks the daemon at a path for its status.
///
/// # Errors
/// When no daemon answers.
#[cfg(unix)]
pub fn status_at(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(2 * ANSWER))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text.trim().is_empty() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(text) }
}

/// Serves `GET /metrics` at an address. Returns the bound address: the given port may be 0.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve_metrics(address: SocketAddr, events: Events) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let answer = move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else {
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            if stream.set_write_timeout(Some(ANSWER)).is_ok() {
                let answer = respond(&request(&mut stream), &events);
                // The client may have disconnected.
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    };
    std::thread::Builder::new().name("metrics".into()).spawn(answer)?;
    Ok(address)
}

/// The request's first line. The whole request must arrive in time.
fn request(stream: &mut TcpStream) -> String {
    let deadline = Instant::now() + ANSWER;
    let mut bytes = Vec::new();
    let mut part = [0; 1024];
    while bytes.len() < LONGEST && !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
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
