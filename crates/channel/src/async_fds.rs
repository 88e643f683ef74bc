//! Descriptors in a tokio runtime.
//!
//! # Safety
//! A registered descriptor is a copy that the `AsyncFd` owns, so it stays open and the same until it is dropped.

#![expect(unsafe_code, reason = "registers owned descriptors, see the head of this file")]

use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Descriptors registered with the runtime: one for signals, and one for the peer's death.
#[derive(Debug)]
pub(crate) struct AsyncFds {
    signals: AsyncFd<OwnedFd>,
    peer: Option<AsyncFd<OwnedFd>>,
}

impl AsyncFds {
    pub(crate) fn new(signals: BorrowedFd, peer: Option<BorrowedFd>) -> io::Result<Self> {
        let registered = |fd: BorrowedFd| -> io::Result<_> {
            let fd = fd.try_clone_to_owned()?;
            // SAFETY: the `AsyncFd` owns this `OwnedFd`, which stays open and the same until it is dropped.
            Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? })
        };
        Ok(Self { signals: registered(signals)?, peer: peer.map(registered).transpose()? })
    }

    /// Sleeps until there is a signal. True when the second descriptor shows that the peer is gone.
    pub(crate) async fn wait(&self) -> io::Result<bool> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &mut Context) -> Poll<io::Result<bool>> {
        if let Poll::Ready(ready) = self.signals.poll_read_ready(context) {
            // The caller takes the present signals next; later ones make the descriptor ready again.
            ready?.clear_ready();
            return Poll::Ready(Ok(false));
        }
        match &self.peer {
            Some(peer) => peer.poll_read_ready(context).map_ok(|_| true),
            None => Poll::Pending,
        }
    }
}
