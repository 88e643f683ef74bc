//! The other side of a channel, as it is passed to another process.

use crate::sys::{
    Message, Outcome, close_elsewhere, is_memory, is_seqpacket, new_socket_pair, receive_message, send_message,
    wait_readable,
};
use crate::{ChannelError, Element, Receiver, Role, Sender, Signals};
use std::array;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

const BYTES: usize = 40;
const MAGIC: u64 = u64::from_le_bytes(*b"SHM2CHN\0");
const VERSION: u32 = 1;

/// The other side of a channel, to be passed to another process: a description of 40 bytes and two descriptors, the
/// memory and one end of a socket for the signals.
///
/// [`send`](Self::send) and [`receive`](Self::receive) pass it by a Unix socket. [`into_parts`](Self::into_parts) and
/// [`from_parts`](Self::from_parts) serve for any other transport of descriptors, such as D-Bus.
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

impl Offer {
    /// The role of the recipient.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Capacity of the channel in elements, as the other side announced it.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Opens the channel as its sender. Only size and alignment of the elements are compared: `f64` and `u64` match.
    ///
    /// # Errors
    /// [`ChannelError::Role`] when the offer is for a receiver, [`ChannelError::Element`] when it is for other
    /// elements; otherwise as [`Sender::open`].
    pub fn into_sender<T: Element>(self) -> Result<Sender<T>, ChannelError> {
        let capacity = self.check::<T>(Role::Sender)?;
        Sender::open(capacity, self.memory, Signals::socket(self.signals))
    }

    /// Opens the channel as its receiver. Only size and alignment of the elements are compared: `f64` and `u64` match.
    ///
    /// # Errors
    /// [`ChannelError::Role`] when the offer is for a sender, [`ChannelError::Element`] when it is for other elements;
    /// otherwise as [`Receiver::open`].
    pub fn into_receiver<T: Element>(self) -> Result<Receiver<T>, ChannelError> {
        let capacity = self.check::<T>(Role::Receiver)?;
        Receiver::open(capacity, self.memory, Signals::socket(self.signals))
    }

    fn of<T: Element>(role: Role, capacity: usize, memory: BorrowedFd, signals: OwnedFd) -> Result<Self, ChannelError> {
        let memory = memory.try_clone_to_owned();
        let memory = memory.map_err(|source| ChannelError::System { what: "copy a descriptor", source })?;
        Ok(Self { role, element: element::<T>(), capacity: capacity as u64, memory, signals })
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

    /// The description, and the descriptors in the order memory, signals.
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

    /// An offer from the description and the descriptors that another process passed.
    ///
    /// # Errors
    /// [`ChannelError::NoOffer`] when the description or a descriptor is invalid, [`ChannelError::Version`].
    pub fn from_parts(description: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, ChannelError> {
        let (role, element, capacity) = match parse(description, descriptors.len()) {
            Ok(parsed) => parsed,
            Err(error) => {
                close_elsewhere(descriptors);
                return Err(error);
            }
        };
        // A descriptor of another type could block this process, or be readable forever.
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

    /// Sends the offer by a connected Unix socket of any type.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket is full, [`io::ErrorKind::BrokenPipe`] when the other side is
    /// gone.
    ///
    /// ```
    /// use shm2_channel::{Offer, Role, Sender};
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let (mut sender, offer) = Sender::<u32>::offer(100)?;
    /// assert_eq!((offer.role(), offer.capacity()), (Role::Receiver, 100));
    /// offer.send(&ours)?;
    ///
    /// // In the process that has the other end of the socket:
    /// let mut receiver = Offer::receive(&theirs, None)?.into_receiver::<u32>()?;
    /// sender.send_all(&[7])?;
    /// assert_eq!(receiver.block_until_readable(1, None)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(self, socket: impl AsFd) -> io::Result<()> {
        match send_message(socket, &self.bytes(), &[self.memory.as_fd(), self.signals.as_fd()])? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Waits for an offer on a connected Unix socket of any type. A child process that has the socket as its standard
    /// input passes `std::io::stdin()`. A timeout of `None` waits forever.
    ///
    /// # Errors
    /// [`ChannelError::NoOfferInTime`]; [`ChannelError::PeerGone`] when the other side closed the socket; as
    /// [`from_parts`](Self::from_parts) when another message comes; [`ChannelError::System`].
    ///
    /// ```
    /// use shm2_channel::{ChannelError, Offer};
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let offer = Offer::receive(&ours, Some(Duration::from_millis(1)));
    /// assert!(matches!(offer, Err(ChannelError::NoOfferInTime)));
    /// drop(theirs);
    /// assert!(matches!(Offer::receive(&ours, None), Err(ChannelError::PeerGone)));
    /// # Ok(())
    /// # }
    /// ```
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

impl<T: Element> Sender<T> {
    /// Creates a channel of `capacity` elements with signals by a pair of sockets, and the offer of its other side.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`ChannelError::System`] when the process has no descriptors left.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut sender, offer) = shm2_channel::Sender::<u32>::offer(100)?;
    /// let mut receiver = offer.into_receiver::<u32>()?;
    /// sender.send_all(&[1, 2, 3])?;
    /// assert_eq!(receiver.readable()?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn offer(capacity: usize) -> Result<(Self, Offer), ChannelError> {
        let (ours, theirs) = socket_pair()?;
        let sender = Self::new(capacity, Signals::socket(ours))?;
        let offer = Offer::of::<T>(Role::Receiver, capacity, sender.memory(), theirs)?;
        Ok((sender, offer))
    }
}

impl<T: Element> Receiver<T> {
    /// Creates a channel of `capacity` elements with signals by a pair of sockets, and the offer of its other side.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`ChannelError::System`] when the process has no descriptors left.
    pub fn offer(capacity: usize) -> Result<(Self, Offer), ChannelError> {
        let (ours, theirs) = socket_pair()?;
        let receiver = Self::new(capacity, Signals::socket(ours))?;
        let offer = Offer::of::<T>(Role::Sender, capacity, receiver.memory(), theirs)?;
        Ok((receiver, offer))
    }
}

/// Size and alignment of an element in bytes.
fn element<T>() -> (u32, u32) {
    (size_of::<T>() as u32, align_of::<T>() as u32)
}

/// Role, element and capacity from a description.
fn parse(description: &[u8], descriptors: usize) -> Result<(Role, (u32, u32), u64), ChannelError> {
    let no_offer = || ChannelError::NoOffer { bytes: description.len(), descriptors };
    let u32_at = |at: usize| u32::from_le_bytes(array::from_fn(|i| description[at + i]));
    let u64_at = |at: usize| u64::from_le_bytes(array::from_fn(|i| description[at + i]));
    if description.len() != BYTES || u64_at(0) != MAGIC {
        return Err(no_offer());
    }
    if u32_at(8) != VERSION {
        return Err(ChannelError::Version { theirs: u32_at(8), ours: VERSION });
    }
    let role = match u32_at(12) {
        0 => Role::Sender,
        1 => Role::Receiver,
        _ => return Err(no_offer()),
    };
    Ok((role, (u32_at(16), u32_at(20)), u64_at(24)))
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd), ChannelError> {
    new_socket_pair().map_err(|source| ChannelError::System { what: "make a pair of sockets", source })
}
