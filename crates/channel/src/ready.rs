//! Descriptors in a tokio runtime.

#![allow(unsafe_code)]

use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Descriptors that the runtime waits for.
#[derive(Debug)]
pub(crate) struct Ready {
    signals: AsyncFd<OwnedFd>,
    peer: Option<AsyncFd<OwnedFd>>,
}

impl Ready {
    pub(crate) fn new(signals: BorrowedFd, peer: Option<BorrowedFd>) -> io::Result<Self> {
        let watched = |fd: BorrowedFd| -> io::Result<_> {
            let fd = fd.try_clone_to_owned()?;
            // SAFETY: an `OwnedFd` stays open and the same for as long as it lives, and this one is owned by the `AsyncFd`.
            Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? })
        };
        Ok(Self { signals: watched(signals)?, peer: peer.map(watched).transpose()? })
    }

    /// Sleeps until there is a signal. True when the peer is gone, as far as the second descriptor tells.
    pub(crate) async fn wait(&self) -> io::Result<bool> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &mut Context) -> Poll<io::Result<bool>> {
        if let Poll::Ready(ready) = self.signals.poll_read_ready(context) {
            // What comes from now on makes it ready once more; what is there is taken next.
            ready?.clear_ready();
            return Poll::Ready(Ok(false));
        }
        match &self.peer {
            Some(peer) => peer.poll_read_ready(context).map_ok(|_| true),
            None => Poll::Pending,
        }
    }
}
