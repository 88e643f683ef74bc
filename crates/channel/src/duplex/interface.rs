//! One end of a connection.
//!
//! # Safety
//! Both rings lie in one mapping that was checked against its seals and is longer than both; it lives longer than they.

#![allow(unsafe_code)]

use super::halves::{Common, Incoming, Outgoing, longest_message};
use super::handshake::{BYTES, Hello};
use super::link::Link;
use super::{ConnectError, Credentials, Options, Passed};
use crate::shared::{Shared, readable, writable};
use crate::sys::{
    Message, close_elsewhere, connect_to, receive_message, refuse_descriptors, send_message, wait_readable,
};
use crate::{ChannelError, Element, StepError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The second ring begins at a multiple of this.
const PAGE: usize = 4096;

/// Sends and receives elements, both ways at the same time.
#[derive(Debug)]
pub struct Interface<T> {
    pub(super) outgoing: Outgoing<T>,
    pub(super) incoming: Incoming<T>,
}

/// Bytes of each ring, and where the second begins.
fn places<T: Element>(capacity: usize) -> Result<(usize, usize), ChannelError> {
    let no = ChannelError::Capacity { capacity, element: size_of::<T>() };
    let bytes = shm2_ring::channel_bufsize::<T>(capacity).filter(|_| capacity > 0 && size_of::<T>() > 0);
    let second = bytes.and_then(|bytes| bytes.checked_next_multiple_of(PAGE));
    let all = second
        .zip(bytes)
        .filter(|(second, bytes)| second.checked_add(*bytes).is_some_and(|all| all < isize::MAX as usize));
    all.map(|(second, bytes)| (bytes, second)).ok_or(no)
}

impl<T: Element> Interface<T> {
    /// Connects to the [`Listener`](super::Listener) at `path`, and waits for its welcome as long as the options say: a
    /// server may be busy. A server that was started anew is another one: connect again.
    ///
    /// # Errors
    /// When nobody listens there, does not answer in time, or says no: each reason has its own text.
    pub fn connect(path: impl AsRef<Path>, options: Options) -> Result<Self, ConnectError> {
        let path = path.as_ref();
        let deadline = Instant::now().checked_add(options.timeout);
        let (bytes, second) = places::<T>(options.capacity)?;
        let socket = connect_until(path, deadline)?;
        if !options.descriptors {
            refuse_descriptors(&socket);
        }
        let shared = Shared::create_bytes(second + bytes, None)?;
        let hello = Hello::of::<T>(options.capacity).bytes();
        match send_message(&socket, &hello, &[shared.memory.as_fd()]) {
            Ok(true) => {}
            Ok(false) => return Err(ConnectError::BrokenOff),
            // It may have said why before it closed.
            Err(error) if is_over(&error) => {}
            Err(error) => return Err(error.into()),
        }
        answer(&socket, deadline)?.verdict(&hello)?;
        Ok(Self::attach(shared, socket, options, true)?)
    }

    /// The server's end, on memory from a client.
    pub(super) fn serve(socket: OwnedFd, memory: OwnedFd, options: Options) -> Result<Self, ChannelError> {
        let (bytes, second) = places::<T>(options.capacity)?;
        let shared = Shared::open_bytes(options.capacity, second + bytes, memory, false)?;
        Self::attach(shared, socket, options, false)
    }

    fn attach(shared: Shared, socket: OwnedFd, options: Options, is_client: bool) -> Result<Self, ChannelError> {
        let (bytes, second) = places::<T>(options.capacity)?;
        // SAFETY: `second` and `bytes` lie inside the mapping, see the head of this file.
        let places = unsafe { [shared.address(), shared.address().add(second)] };
        let [mine, theirs] = if is_client { places } else { [places[1], places[0]] };
        // SAFETY: valid for so many bytes as long as the mapping; each ring has one sender and one receiver by the
        // handshake, and a peer that does not keep to it can only spoil elements, which are plain data.
        let (sender, mut receiver) =
            unsafe { (shm2_ring::Sender::attach(mine, bytes)?, shm2_ring::Receiver::attach(theirs, bytes)?) };
        // Asks for a signal from the start: a loop of one's own may not look before one comes.
        let _ = receiver.peek(1);
        let common = Arc::new(Common { link: Link::new(socket, options.descriptors), _shared: shared });
        let outgoing = Outgoing { ring: sender, is_finished: false, common: common.clone() };
        Ok(Self { outgoing, incoming: Incoming { ring: receiver, common } })
    }

    fn link(&self) -> &Link {
        &self.outgoing.common.link
    }

    #[cfg(feature = "tokio")]
    pub(super) fn is_over(&self, receives: bool) -> bool {
        self.link().is_over(receives)
    }

    /// The two directions, for a thread each.
    pub fn split(self) -> (Outgoing<T>, Incoming<T>) {
        (self.outgoing, self.incoming)
    }

    /// Elements of each ring.
    pub fn capacity(&self) -> usize {
        self.outgoing.ring.capacity()
    }

    /// Who is on the other end.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn credentials(&self) -> Result<Credentials, StepError> {
        let (pid, uid, gid) = self.link().peer()?;
        Ok(Credentials { pid, uid, gid })
    }

    /// The descriptor to wait on in a loop of one's own: readable when the other side signalled. It does so only for a side
    /// that found nothing: wait after [`recv`](Self::recv) returned nothing, or [`xmit`](Self::xmit) false, not before.
    /// When it is readable call [`clear`](Self::clear), then take and send until there is nothing to do again.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.link().socket()
    }

    /// Takes the signals that are there: some at a time, so that a peer that floods keeps nobody here.
    ///
    /// # Errors
    /// [`StepError::PeerGone`]; there may still be elements to receive. [`StepError::TooManyPassed`].
    pub fn clear(&mut self) -> Result<(), StepError> {
        self.link().clear()
    }

    /// As [`Outgoing::pass`].
    ///
    /// # Errors
    /// As there.
    pub fn pass(&mut self, number: u64, descriptors: &[BorrowedFd]) -> Result<bool, StepError> {
        self.outgoing.pass(number, descriptors)
    }

    /// As [`Incoming::take_passed`].
    pub fn take_passed(&mut self) -> Option<Passed> {
        self.incoming.take_passed()
    }

    /// As [`Incoming::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.incoming.is_finished()
    }

    /// Waits until there is room for `room` elements, or there are `count` to receive; returns how many of each there are, 0
    /// if too few. Whoever sends much and waits for room only can wait for a peer that waits for him. `None`: for ever.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for_either(
        &mut self,
        room: usize,
        count: usize,
        timeout: Option<Duration>,
    ) -> Result<(usize, usize), StepError> {
        let Self { outgoing, incoming } = self;
        let mut found = (0, 0);
        let is_finished = incoming.is_finished();
        outgoing.common.link.block_until(1, timeout, is_finished, || {
            found = (writable(&mut outgoing.ring, room)?, readable(&mut incoming.ring, count)?);
            Ok(found.0.max(found.1))
        })?;
        Ok(found)
    }

    /// As [`Outgoing::xmit`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn xmit(&mut self, value: T) -> Result<bool, StepError> {
        self.outgoing.xmit(value)
    }

    /// As [`Outgoing::xmit_all`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn xmit_all(&mut self, values: &[T]) -> Result<bool, StepError> {
        self.outgoing.xmit_all(values)
    }

    /// As [`Incoming::recv`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<T>, StepError> {
        self.incoming.recv()
    }

    /// As [`Incoming::recv_vectored`].
    ///
    /// # Errors
    /// As there.
    pub fn recv_vectored(&mut self, most: usize) -> Result<Vec<T>, StepError> {
        self.incoming.recv_vectored(most)
    }

    /// As [`Incoming::wait`].
    ///
    /// # Errors
    /// As there.
    pub fn wait(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        self.incoming.wait(count, timeout)
    }

    /// As [`Outgoing::wait_for_room`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_for_room(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        self.outgoing.wait_for_room(count, timeout)
    }

    /// As [`Outgoing::finish`].
    ///
    /// # Errors
    /// As there.
    pub fn finish(&mut self) -> Result<bool, StepError> {
        self.outgoing.finish()
    }
}

impl Interface<u8> {
    /// The longest message, in bytes.
    pub fn longest_message(&self) -> usize {
        longest_message(self.capacity())
    }

    /// As [`Outgoing::xmit_message`].
    ///
    /// # Errors
    /// As there.
    pub fn xmit_message(&mut self, message: &[u8]) -> Result<bool, StepError> {
        self.outgoing.xmit_message(message)
    }

    /// As [`Outgoing::wait_for_message_room`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_for_message_room(&mut self, bytes: usize, timeout: Option<Duration>) -> Result<(), StepError> {
        self.outgoing.wait_for_message_room(bytes, timeout)
    }

    /// As [`Incoming::recv_message`].
    ///
    /// # Errors
    /// As there.
    pub fn recv_message(&mut self, message: &mut Vec<u8>) -> Result<bool, StepError> {
        self.incoming.recv_message(message)
    }
}

fn is_over(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Until the next try at a server that has no place for one more to wait.
const FULL: Duration = Duration::from_millis(5);

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
            Err(_) => std::thread::sleep(FULL),
        }
    }
}

/// Waits for the server's answer to a hello.
fn answer(socket: &OwnedFd, deadline: Option<Instant>) -> Result<Hello, ConnectError> {
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
