//! Where clients come to.

use super::handshake::{BAD_MEMORY, BYTES, Hello, NOT_WANTED};
use super::{ConnectError, Credentials, Interface, Options};
use crate::backend::{Message, WaitSet, accept_one, listen_at, peer_of, receive_message, send_message, wait_readable};
use crate::channel::Element;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Clients that have connected and not said hello yet; the oldest goes when there are more.
const PENDING: usize = 64;
/// Time to say hello.
const HELLO: Duration = Duration::from_secs(5);

type Filter = Box<dyn FnMut(&Credentials) -> bool + Send>;

/// Accepts clients. One that stalls or lies in its handshake keeps nobody else waiting.
pub struct Listener<T> {
    socket: OwnedFd,
    path: PathBuf,
    options: Options,
    filter: Option<Filter>,
    pending: Vec<(OwnedFd, Instant)>,
    /// The socket, and those who have not said hello.
    events: WaitSet,
    element: std::marker::PhantomData<fn() -> T>,
}

impl<T: Element> Listener<T> {
    /// Listens at a path, which must not exist, or be a socket that nobody listens at any more.
    ///
    /// # Errors
    /// When the path cannot be used, or somebody listens there.
    pub fn bind(path: impl AsRef<Path>, options: Options) -> Result<Self, ConnectError> {
        let path = path.as_ref().to_path_buf();
        let failed = |source| ConnectError::Listen { path: path.clone(), source };
        let socket = match listen_at(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(&path) => {
                std::fs::remove_file(&path).map_err(failed)?;
                listen_at(&path)
            }
            other => other,
        };
        let socket = socket.map_err(failed)?;
        let events = WaitSet::new().and_then(|events| events.add(&socket).map(|()| events)).map_err(failed)?;
        let element = std::marker::PhantomData;
        Ok(Self { socket, path, options, filter: None, pending: Vec::new(), events, element })
    }

    /// Asks `wanted` about each client before anything of it is looked at.
    #[must_use]
    pub fn filter(mut self, wanted: impl FnMut(&Credentials) -> bool + Send + 'static) -> Self {
        self.filter = Some(Box::new(wanted));
        self
    }

    /// The next client that fits; `None` when the time is over.
    ///
    /// # Errors
    /// When the system fails. A client that does not fit is told so and is no error.
    pub fn accept(&mut self, timeout: Option<Duration>) -> Result<Option<Interface<T>>, ConnectError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(interface) = self.try_accept()? {
                return Ok(Some(interface));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            // Those who do not say hello go without being asked.
            let slice = (!self.pending.is_empty()).then_some(HELLO);
            wait_readable(self.wait_on(), None, [left, slice].into_iter().flatten().min())?;
        }
    }

    /// The next client that is through with its handshake; never waits.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn try_accept(&mut self) -> Result<Option<Interface<T>>, ConnectError> {
        while let Some(client) = accept_one(&self.socket)? {
            if self.pending.len() == PENDING {
                self.pending.remove(0);
            }
            self.events.add(&client)?;
            self.pending.push((client, Instant::now()));
        }
        self.pending.retain(|(_, since)| since.elapsed() < HELLO);
        let mut at = 0;
        while at < self.pending.len() {
            let mut bytes = [0; BYTES];
            match receive_message(&self.pending[at].0, &mut bytes) {
                Ok(Message::Nothing) => at += 1,
                Ok(Message::Bytes { count, fds, is_whole }) => {
                    let (client, _) = self.pending.remove(at);
                    self.events.remove(&client);
                    let hello = Hello::read(&bytes[..count]).filter(|_| is_whole);
                    if let Some(interface) = hello.and_then(|hello| self.judge(client, &hello, fds)) {
                        return Ok(Some(interface));
                    }
                }
                // Gone, or an error of this client's alone.
                Ok(Message::End) | Err(_) => drop(self.pending.remove(at)),
            }
        }
        Ok(None)
    }

    /// Welcomes a client, or tells it why not. One that cannot even be told is gone.
    fn judge(&mut self, client: OwnedFd, hello: &Hello, fds: Vec<OwnedFd>) -> Option<Interface<T>> {
        let mut ours = Hello::of::<T>(self.options.capacity);
        let answer = client.try_clone().ok()?;
        ours.verdict = match self.is_wanted(&client) {
            true => ours.judge(hello),
            false => NOT_WANTED,
        };
        let mut interface = None;
        if ours.verdict == 0 {
            let memory = <[OwnedFd; 1]>::try_from(fds).ok();
            interface = memory.and_then(|[memory]| Interface::serve(client, memory, self.options.capacity).ok());
            ours.verdict = if interface.is_some() { 0 } else { BAD_MEMORY };
        }
        let told = send_message(&answer, &ours.bytes(), &[]);
        interface.filter(|_| told.is_ok_and(|told| told))
    }

    fn is_wanted(&mut self, client: &OwnedFd) -> bool {
        let Some(filter) = &mut self.filter else { return true };
        peer_of(client).is_ok_and(|(pid, uid, gid)| filter(&Credentials { pid, uid, gid }))
    }

    /// The descriptor to wait on in a loop of one's own: readable when [`try_accept`](Self::try_accept) may find a client.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// Whether a path is a socket at which nobody listens.
fn is_left_behind(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && crate::backend::connect_to(path).is_err_and(refused)
}

impl<T> Drop for Listener<T> {
    fn drop(&mut self) {
        // Gone already, or another's by now: either way there is nothing to do.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl<T> fmt::Debug for Listener<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("path", &self.path).field("options", &self.options).finish_non_exhaustive()
    }
}
