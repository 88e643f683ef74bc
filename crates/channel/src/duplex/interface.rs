//! One end of a connection.
//!
//! # Safety
//! Both rings are in one mapping that was checked against its seals, is long enough for both, and outlives them: both
//! halves keep it, and drop their ring first.

#![expect(unsafe_code, reason = "attaches to checked memory, see the head of this file")]

use super::halves::{Connection, Incoming, Outgoing, longest_message};
use super::handshake::{BYTES, Hello};
use super::link::Link;
use super::{ConnectError, Credentials, Options, Passed};
use crate::memory::ChannelMemory;
use crate::sys::{
    Message, close_elsewhere, connect_to, receive_message, refuse_descriptors, send_message, wait_readable,
};
use crate::wait::{Side, Spin};
use crate::{ChannelError, Element, StepError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Alignment in bytes of the second ring in the memory.
const PAGE: usize = 4096;

/// One end of a connection: sends and receives elements.
#[derive(Debug)]
pub struct Interface<T> {
    pub(super) outgoing: Outgoing<T>,
    pub(super) incoming: Incoming<T>,
}

impl<T: Element> Interface<T> {
    /// Connects to the [`Listener`](super::Listener) at `path`, and waits for its answer until the
    /// [timeout](Options::timeout). A connection does not survive a restart of the server: connect again.
    ///
    /// # Errors
    /// [`ConnectError::NoServer`]; [`ConnectError::TimedOut`]; [`ConnectError::Refused`] with the server's reason;
    /// [`ConnectError::BrokenOff`] when the server closes the socket or its answer is invalid.
    ///
    /// ```
    /// use shm2_channel::duplex::{ConnectError, Interface, Listener, Options, Refusal};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-connect-{}", std::process::id()));
    /// let none = Interface::<u64>::connect(&path, Options::new(16));
    /// assert!(matches!(none, Err(ConnectError::NoServer { .. })));
    ///
    /// let mut listener = Listener::<u64>::bind(&path, Options::new(16))?;
    /// let client = std::thread::spawn(move || {
    ///     // Another capacity is refused.
    ///     let refused = Interface::<u64>::connect(&path, Options::new(17));
    ///     assert!(matches!(refused, Err(ConnectError::Refused(Refusal::Capacity { .. }))));
    ///     Interface::<u64>::connect(&path, Options::new(16))
    /// });
    /// listener.accept(None)?.expect("no timeout");
    /// client.join().expect("no panic")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(path: impl AsRef<Path>, options: Options) -> Result<Self, ConnectError> {
        let path = path.as_ref();
        let deadline = Instant::now().checked_add(options.timeout);
        let (bytes, second) = ring_layout::<T>(options.capacity)?;
        let socket = connect_until(path, deadline)?;
        if !options.descriptors {
            refuse_descriptors(&socket);
        }
        let memory = ChannelMemory::create_bytes(second + bytes, None)?;
        let hello = Hello::of::<T>(options.capacity).bytes();
        match send_message(&socket, &hello, &[memory.fd.as_fd()]) {
            Ok(true) => {}
            Ok(false) => return Err(ConnectError::BrokenOff),
            // The server may have sent its reason before it closed the socket.
            Err(error) if is_closed(&error) => {}
            Err(error) => return Err(error.into()),
        }
        receive_answer(&socket, deadline)?.outcome(&hello)?;
        Ok(Self::attach(memory, socket, options, true)?)
    }

    /// The server's end, on memory from a client.
    pub(super) fn serve(socket: OwnedFd, memory: OwnedFd, options: Options) -> Result<Self, ChannelError> {
        let (bytes, second) = ring_layout::<T>(options.capacity)?;
        let memory = ChannelMemory::open_bytes(options.capacity, second + bytes, memory, false)?;
        Self::attach(memory, socket, options, false)
    }

    fn attach(memory: ChannelMemory, socket: OwnedFd, options: Options, is_client: bool) -> Result<Self, ChannelError> {
        let (bytes, second) = ring_layout::<T>(options.capacity)?;
        // SAFETY: `second` and `bytes` are inside the mapping, see the head of this file.
        let addresses = unsafe { [memory.address(), memory.address().add(second)] };
        let [outgoing, incoming] = if is_client { addresses } else { [addresses[1], addresses[0]] };
        // SAFETY: valid for `bytes` bytes while the mapping exists. By the handshake each ring has one sender and one
        // receiver; a peer that breaks it can only corrupt elements, which are plain data.
        let (sender, mut receiver) =
            unsafe { (shm2_ring::Sender::attach(outgoing, bytes)?, shm2_ring::Receiver::attach(incoming, bytes)?) };
        // Requests a signal from the start: an event loop may wait for one before its first read.
        let _ = receiver.peek(1);
        let connection = Arc::new(Connection { link: Link::new(socket, options.descriptors), _memory: memory });
        let outgoing =
            Outgoing { ring: sender, is_finished: false, spin: Spin::default(), connection: connection.clone() };
        Ok(Self { outgoing, incoming: Incoming { ring: receiver, spin: Spin::default(), connection } })
    }

    fn link(&self) -> &Link {
        &self.outgoing.connection.link
    }

    #[cfg(feature = "tokio")]
    pub(super) fn is_over(&self, receives: bool) -> bool {
        self.link().is_over(receives)
    }

    /// Splits the connection into its two directions, each for a thread of its own.
    pub fn split(self) -> (Outgoing<T>, Incoming<T>) {
        (self.outgoing, self.incoming)
    }

    /// Capacity of each ring in elements.
    pub fn capacity(&self) -> usize {
        self.outgoing.ring.capacity()
    }

    /// Identity of the process at the other end.
    ///
    /// # Errors
    /// [`StepError::System`].
    pub fn credentials(&self) -> Result<Credentials, StepError> {
        let (pid, uid, gid) = self.link().peer()?;
        Ok(Credentials { pid, uid, gid })
    }

    /// The descriptor for an event loop: readable when the other side signalled. The other side signals only after this
    /// side found nothing: wait after [`recv`](Self::recv) returned `None`, or [`xmit`](Self::xmit) false. When the
    /// descriptor is readable, call [`clear`](Self::clear), then receive and send until nothing is left to do.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.link().socket()
    }

    /// Takes the signals that have come; a bounded number, so that a peer that floods cannot keep the caller here.
    ///
    /// # Errors
    /// [`StepError::PeerGone`]; there may still be elements to receive. [`StepError::TooManyPassed`] and
    /// [`StepError::DescriptorsLost`] for passed descriptors.
    pub fn clear(&mut self) -> Result<(), StepError> {
        self.link().clear()
    }

    /// See [`Outgoing::pass`].
    ///
    /// # Errors
    /// As [`Outgoing::pass`].
    pub fn pass(&mut self, number: u64, descriptors: &[BorrowedFd]) -> Result<bool, StepError> {
        self.outgoing.pass(number, descriptors)
    }

    /// See [`Incoming::take_passed`].
    pub fn take_passed(&mut self) -> Option<Passed> {
        self.incoming.take_passed()
    }

    /// See [`Incoming::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.incoming.is_finished()
    }

    /// Waits until `slots` slots are free, or `count` elements have come. Returns both numbers, with 0 for a number
    /// that is too low. It avoids a deadlock: two sides that send much and wait for free slots only can wait for each
    /// other. A timeout of `None` waits forever.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for_either(
        &mut self,
        slots: usize,
        count: usize,
        timeout: Option<Duration>,
    ) -> Result<(usize, usize), StepError> {
        let Self { outgoing, incoming } = self;
        let is_finished = incoming.is_finished();
        let spin = &mut incoming.spin;
        let mut either =
            Either { outgoing: &mut outgoing.ring, incoming: &mut incoming.ring, slots, count, found: (0, 0) };
        outgoing.connection.link.block_until(&mut either, spin, 1, timeout, is_finished)?;
        Ok(either.found)
    }

    /// Sends one element. False when no slot is free; the other side then signals when one is.
    ///
    /// # Errors
    /// As [`Outgoing::xmit`].
    ///
    /// ```
    /// use shm2_channel::duplex::{Interface, Listener, Options};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-xmit-{}", std::process::id()));
    /// let mut listener = Listener::<u64>::bind(&path, Options::new(2))?;
    /// let client = std::thread::spawn(move || Interface::<u64>::connect(&path, Options::new(2)));
    /// let mut server = listener.accept(None)?.expect("no timeout");
    /// let mut client = client.join().expect("no panic")?;
    ///
    /// assert!(client.xmit(1)? && client.xmit(2)?);
    /// // The ring is full until the server has received an element.
    /// assert!(!client.xmit(3)?);
    /// server.recv()?;
    /// assert!(client.xmit(3)?);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn xmit(&mut self, value: T) -> Result<bool, StepError> {
        self.outgoing.xmit(value)
    }

    /// See [`Outgoing::xmit_all`].
    ///
    /// # Errors
    /// As [`Outgoing::xmit_all`].
    #[inline]
    pub fn xmit_all(&mut self, values: &[T]) -> Result<bool, StepError> {
        self.outgoing.xmit_all(values)
    }

    /// Takes the next element. `None` when there is none; the other side then signals when there is.
    ///
    /// # Errors
    /// As [`Incoming::recv`].
    ///
    /// ```
    /// use shm2_channel::duplex::{Interface, Listener, Options};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-recv-{}", std::process::id()));
    /// let mut listener = Listener::<u64>::bind(&path, Options::new(2))?;
    /// let client = std::thread::spawn(move || Interface::<u64>::connect(&path, Options::new(2)));
    /// let mut server = listener.accept(None)?.expect("no timeout");
    /// let mut client = client.join().expect("no panic")?;
    ///
    /// assert_eq!(server.recv()?, None);
    /// client.xmit(7)?;
    /// assert_eq!(server.recv()?, Some(7));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn recv(&mut self) -> Result<Option<T>, StepError> {
        self.incoming.recv()
    }

    /// See [`Incoming::recv_vectored`].
    ///
    /// # Errors
    /// As [`Incoming::recv_vectored`].
    pub fn recv_vectored(&mut self, most: usize) -> Result<Vec<T>, StepError> {
        self.incoming.recv_vectored(most)
    }

    /// Waits until there are `count` elements; returns the number of elements. A timeout of `None` waits forever.
    ///
    /// # Errors
    /// As [`Incoming::wait`].
    ///
    /// ```
    /// use shm2_channel::duplex::{Interface, Listener, Options};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-wait-{}", std::process::id()));
    /// let mut listener = Listener::<u64>::bind(&path, Options::new(2))?;
    /// let client = std::thread::spawn(move || Interface::<u64>::connect(&path, Options::new(2)));
    /// let mut server = listener.accept(None)?.expect("no timeout");
    /// let mut client = client.join().expect("no panic")?;
    ///
    /// client.xmit(7)?;
    /// assert_eq!(server.wait(1, None)?, 1);
    /// server.recv()?;
    ///
    /// // The client is gone and nothing is left.
    /// drop(client);
    /// assert!(matches!(server.wait(1, None), Err(shm2_channel::StepError::PeerGone)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        self.incoming.wait(count, timeout)
    }

    /// See [`Outgoing::wait_for_space`].
    ///
    /// # Errors
    /// As [`Outgoing::wait_for_space`].
    pub fn wait_for_space(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        self.outgoing.wait_for_space(count, timeout)
    }

    /// See [`Outgoing::finish`].
    ///
    /// # Errors
    /// As [`Outgoing::finish`].
    pub fn finish(&mut self) -> Result<bool, StepError> {
        self.outgoing.finish()
    }
}

impl Interface<u8> {
    /// Length of the longest message in bytes: the capacity less 4.
    pub fn longest_message(&self) -> usize {
        longest_message(self.capacity())
    }

    /// See [`Outgoing::xmit_message`].
    ///
    /// # Errors
    /// As [`Outgoing::xmit_message`].
    pub fn xmit_message(&mut self, message: &[u8]) -> Result<bool, StepError> {
        self.outgoing.xmit_message(message)
    }

    /// See [`Outgoing::wait_for_message_space`].
    ///
    /// # Errors
    /// As [`Outgoing::wait_for_message_space`].
    pub fn wait_for_message_space(&mut self, bytes: usize, timeout: Option<Duration>) -> Result<(), StepError> {
        self.outgoing.wait_for_message_space(bytes, timeout)
    }

    /// See [`Incoming::recv_message`].
    ///
    /// # Errors
    /// As [`Incoming::recv_message`].
    pub fn recv_message(&mut self, message: &mut Vec<u8>) -> Result<bool, StepError> {
        self.incoming.recv_message(message)
    }
}

/// Both rings, one of which has enough. As a [`Side`] it has the larger number of both.
struct Either<'r, T> {
    outgoing: &'r mut shm2_ring::Sender<'static, T>,
    incoming: &'r mut shm2_ring::Receiver<'static, T>,
    /// Free slots that are enough.
    slots: usize,
    /// Elements that are enough.
    count: usize,
    /// Numbers found last, 0 for one that is too low.
    found: (usize, usize),
}

impl<T: Element> Side for Either<'_, T> {
    fn available(&mut self) -> Result<usize, StepError> {
        let enough = |there: usize, wanted| if there >= wanted { there } else { 0 };
        self.found = (enough(self.outgoing.available()?, self.slots), enough(self.incoming.available()?, self.count));
        Ok(self.found.0.max(self.found.1))
    }

    fn available_or_request(&mut self, _count: usize) -> Result<usize, StepError> {
        let free = self.outgoing.available_or_request(self.slots)?;
        self.found = (free, self.incoming.available_or_request(self.count)?);
        Ok(self.found.0.max(self.found.1))
    }

    fn withdraw_request(&mut self) {
        Side::withdraw_request(self.outgoing);
        Side::withdraw_request(self.incoming);
    }
}

/// Size of each ring, and offset of the second ring, in bytes.
fn ring_layout<T: Element>(capacity: usize) -> Result<(usize, usize), ChannelError> {
    let invalid = ChannelError::Capacity { capacity, element: size_of::<T>() };
    let bytes = shm2_ring::channel_bufsize::<T>(capacity).filter(|_| capacity > 0 && size_of::<T>() > 0);
    let second = bytes.and_then(|bytes| bytes.checked_next_multiple_of(PAGE));
    let all = second
        .zip(bytes)
        .filter(|(second, bytes)| second.checked_add(*bytes).is_some_and(|all| all < isize::MAX as usize));
    all.map(|(second, bytes)| (bytes, second)).ok_or(invalid)
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Pause before the next try when the server's queue of connections is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);

fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

fn connect_until(path: &Path, deadline: Option<Instant>) -> Result<OwnedFd, ConnectError> {
    loop {
        match connect_to(path) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(ConnectError::NoServer { path: path.into(), source: error });
            }
            Err(_) if left(deadline).is_some_and(|left| left.is_zero()) => return Err(ConnectError::TimedOut),
            Err(_) => std::thread::sleep(FULL_PAUSE),
        }
    }
}

/// Waits for the server's answer.
fn receive_answer(socket: &OwnedFd, deadline: Option<Instant>) -> Result<Hello, ConnectError> {
    loop {
        let mut bytes = [0; BYTES];
        match receive_message(socket, &mut bytes)? {
            Message::Bytes { count, fds, is_whole } => {
                close_elsewhere(fds);
                return Hello::read(&bytes[..count]).filter(|_| is_whole).ok_or(ConnectError::BrokenOff);
            }
            Message::Nothing => {}
            Message::End => return Err(ConnectError::BrokenOff),
        }
        let left = left(deadline);
        if left.is_some_and(|left| left.is_zero()) {
            return Err(ConnectError::TimedOut);
        }
        wait_readable(socket.as_fd(), None, left)?;
    }
}
