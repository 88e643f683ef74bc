//! What one side of a channel hands to the other.

use super::{ChannelError, Element, Receiver, Sender, Signals};
use crate::sys::{
    Message, Outcome, close_elsewhere, is_memory, is_seqpacket, new_socket_pair, receive_message, send_message,
    wait_readable,
};
use std::array;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

const BYTES: usize = 40;
const MAGIC: u64 = u64::from_le_bytes(*b"SHM2CHN\0");
const VERSION: u32 = 1;

/// What whoever gets an offer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The side that writes.
    Sender,
    /// The side that reads.
    Receiver,
}

/// The other side of a channel, to be handed over: 40 bytes of description and two descriptors, the memory and one end of
/// a socket for the signals.
///
/// [`send`](Self::send) and [`receive`](Self::receive) do that by a Unix socket. Anything else that passes descriptors
/// does as well, D-Bus for one: [`into_parts`](Self::into_parts), [`from_parts`](Self::from_parts).
///
/// # Layout
/// Little-endian: magic `SHM2CHN` and a zero byte, version u32 (1), role u32 (0 sender, 1 receiver), size of an element
/// u32, its alignment u32, capacity u64, zeros.
#[derive(Debug)]
pub struct Offer {
    role: Role,
    element: (u32, u32),
    capacity: u64,
    memory: OwnedFd,
    signals: OwnedFd,
}

/// Size and alignment.
fn element<T>() -> (u32, u32) {
    (size_of::<T>() as u32, align_of::<T>() as u32)
}

/// Role, element and capacity, as a description says.
fn read(description: &[u8], descriptors: usize) -> Result<(Role, (u32, u32), u64), ChannelError> {
    let no = || ChannelError::NoOffer { bytes: description.len(), descriptors };
    let u32_at = |at: usize| u32::from_le_bytes(array::from_fn(|i| description[at + i]));
    let u64_at = |at: usize| u64::from_le_bytes(array::from_fn(|i| description[at + i]));
    if description.len() != BYTES || u64_at(0) != MAGIC {
        return Err(no());
    }
    if u32_at(8) != VERSION {
        return Err(ChannelError::Version { theirs: u32_at(8), ours: VERSION });
    }
    let role = match u32_at(12) {
        0 => Role::Sender,
        1 => Role::Receiver,
        _ => return Err(no()),
    };
    Ok((role, (u32_at(16), u32_at(20)), u64_at(24)))
}

impl Offer {
    fn of<T: Element>(role: Role, capacity: usize, memory: BorrowedFd, signals: OwnedFd) -> Result<Self, ChannelError> {
        let memory = memory.try_clone_to_owned();
        let memory = memory.map_err(|source| ChannelError::System { what: "copy a descriptor", source })?;
        Ok(Self { role, element: element::<T>(), capacity: capacity as u64, memory, signals })
    }

    /// What its owner is to be.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Elements of the channel, as the other side says.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Becomes the sender. Of the elements size and alignment are compared, no more: `f64` and `u64` pass for each other.
    ///
    /// # Errors
    /// When it is meant for a receiver or other elements, or as [`Sender::open`].
    pub fn into_sender<T: Element>(self) -> Result<Sender<T>, ChannelError> {
        let capacity = self.check::<T>(Role::Sender)?;
        Sender::open(capacity, self.memory, Signals::socket(self.signals))
    }

    /// Becomes the receiver. Of the elements size and alignment are compared, no more: `f64` and `u64` pass for each other.
    ///
    /// # Errors
    /// When it is meant for a sender or other elements, or as [`Receiver::open`].
    pub fn into_receiver<T: Element>(self) -> Result<Receiver<T>, ChannelError> {
        let capacity = self.check::<T>(Role::Receiver)?;
        Receiver::open(capacity, self.memory, Signals::socket(self.signals))
    }

    fn check<T: Element>(&self, role: Role) -> Result<usize, ChannelError> {
        if self.role != role {
            return Err(ChannelError::Role { offered: self.role });
        }
        if self.element != element::<T>() {
            let (bytes, alignment) = self.element;
            return Err(ChannelError::Element { bytes, alignment, wanted: size_of::<T>() });
        }
        usize::try_from(self.capacity)
            .map_err(|_| ChannelError::Capacity { capacity: usize::MAX, element: size_of::<T>() })
    }

    /// The description, and the descriptors in their order.
    pub fn into_parts(self) -> ([u8; BYTES], [OwnedFd; 2]) {
        (self.bytes(), [self.memory, self.signals])
    }

    fn bytes(&self) -> [u8; BYTES] {
        let role = match self.role {
            Role::Sender => 0u32,
            Role::Receiver => 1,
        };
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        for (at, word) in [(8, VERSION), (12, role), (16, self.element.0), (20, self.element.1)] {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[24..32].copy_from_slice(&self.capacity.to_le_bytes());
        bytes
    }

    /// An offer from what another process handed over.
    ///
    /// # Errors
    /// When it is none, or one of another version.
    pub fn from_parts(description: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, ChannelError> {
        let (role, element, capacity) = match read(description, descriptors.len()) {
            Ok(read) => read,
            Err(error) => {
                close_elsewhere(descriptors);
                return Err(error);
            }
        };
        // Anything else could make its owner wait or turn without end.
        let (bytes, count) = (description.len(), descriptors.len());
        match <[OwnedFd; 2]>::try_from(descriptors) {
            Ok([memory, signals]) if is_memory(&memory) && is_seqpacket(&signals) => {
                Ok(Self { role, element, capacity, memory, signals })
            }
            other => {
                close_elsewhere(other.map_or_else(|fds| fds, Vec::from));
                Err(ChannelError::NoOffer { bytes, descriptors: count })
            }
        }
    }

    /// Hands the offer over by a connected Unix socket, of any kind.
    ///
    /// # Errors
    /// When nobody is there, or the socket is full.
    pub fn send(self, socket: impl AsFd) -> io::Result<()> {
        match send_message(socket, &self.bytes(), &[self.memory.as_fd(), self.signals.as_fd()])? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Waits for an offer on a connected Unix socket, of any kind; a child process may have it as its standard input, and
    /// pass `std::io::stdin()`. `None`: for ever.
    ///
    /// # Errors
    /// [`ChannelError::NoOfferInTime`]; [`ChannelError::PeerGone`]; when something else comes.
    pub fn receive(socket: impl AsFd, timeout: Option<Duration>) -> Result<Self, ChannelError> {
        let failed = |source| ChannelError::System { what: "wait for a channel", source };
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut bytes = [0; BYTES];
        loop {
            match receive_message(&socket, &mut bytes).map_err(failed)? {
                Message::Bytes { count, fds, .. } => return Self::from_parts(&bytes[..count], fds),
                Message::End => return Err(ChannelError::PeerGone),
                Message::Nothing => {}
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let waited = match left {
                Some(Duration::ZERO) => Outcome::TimedOut,
                left => wait_readable(socket.as_fd(), None, left).map_err(failed)?,
            };
            if waited == Outcome::TimedOut && left.is_some_and(|left| left.is_zero()) {
                return Err(ChannelError::NoOfferInTime);
            }
        }
    }
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd), ChannelError> {
    new_socket_pair().map_err(|source| ChannelError::System { what: "make a pair of sockets", source })
}

impl<T: Element> Sender<T> {
    /// A new channel, and its other side to be handed to another process. The signals go by a pair of sockets.
    ///
    /// # Errors
    /// When there is no memory, or no descriptor.
    pub fn offer(capacity: usize) -> Result<(Self, Offer), ChannelError> {
        let (ours, theirs) = socket_pair()?;
        let sender = Self::new(capacity, Signals::socket(ours))?;
        let offer = Offer::of::<T>(Role::Receiver, capacity, sender.memory(), theirs)?;
        Ok((sender, offer))
    }
}

impl<T: Element> Receiver<T> {
    /// A new channel, and its other side to be handed to another process. The signals go by a pair of sockets.
    ///
    /// # Errors
    /// When there is no memory, or no descriptor.
    pub fn offer(capacity: usize) -> Result<(Self, Offer), ChannelError> {
        let (ours, theirs) = socket_pair()?;
        let receiver = Self::new(capacity, Signals::socket(ours))?;
        let offer = Offer::of::<T>(Role::Sender, capacity, receiver.memory(), theirs)?;
        Ok((receiver, offer))
    }
}
