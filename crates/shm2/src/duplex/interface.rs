//! One end of a connection.
//!
//! # Safety
//! Both rings lie in one mapping that was checked against its seals and is longer than both; it lives longer than they.

#![allow(unsafe_code)]

use super::handshake::{BYTES, Hello};
use super::{ConnectError, Credentials, Options};
use crate::backend::{Message, connect_to, peer_of, receive_message, send_message};
use crate::channel::shared::{Shared, block_until};
use crate::channel::{ChannelError, Corrupt, Element, RingError, Signals, Status, StepError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The second ring begins at a multiple of this.
const PAGE: usize = 4096;
/// Time for the server's answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Sends and receives elements, both ways at the same time.
#[derive(Debug)]
pub struct Interface<T> {
    sender: shm2_ring::Sender<'static, T>,
    receiver: shm2_ring::Receiver<'static, T>,
    /// Keeps the memory mapped; dropped after the rings.
    _shared: Shared,
    signals: Signals,
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
    /// Connects to the [`Listener`](super::Listener) at `path`.
    ///
    /// # Errors
    /// When nobody listens there, or the server says no: each reason has its own text.
    pub fn connect(path: impl AsRef<Path>, options: Options) -> Result<Self, ConnectError> {
        let path = path.as_ref();
        let socket = connect_to(path).map_err(|source| ConnectError::NoServer { path: path.into(), source })?;
        let (bytes, second) = places::<T>(options.capacity)?;
        let shared = Shared::create_bytes(second + bytes, None)?;
        let hello = Hello::of::<T>(options.capacity).bytes();
        if !send_message(&socket, &hello, &[shared.memory.as_fd()])? {
            return Err(ConnectError::BrokenOff);
        }
        let signals = Signals::socket(socket);
        answer(&signals)?.verdict()?;
        Ok(Self::attach(shared, signals, options.capacity, true)?)
    }

    /// The server's end, on memory from a client.
    pub(super) fn serve(socket: OwnedFd, memory: OwnedFd, capacity: usize) -> Result<Self, ChannelError> {
        let (bytes, second) = places::<T>(capacity)?;
        let shared = Shared::open_bytes(capacity, second + bytes, memory)?;
        Self::attach(shared, Signals::socket(socket), capacity, false)
    }

    fn attach(shared: Shared, signals: Signals, capacity: usize, is_client: bool) -> Result<Self, ChannelError> {
        let (bytes, second) = places::<T>(capacity)?;
        // SAFETY: `second` and `bytes` lie inside the mapping, see the head of this file.
        let places = unsafe { [shared.address(), shared.address().add(second)] };
        let [mine, theirs] = if is_client { places } else { [places[1], places[0]] };
        // SAFETY: valid for so many bytes as long as the mapping; each ring has one sender and one receiver by the
        // handshake, and a peer that does not keep to it can only spoil elements, which are plain data.
        let (sender, receiver) =
            unsafe { (shm2_ring::Sender::attach(mine, bytes)?, shm2_ring::Receiver::attach(theirs, bytes)?) };
        let mut interface = Self { sender, receiver, _shared: shared, signals };
        // Asks for a signal from the start: a loop of one's own may not look before one comes.
        let _ = interface.receiver.peek(1);
        Ok(interface)
    }

    /// Elements of each ring.
    pub fn capacity(&self) -> usize {
        self.sender.capacity()
    }

    /// Who is on the other end.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn credentials(&self) -> Result<Credentials, StepError> {
        let (pid, uid, gid) = peer_of(self.signals.wait_on())?;
        Ok(Credentials { pid, uid, gid })
    }

    /// The descriptor to wait on in a loop of one's own: readable when there may be something to do. Then call
    /// [`clear`](Self::clear), and take all that is there.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.signals.wait_on()
    }

    /// Takes the signals that are there.
    ///
    /// # Errors
    /// [`StepError::PeerGone`]; there may still be elements to receive.
    pub fn clear(&mut self) -> Result<(), StepError> {
        // Some at a time, so that a peer that floods keeps nobody here.
        if self.signals.clear()? { Ok(()) } else { Err(StepError::PeerGone) }
    }

    fn signal(&self, status: Status) -> Result<(), StepError> {
        if status.signal && !self.signals.wake()? { Err(StepError::PeerGone) } else { Ok(()) }
    }

    /// Sends one element; false when there is no room: then the other side will signal when there is.
    ///
    /// # Errors
    /// When the peer is gone or misbehaves.
    #[inline]
    pub fn xmit(&mut self, value: T) -> Result<bool, StepError> {
        self.xmit_all(&[value])
    }

    /// Sends all elements, or none when there is not room for all.
    ///
    /// # Errors
    /// As [`xmit`](Self::xmit).
    #[inline]
    pub fn xmit_all(&mut self, values: &[T]) -> Result<bool, StepError> {
        let Some(status) = self.sender.send_all(values)? else { return Ok(false) };
        self.signal(status).map(|()| true)
    }

    /// The next element, if there is one.
    ///
    /// # Errors
    /// When the peer misbehaves. That it is gone is told by [`wait`](Self::wait) and [`clear`](Self::clear), when all
    /// that it sent is received.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<T>, StepError> {
        let Some(items) = self.receiver.peek(1)? else { return Ok(None) };
        let value = items.get(0);
        let status = items.consume(1);
        self.give_back(status)?;
        Ok(value)
    }

    /// All elements that are there, at most `most`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_vectored(&mut self, most: usize) -> Result<Vec<T>, StepError> {
        let count = self.receiver.readable()?.min(most);
        let mut values = Vec::with_capacity(count);
        let status = self.receiver.recv_foreach(count.max(1), |_, value| values.push(value))?;
        self.give_back(status)?;
        Ok(values)
    }

    /// Wakes a peer that waits for room. That it is gone is no reason to lose what was received.
    fn give_back(&self, status: Status) -> Result<(), StepError> {
        match self.signal(status) {
            Err(StepError::PeerGone) => Ok(()),
            other => other,
        }
    }

    /// Waits until there are `count` elements to receive; returns how many there are. `None`: for ever.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when fewer are left, [`StepError::TimedOut`].
    pub fn wait(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { receiver, signals, .. } = self;
        block_until(signals, count, timeout, || match receiver.peek(count)? {
            Some(_) => Ok(receiver.readable()?),
            None => Ok(0),
        })
    }

    /// Waits until there is room for `count` elements; returns for how many. `None`: for ever.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for_room(&mut self, count: usize, timeout: Option<Duration>) -> Result<usize, StepError> {
        let Self { sender, signals, .. } = self;
        block_until(signals, count, timeout, || match sender.reserve(count)? {
            Some(_) => Ok(sender.writable()?),
            None => Ok(0),
        })
    }
}

/// Bytes of a message's length.
const LENGTH: usize = 4;

/// Messages of any length, one behind the other in a ring of bytes: length u32 (little-endian), then the bytes.
impl Interface<u8> {
    /// The longest message.
    pub fn longest_message(&self) -> usize {
        (self.capacity().saturating_sub(LENGTH)).min(u32::MAX as usize)
    }

    /// Sends a message; false when there is no room now.
    ///
    /// # Errors
    /// When it is longer than [`longest_message`](Self::longest_message); else as [`xmit`](Self::xmit).
    pub fn xmit_message(&mut self, message: &[u8]) -> Result<bool, StepError> {
        let longest = self.longest_message();
        if message.len() > longest {
            return Err(RingError::TooMany { count: message.len(), available: longest }.into());
        }
        let Some(mut slots) = self.sender.reserve(LENGTH + message.len())? else { return Ok(false) };
        slots.write(0, &(message.len() as u32).to_le_bytes());
        slots.write(LENGTH, message);
        let status = slots.commit(LENGTH + message.len());
        self.signal(status).map(|()| true)
    }

    /// The next message, in place of what `message` holds; false when there is none.
    ///
    /// # Errors
    /// When the peer says a length that cannot be.
    pub fn recv_message(&mut self, message: &mut Vec<u8>) -> Result<bool, StepError> {
        let (capacity, read) = (self.capacity(), self.receiver.read_count());
        let Some(head) = self.receiver.peek(LENGTH)? else { return Ok(false) };
        let mut length = [0; LENGTH];
        head.read_into(0, &mut length);
        let length = u32::from_le_bytes(length) as usize;
        if length > capacity.saturating_sub(LENGTH) {
            let written = read.wrapping_add(length as u64);
            return Err(Corrupt::Written { written, seen: read, read, capacity }.into());
        }
        let Some(items) = self.receiver.peek(LENGTH + length)? else { return Ok(false) };
        message.clear();
        message.resize(length, 0);
        items.read_into(LENGTH, message);
        let status = items.consume(LENGTH + length);
        self.give_back(status)?;
        Ok(true)
    }
}

/// Waits for the server's answer to a hello.
fn answer(signals: &Signals) -> Result<Hello, ConnectError> {
    let deadline = Instant::now() + ANSWER;
    loop {
        let mut bytes = [0; BYTES];
        match receive_message(signals.wait_on(), &mut bytes)? {
            Message::Bytes { count: BYTES, is_whole: true, .. } => {
                return Hello::read(&bytes).ok_or(ConnectError::BrokenOff);
            }
            Message::Nothing => {}
            _ => return Err(ConnectError::BrokenOff),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ConnectError::TimedOut);
        }
        signals.wait(Some(left))?;
    }
}
