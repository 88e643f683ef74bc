//! The socket of a connection: signals, passed descriptors, and the peer's end.

use super::Passed;
use crate::StepError;
use crate::sys::{
    MOST_DESCRIPTORS, Message, Outcome, Waker, close_elsewhere, is_closed, peer_of, receive_message,
    refuse_descriptors, send_message, wait_readable,
};
use crate::wait::{Side, Spin, block_until};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// First byte of the message that this side sends no more elements. A signal is a 1, see [`Waker`].
const FINISHED: u8 = 2;
/// First byte of a message with descriptors; a number of eight bytes follows.
const PASSED: u8 = 3;

/// Bound of one call: more messages than a socket holds at a time. A peer that floods cannot keep the caller in it.
const MOST_MESSAGES: usize = 512;
/// Largest number of sets of descriptors kept until the caller takes them.
const MOST_SETS: usize = 16;

/// The socket that both directions of a connection share. One waiting thread at a time reads it, on behalf of all.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    accepts_descriptors: bool,
    state: Mutex<LinkState>,
    /// Notified after each read of the socket.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LinkState {
    is_gone: bool,
    is_finished: bool,
    /// Whether a thread waits on the socket.
    is_watched: bool,
    /// Number of times that the socket was read.
    reads: u64,
    passed: VecDeque<Passed>,
}

impl Link {
    pub(super) fn new(socket: OwnedFd, accepts_descriptors: bool) -> Self {
        if !accepts_descriptors {
            refuse_descriptors(&socket);
        }
        Self { socket, accepts_descriptors, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn peer(&self) -> io::Result<(i32, u32, u32)> {
        peer_of(&self.socket)
    }

    /// Wakes the other side. False when it is gone.
    pub(super) fn wake(&self) -> io::Result<bool> {
        Waker::Socket.wake(&self.socket)
    }

    /// Sends the message that this side sends no more elements. False when the socket is full.
    pub(super) fn finish(&self) -> Result<bool, StepError> {
        self.send(&[FINISHED], &[])
    }

    /// Passes descriptors. False when the socket is full.
    pub(super) fn pass(&self, number: u64, fds: &[BorrowedFd]) -> Result<bool, StepError> {
        if fds.is_empty() || fds.len() > MOST_DESCRIPTORS {
            return Err(StepError::Descriptors { count: fds.len(), most: MOST_DESCRIPTORS });
        }
        let mut bytes = [PASSED; 9];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        self.send(&bytes, fds)
    }

    fn send(&self, bytes: &[u8], fds: &[BorrowedFd]) -> Result<bool, StepError> {
        send_message(&self.socket, bytes, fds).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => {
                StepError::PeerGone
            }
            _ => error.into(),
        })
    }

    /// Whether the other side has finished, according to the messages read so far.
    pub(super) fn is_finished(&self) -> bool {
        self.lock().is_finished
    }

    pub(super) fn take_passed(&self) -> Option<Passed> {
        self.lock().passed.pop_front()
    }

    /// Reads the messages that have come.
    pub(super) fn clear(&self) -> Result<(), StepError> {
        let mut state = self.lock();
        let taken = self.read_messages(&mut state);
        state.reads += 1;
        self.changed.notify_all();
        taken?;
        if state.is_gone { Err(StepError::PeerGone) } else { Ok(()) }
    }

    /// Waits as [`block_until`]. A wait that `receives` also ends when the other side has finished.
    pub(super) fn block_until(
        &self,
        side: &mut impl Side,
        spin: &mut Spin,
        count: usize,
        timeout: Option<Duration>,
        receives: bool,
    ) -> Result<usize, StepError> {
        let seen = Cell::new(0);
        // Loaded before the ring is checked, so that a later message is a later read.
        let before = || seen.set(self.lock().reads);
        block_until(side, spin, count, timeout, before, |left| {
            if !self.is_over(receives) {
                self.wait_read(seen.get(), left)?;
            }
            Ok(self.is_over(receives))
        })
    }

    /// Whether the other side is gone. Reads no message and does not wait.
    #[cold]
    pub(super) fn is_gone(&self) -> Result<bool, StepError> {
        Ok(self.lock().is_gone || is_closed(&[self.socket()], None)?)
    }

    /// Whether the other side is gone or, for a wait that `receives`, has finished.
    pub(super) fn is_over(&self, receives: bool) -> bool {
        let state = self.lock();
        state.is_gone || receives && state.is_finished
    }

    /// Sleeps until the socket was read after read number `seen`, by this thread or another.
    fn wait_read(&self, seen: u64, timeout: Duration) -> Result<(), StepError> {
        let mut state = self.lock();
        if state.reads != seen {
            return Ok(());
        }
        if state.is_watched {
            drop(self.changed.wait_timeout(state, timeout));
            return Ok(());
        }
        state.is_watched = true;
        drop(state);
        let waited = wait_readable(self.socket(), None, Some(timeout));
        let mut state = self.lock();
        state.is_watched = false;
        state.reads += 1;
        state.is_gone |= matches!(waited, Ok(Outcome::Gone));
        let taken = self.read_messages(&mut state);
        self.changed.notify_all();
        waited?;
        taken
    }

    fn read_messages(&self, state: &mut LinkState) -> Result<(), StepError> {
        for _ in 0..MOST_MESSAGES {
            let mut bytes = [0; 9];
            match receive_message(&self.socket, &mut bytes)? {
                Message::Nothing => break,
                Message::End => {
                    state.is_gone = true;
                    break;
                }
                Message::Bytes { count, fds, is_whole } if bytes[0] == PASSED && self.accepts_descriptors => {
                    self.store_passed(state, &bytes[..count], fds, is_whole)?;
                }
                // A signal, or the end of the elements. Other messages are ignored.
                Message::Bytes { fds, .. } => {
                    state.is_finished |= bytes[0] == FINISHED;
                    close_elsewhere(fds);
                }
            }
        }
        Ok(())
    }

    fn store_passed(
        &self,
        state: &mut LinkState,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
        is_whole: bool,
    ) -> Result<(), StepError> {
        let number = bytes.get(1..).and_then(|number| <[u8; 8]>::try_from(number).ok());
        match number {
            Some(_) if !is_whole => {
                close_elsewhere(fds);
                Err(StepError::DescriptorsLost)
            }
            Some(_) if state.passed.len() == MOST_SETS => {
                close_elsewhere(fds);
                Err(StepError::TooManyPassed(MOST_SETS))
            }
            Some(number) if !fds.is_empty() => {
                state.passed.push_back(Passed { number: u64::from_le_bytes(number), fds });
                Ok(())
            }
            _ => {
                close_elsewhere(fds);
                Ok(())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
