//! Listening for clients, and the server's part of the handshake.

use super::handshake::{BAD_MEMORY, BYTES, FULL, Hello, NOT_WANTED};
use super::{ConnectError, Credentials, Interface, Options};
use crate::Element;
use crate::socket_path::{OwnPath, listen};
use crate::sys::{
    Message, WaitSet, accept_one, close_elsewhere, is_memory, listen_at, peer_of, receive_message, send_message,
    wait_readable,
};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Largest number of clients without a complete handshake; the oldest is disconnected when there are more.
const MOST_PENDING: usize = 64;
/// Pause after a failure for lack of descriptors or memory.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// Time for a client to send its handshake.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

type Filter = Box<dyn FnMut(&Credentials) -> bool + Send>;

/// Accepts clients. A client that stalls, or sends an invalid handshake, does not delay the others.
pub struct Listener<T> {
    /// Removed before the socket is closed.
    path: OwnPath,
    socket: OwnedFd,
    options: Options,
    filter: Option<Filter>,
    pending: Vec<(OwnedFd, Instant)>,
    /// The listening socket and the pending clients.
    events: WaitSet,
    is_full: bool,
    paused_until: Option<Instant>,
    element: std::marker::PhantomData<fn() -> T>,
}

impl<T: Element> Listener<T> {
    /// Listens at a path. The path must not exist, or be a socket at which no process listens any more. Of several
    /// listeners at one path at once, exactly one is made. The path is removed when the listener is dropped. See
    /// [`socket_path`](crate::socket_path).
    ///
    /// # Errors
    /// [`ConnectError::Listen`] when the path cannot be used, is another file, or another process listens there.
    ///
    /// ```
    /// use shm2_channel::duplex::{ConnectError, Listener, Options};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-bind-{}", std::process::id()));
    /// let listener = Listener::<u64>::bind(&path, Options::new(1000))?;
    /// let second = Listener::<u64>::bind(&path, Options::new(1000));
    /// assert!(matches!(second, Err(ConnectError::Listen { .. })));
    /// drop(listener);
    /// assert!(!path.exists());
    /// # Ok(())
    /// # }
    /// ```
    pub fn bind(path: impl AsRef<Path>, options: Options) -> Result<Self, ConnectError> {
        let path = path.as_ref();
        let failed = |source| ConnectError::Listen { path: path.into(), source };
        let (socket, path) = listen(path, listen_at).map_err(failed)?;
        let failed = |source| ConnectError::Listen { path: path.path().into(), source };
        let events = WaitSet::new().and_then(|events| events.add(&socket).map(|()| events)).map_err(failed)?;
        let element = std::marker::PhantomData;
        let (filter, pending) = (None, Vec::new());
        Ok(Self { path, socket, options, filter, pending, events, is_full: false, paused_until: None, element })
    }

    /// Calls `accepts` for each client before any of its messages is read. A client for which it returns false is
    /// refused with [`Refusal::NotWanted`](super::Refusal::NotWanted).
    ///
    /// ```
    /// use shm2_channel::duplex::{ConnectError, Interface, Listener, Options, Refusal};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-filter-{}", std::process::id()));
    /// let own = std::process::id() as i32;
    /// let listener = Listener::<u64>::bind(&path, Options::new(16))?;
    /// let mut listener = listener.filter(move |client| client.pid != own);
    /// let client = std::thread::spawn(move || Interface::<u64>::connect(&path, Options::new(16)));
    /// while !client.is_finished() {
    ///     assert!(listener.accept(Some(Duration::from_millis(10)))?.is_none());
    /// }
    /// let refused = client.join().expect("no panic");
    /// assert!(matches!(refused, Err(ConnectError::Refused(Refusal::NotWanted))));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn filter(mut self, accepts: impl FnMut(&Credentials) -> bool + Send + 'static) -> Self {
        self.filter = Some(Box::new(accepts));
        self
    }

    /// Waits for the next client with a valid handshake. Returns `None` when the timeout expires; a timeout of `None`
    /// waits forever.
    ///
    /// # Errors
    /// [`ConnectError::System`]. A client that is refused is not an error.
    ///
    /// ```
    /// use shm2_channel::duplex::{Interface, Listener, Options};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-accept-{}", std::process::id()));
    /// let mut listener = Listener::<u64>::bind(&path, Options::new(16))?;
    /// assert!(listener.accept(Some(Duration::from_millis(1)))?.is_none());
    ///
    /// let client = std::thread::spawn(move || Interface::<u64>::connect(&path, Options::new(16)));
    /// let server = listener.accept(None)?.expect("no timeout");
    /// assert_eq!(server.credentials()?.pid, std::process::id() as i32);
    /// client.join().expect("no panic")?;
    /// # Ok(())
    /// # }
    /// ```
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
            // Wakes up to disconnect pending clients at their timeout.
            let slice = (!self.pending.is_empty()).then_some(HELLO_TIMEOUT);
            let longest = [left, slice].into_iter().flatten().min();
            match self.accept_pause() {
                Some(pause) => std::thread::sleep(longest.map_or(pause, |longest| longest.min(pause))),
                None => drop(wait_readable(self.wait_on(), None, longest)?),
            }
        }
    }

    /// The next client with a complete handshake. `None` when there is none; never waits.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn try_accept(&mut self) -> Result<Option<Interface<T>>, ConnectError> {
        for at in (0..self.pending.len()).rev() {
            if let Some(interface) = self.handle_pending(at) {
                return Ok(Some(interface));
            }
        }
        self.paused_until = None;
        // Bounded, so that a flood of clients cannot keep the caller here.
        for _ in 0..MOST_PENDING {
            let client = match accept_one(&self.socket) {
                Ok(Some(client)) => client,
                Ok(None) => break,
                Err(error) if is_shortage(&error) => {
                    self.paused_until = Some(Instant::now() + SHORTAGE_PAUSE);
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(interface) = self.handle_new(client)? {
                return Ok(Some(interface));
            }
        }
        Ok(None)
    }

    /// Time until the next attempt to accept clients after a lack of descriptors or memory. `None` without such a
    /// pause. [`wait_on`](Self::wait_on) stays readable during the pause: an event loop must not wait on it.
    pub fn accept_pause(&self) -> Option<Duration> {
        let pause = self.paused_until?.saturating_duration_since(Instant::now());
        (!pause.is_zero()).then_some(pause)
    }

    /// The descriptor for an event loop: readable when [`try_accept`](Self::try_accept) may find a client.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Handles a new connection. The usual client has sent its handshake already and is accepted without waiting.
    fn handle_new(&mut self, client: OwnedFd) -> Result<Option<Interface<T>>, ConnectError> {
        if !self.is_accepted(&client) {
            self.refuse(&client, NOT_WANTED);
            return Ok(None);
        }
        match receive_hello(&client) {
            FirstMessage::None => {
                if self.pending.len() == MOST_PENDING {
                    self.remove_pending(0);
                }
                self.events.add(&client)?;
                self.pending.push((client, Instant::now()));
                Ok(None)
            }
            FirstMessage::Hello(hello, fds) => Ok(self.answer(client, &hello, fds)),
            FirstMessage::Invalid => Ok(None),
        }
    }

    /// Handles the message of a pending client, or its timeout.
    fn handle_pending(&mut self, at: usize) -> Option<Interface<T>> {
        match receive_hello(&self.pending[at].0) {
            FirstMessage::None if self.pending[at].1.elapsed() < HELLO_TIMEOUT => None,
            FirstMessage::Hello(hello, fds) => {
                let client = self.remove_pending(at);
                self.answer(client, &hello, fds)
            }
            FirstMessage::None | FirstMessage::Invalid => {
                self.remove_pending(at);
                None
            }
        }
    }

    fn remove_pending(&mut self, at: usize) -> OwnedFd {
        let (client, _) = self.pending.remove(at);
        // Explicit, because a forked child may keep the socket open.
        self.events.remove(&client);
        client
    }

    /// Accepts a client, or refuses it with a reason. A client that cannot be answered is dropped.
    fn answer(&mut self, client: OwnedFd, hello: &Hello, fds: Vec<OwnedFd>) -> Option<Interface<T>> {
        let ours = Hello::of::<T>(self.options.capacity);
        let verdict = if self.is_full { FULL } else { ours.verdict_about(hello) };
        if verdict != 0 {
            self.refuse(&client, verdict);
            return None;
        }
        let socket = client.try_clone().ok()?;
        let memory = <[OwnedFd; 1]>::try_from(fds).ok();
        let Some(interface) = memory.and_then(|[memory]| Interface::serve(client, memory, self.options).ok()) else {
            self.refuse(&socket, BAD_MEMORY);
            return None;
        };
        let sent = send_message(&socket, &ours.bytes(), &[]);
        sent.is_ok_and(|sent| sent).then_some(interface)
    }

    /// Sends a client the reason for refusing it. A failure is ignored: the client is gone then.
    fn refuse(&self, client: &OwnedFd, verdict: u32) {
        let answer = Hello { verdict, ..Hello::of::<T>(self.options.capacity) };
        let _ = send_message(client, &answer.bytes(), &[]);
    }

    fn is_accepted(&mut self, client: &OwnedFd) -> bool {
        let Some(filter) = &mut self.filter else { return true };
        peer_of(client).is_ok_and(|(pid, uid, gid)| filter(&Credentials { pid, uid, gid }))
    }

    /// While `is_full`, new clients are refused as the server is full.
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }
}

/// The first message of a client.
enum FirstMessage {
    None,
    Hello(Hello, Vec<OwnedFd>),
    /// Another message, or the client closed the socket.
    Invalid,
}

/// Reads the first message of a client.
fn receive_hello(client: &OwnedFd) -> FirstMessage {
    let mut bytes = [0; BYTES];
    match receive_message(client, &mut bytes) {
        Ok(Message::Nothing) => FirstMessage::None,
        Ok(Message::Bytes { count, fds, is_whole }) => {
            match Hello::read(&bytes[..count]).filter(|_| is_whole && fds.iter().all(is_memory)) {
                Some(hello) => FirstMessage::Hello(hello, fds),
                None => {
                    close_elsewhere(fds);
                    FirstMessage::Invalid
                }
            }
        }
        // The client is gone, or its socket has an error.
        Ok(Message::End) | Err(_) => FirstMessage::Invalid,
    }
}

/// Whether this process, or the system, lacks descriptors or memory.
fn is_shortage(error: &io::Error) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM].iter().any(|code| error.raw_os_error() == Some(*code))
}

impl<T> fmt::Debug for Listener<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("path", &self.path.path())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
