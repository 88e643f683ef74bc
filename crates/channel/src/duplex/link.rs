//! The socket of a connection: signals, descriptors that are passed, and the end.

use super::Passed;
use crate::StepError;
use crate::shared::block_until;
use crate::sys::{
    MOST_DESCRIPTORS, Message, Outcome, Waker, close_elsewhere, peer_of, receive_message, refuse_descriptors,
    send_message, wait_readable,
};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// First byte of a message that says that the rings get nothing more from this side. A signal is a 1, see [`Waker`].
const FINISHED: u8 = 2;
/// That descriptors come along; a number of eight bytes follows.
const PASSED: u8 = 3;

/// More messages than a socket holds at a time, so that a peer that floods keeps nobody for ever.
const ALL: usize = 512;
/// Sets of descriptors kept until somebody takes them.
const MOST_SETS: usize = 16;

/// What both directions of a connection share. One thread at a time looks after the socket for all that wait.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    takes: bool,
    state: Mutex<State>,
    /// Notified at the end of each round.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_gone: bool,
    is_finished: bool,
    is_watched: bool,
    /// How often the socket was looked after.
    rounds: u64,
    passed: VecDeque<Passed>,
}

impl Link {
    /// `takes`: whether the peer may pass descriptors.
    pub(super) fn new(socket: OwnedFd, takes: bool) -> Self {
        if !takes {
            refuse_descriptors(&socket);
        }
        Self { socket, takes, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn peer(&self) -> io::Result<(i32, u32, u32)> {
        peer_of(&self.socket)
    }

    /// False when nobody is there to be woken.
    pub(super) fn wake(&self) -> io::Result<bool> {
        Waker::Socket.wake(&self.socket)
    }

    /// Says that this side sends nothing more. False when there is no room for that now.
    pub(super) fn finish(&self) -> Result<bool, StepError> {
        self.send(&[FINISHED], &[])
    }

    /// Passes descriptors. False when there is no room for them now.
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

    /// Whether the other side said that it sends no more, as far as its messages were taken.
    pub(super) fn is_finished(&self) -> bool {
        self.lock().is_finished
    }

    pub(super) fn take_passed(&self) -> Option<Passed> {
        self.lock().passed.pop_front()
    }

    /// Takes what is there on the socket.
    pub(super) fn clear(&self) -> Result<(), StepError> {
        let mut state = self.lock();
        let taken = self.take(&mut state);
        state.rounds += 1;
        self.changed.notify_all();
        taken?;
        if state.is_gone { Err(StepError::PeerGone) } else { Ok(()) }
    }

    /// Waits as [`block_until`] does. One that receives is through when the other side sends nothing more.
    pub(super) fn block_until(
        &self,
        count: usize,
        timeout: Option<Duration>,
        receives: bool,
        mut ready: impl FnMut() -> Result<usize, StepError>,
    ) -> Result<usize, StepError> {
        let seen = Cell::new(0);
        let ready = || {
            // Before the look into the ring: what comes after that starts another round.
            seen.set(self.lock().rounds);
            ready()
        };
        block_until(count, timeout, ready, |left| {
            if !self.is_over(receives) {
                self.wait_round(seen.get(), left)?;
            }
            Ok(self.is_over(receives))
        })
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self, receives: bool) -> bool {
        let state = self.lock();
        state.is_gone || receives && state.is_finished
    }

    /// Sleeps until the socket was looked after once more, by this thread or another.
    fn wait_round(&self, seen: u64, timeout: Duration) -> Result<(), StepError> {
        let mut state = self.lock();
        if state.rounds != seen {
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
        state.rounds += 1;
        state.is_gone |= matches!(waited, Ok(Outcome::Gone));
        let taken = self.take(&mut state);
        self.changed.notify_all();
        waited?;
        taken
    }

    fn take(&self, state: &mut State) -> Result<(), StepError> {
        for _ in 0..ALL {
            let mut bytes = [0; 9];
            match receive_message(&self.socket, &mut bytes)? {
                Message::Nothing => break,
                Message::End => {
                    state.is_gone = true;
                    break;
                }
                Message::Bytes { count, fds, is_whole } if bytes[0] == PASSED && self.takes => {
                    self.keep(state, &bytes[..count], fds, is_whole)?;
                }
                // A signal, or the end of the elements. What else a peer says has no meaning.
                Message::Bytes { fds, .. } => {
                    state.is_finished |= bytes[0] == FINISHED;
                    close_elsewhere(fds);
                }
            }
        }
        Ok(())
    }

    fn keep(&self, state: &mut State, bytes: &[u8], fds: Vec<OwnedFd>, is_whole: bool) -> Result<(), StepError> {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
