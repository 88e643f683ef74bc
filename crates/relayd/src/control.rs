//! Queries of a daemon's state: `--status` by a Unix socket, and metrics by HTTP.

#[cfg(unix)]
use crate::demand::ACCEPT_PAUSE;
use crate::event::{Event, Events};
use crate::metrics::serve_metrics;
use crate::status::Status;
#[cfg(unix)]
use shm2_channel::socket_path::{OwnPath, listen};
use std::io;
#[cfg(unix)]
use std::io::{Read, Write};
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;
use tracing::{info, warn};

/// Time for the supervisor to answer.
pub const ANSWER: Duration = Duration::from_secs(2);

/// Asks the supervisor. `None` if it does not answer in time.
pub(crate) fn ask(events: &Events) -> Option<Status> {
    let (sender, receiver) = mpsc::channel();
    events.send(Event::Status(sender));
    receiver.recv_timeout(ANSWER).ok()
}

/// Where a state was to be offered, and cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The control socket could not be bound.
    #[error("cannot answer at {path:?}: {source}")]
    Control {
        /// The address.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The address for metrics could not be bound.
    #[error("cannot offer metrics at {address}: {source}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
}

/// The socket that answers `--status`. Its path is removed when this is dropped.
pub struct Offers {
    #[cfg(unix)]
    _control: Option<OwnPath>,
}

/// Offers a daemon's state as JSON at a control socket, and as metrics by HTTP.
///
/// # Errors
/// When one of the addresses cannot be bound.
pub fn offer_state<S: serde::Serialize + 'static>(
    control: Option<PathBuf>,
    metrics: Option<SocketAddr>,
    state: impl Fn() -> Option<S> + Clone + Send + 'static,
    text: fn(&S) -> String,
) -> Result<Offers, OfferError> {
    #[cfg(not(unix))]
    drop(control);
    #[cfg(unix)]
    let serve = |path: PathBuf| {
        let state = state.clone();
        let json = move || serde_json::to_string_pretty(&state()?).ok();
        serve_status(&path, json).map_err(|source| OfferError::Control { path, source })
    };
    #[cfg(unix)]
    let offers = Offers { _control: control.map(serve).transpose()? };
    #[cfg(not(unix))]
    let offers = Offers {};
    if let Some(address) = metrics {
        if !address.ip().is_loopback() {
            warn!("metrics at {address} can be read from other machines");
        }
        let text = Box::new(move || state().as_ref().map(text));
        let at = serve_metrics(address, text).map_err(|source| OfferError::Metrics { address, source })?;
        info!("metrics at http://{at}/metrics");
    }
    Ok(offers)
}

/// Serves the status, JSON that `status` makes, at a path that only this user can open.
///
/// # Errors
/// When the path cannot be used, or another process listens there.
#[cfg(unix)]
fn serve_status(path: &Path, status: impl Fn() -> Option<String> + Send + 'static) -> io::Result<OwnPath> {
    use std::os::unix::fs::PermissionsExt;
    let (listener, own) = listen(path, |path| UnixListener::bind(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let answer = move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else {
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            let text = status();
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

/// Prints the status of the daemon at a path.
///
/// # Errors
/// When there is no path, or no daemon answers.
#[cfg(unix)]
pub fn print_status(path: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    let path = path.ok_or("no control socket: give the path of the running daemon with --control")?;
    let status = status_at(path).map_err(|e| {
        format!("no daemon answers at {path:?} ({e}): start it with --control {path:?}, or name its socket")
    });
    Ok(write!(std::io::stdout(), "{}", status?)?)
}
