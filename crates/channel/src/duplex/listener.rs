//! Where clients come to.

use super::handshake::{BAD_MEMORY, BYTES, FULL, Hello, NOT_WANTED};
use super::{ConnectError, Credentials, Interface, Options};
use crate::Element;
use crate::sys::{
    Message, WaitSet, accept_one, close_elsewhere, is_memory, listen_at, peer_of, receive_message, send_message,
    wait_readable,
};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Clients that have connected and not said hello yet; the oldest goes when there are more.
const PENDING: usize = 64;
/// Pause when no more connections can be accepted.
const REST: Duration = Duration::from_millis(100);
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
    identity: Option<(u64, u64)>,
    is_full: bool,
    rests_until: Option<Instant>,
    element: std::marker::PhantomData<fn() -> T>,
}

impl<T: Element> Listener<T> {
    /// Listens at a path, which must not exist, or be a socket that nobody listens at any more. Dropped, it removes the path.
    ///
    /// # Errors
    /// When the path cannot be used, is a file, or somebody listens there.
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
        let identity = identity(&path);
        let (filter, pending) = (None, Vec::new());
        Ok(Self {
            socket,
            path,
            options,
            filter,
            pending,
            events,
            identity,
            is_full: false,
            rests_until: None,
            element,
        })
    }

    /// Asks `wanted` about each client before anything of it is looked at. The process is 0 if it lives in a namespace that
    /// cannot be seen from here.
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
            let longest = [left, slice].into_iter().flatten().min();
            match self.rests() {
                Some(rest) => std::thread::sleep(longest.map_or(rest, |longest| longest.min(rest))),
                None => drop(wait_readable(self.wait_on(), None, longest)?),
            }
        }
    }

    /// The next client that is through with its handshake; never waits.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn try_accept(&mut self) -> Result<Option<Interface<T>>, ConnectError> {
        for at in (0..self.pending.len()).rev() {
            if let Some(interface) = self.hello_of_pending(at) {
                return Ok(Some(interface));
            }
        }
        self.rests_until = None;
        // Bounded: a flood of clients keeps nobody here for ever.
        for _ in 0..PENDING {
            let client = match accept_one(&self.socket) {
                Ok(Some(client)) => client,
                Ok(None) => break,
                Err(error) if is_shortage(&error) => {
                    self.rests_until = Some(Instant::now() + REST);
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(interface) = self.receive(client)? {
                return Ok(Some(interface));
            }
        }
        Ok(None)
    }

    /// A client that has just come; one that says hello at once, as all of good will do, does not wait.
    fn receive(&mut self, client: OwnedFd) -> Result<Option<Interface<T>>, ConnectError> {
        if !self.is_wanted(&client) {
            self.refuse(&client, NOT_WANTED);
            return Ok(None);
        }
        match self.hello(&client) {
            Said::Nothing => {
                if self.pending.len() == PENDING {
                    self.forget(0);
                }
                self.events.add(&client)?;
                self.pending.push((client, Instant::now()));
                Ok(None)
            }
            Said::Hello(hello, fds) => Ok(self.judge(client, &hello, fds)),
            Said::Other => Ok(None),
        }
    }

    /// What a client says that came before.
    fn hello_of_pending(&mut self, at: usize) -> Option<Interface<T>> {
        match self.hello(&self.pending[at].0) {
            Said::Nothing if self.pending[at].1.elapsed() < HELLO => None,
            Said::Hello(hello, fds) => {
                let client = self.forget(at);
                self.judge(client, &hello, fds)
            }
            Said::Nothing | Said::Other => {
                self.forget(at);
                None
            }
        }
    }

    fn forget(&mut self, at: usize) -> OwnedFd {
        let (client, _) = self.pending.remove(at);
        // Also for a forked child that still has it.
        self.events.remove(&client);
        client
    }

    fn hello(&self, client: &OwnedFd) -> Said {
        let mut bytes = [0; BYTES];
        match receive_message(client, &mut bytes) {
            Ok(Message::Nothing) => Said::Nothing,
            Ok(Message::Bytes { count, fds, is_whole }) => {
                match Hello::read(&bytes[..count]).filter(|_| is_whole && fds.iter().all(is_memory)) {
                    Some(hello) => Said::Hello(hello, fds),
                    None => {
                        close_elsewhere(fds);
                        Said::Other
                    }
                }
            }
            // Gone, or an error of this client's alone.
            Ok(Message::End) | Err(_) => Said::Other,
        }
    }

    /// Welcomes a client, or tells it why not. One that cannot even be told is gone.
    fn judge(&mut self, client: OwnedFd, hello: &Hello, fds: Vec<OwnedFd>) -> Option<Interface<T>> {
        let ours = Hello::of::<T>(self.options.capacity);
        let verdict = if self.is_full { FULL } else { ours.judge(hello) };
        if verdict != 0 {
            self.refuse(&client, verdict);
            return None;
        }
        let answer = client.try_clone().ok()?;
        let memory = <[OwnedFd; 1]>::try_from(fds).ok();
        let Some(interface) = memory.and_then(|[memory]| Interface::serve(client, memory, self.options).ok()) else {
            self.refuse(&answer, BAD_MEMORY);
            return None;
        };
        let told = send_message(&answer, &ours.bytes(), &[]);
        told.is_ok_and(|told| told).then_some(interface)
    }

    /// Tells a client why not, if it still listens.
    fn refuse(&self, client: &OwnedFd, verdict: u32) {
        let answer = Hello { verdict, ..Hello::of::<T>(self.options.capacity) };
        let _ = send_message(client, &answer.bytes(), &[]);
    }

    fn is_wanted(&mut self, client: &OwnedFd) -> bool {
        let Some(filter) = &mut self.filter else { return true };
        peer_of(client).is_ok_and(|(pid, uid, gid)| filter(&Credentials { pid, uid, gid }))
    }

    /// Whether each that comes is told that there is no place for it.
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// How long nobody can be accepted, for want of descriptors or memory: [`wait_on`](Self::wait_on) stays readable
    /// meanwhile.
    pub fn rests(&self) -> Option<Duration> {
        let rest = self.rests_until?.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    /// The descriptor to wait on in a loop of one's own: readable when [`try_accept`](Self::try_accept) may find a client.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// What a client said first.
enum Said {
    Nothing,
    Hello(Hello, Vec<OwnedFd>),
    /// No hello, or it went away.
    Other,
}

/// Whether it is this process, or the system, that has no room for one more.
fn is_shortage(error: &io::Error) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM].iter().any(|code| error.raw_os_error() == Some(*code))
}

/// Device and number of a file, to know it again.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = std::fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Whether a path is a socket at which nobody listens.
fn is_left_behind(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && crate::sys::connect_to(path).is_err_and(refused)
}

impl<T> Drop for Listener<T> {
    fn drop(&mut self) {
        // Another's by now, or gone already: either way there is nothing to do.
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl<T> fmt::Debug for Listener<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("path", &self.path).field("options", &self.options).finish_non_exhaustive()
    }
}
