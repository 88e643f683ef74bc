//! A connection between two queues of the standard library, for programs that would rather not wait themselves.

use super::{Incoming, Interface, Outgoing};
use crate::{Element, StepError};
use std::sync::mpsc;
use std::time::Duration;

/// Elements that are taken from a ring at a time.
const AT_A_TIME: usize = 64;
/// Until the next try when a socket is full.
const FULL: Duration = Duration::from_millis(10);

impl<T: Element + Send + 'static> Interface<T> {
    /// Sends what comes from `outgoing`, and puts what the other side sends into `incoming`, until the other side is gone
    /// or has nothing more to send, or nobody takes from `incoming` any more. When all senders of `outgoing` are dropped,
    /// the other side is told that nothing more will come, and receiving goes on.
    ///
    /// A full `incoming` slows the other side, a full ring slows who sends into `outgoing`, if that is bounded.
    ///
    /// # Errors
    /// When the peer misbehaves.
    pub fn run(self, outgoing: mpsc::Receiver<T>, incoming: mpsc::SyncSender<T>) -> Result<(), StepError> {
        let (to, from) = self.split();
        let (done, sent) = mpsc::channel();
        // Not waited for when it waits for its user: it ends with the next element, or when there can be none.
        std::thread::Builder::new().name("shm2-outgoing".into()).spawn(move || {
            // Nobody listens for the outcome when receiving failed before.
            let _ = done.send(send(to, &outgoing));
        })?;
        receive(from, &incoming)?;
        drop(incoming);
        match sent.try_recv() {
            Ok(Err(StepError::PeerGone)) | Err(_) => Ok(()),
            Ok(outcome) => outcome,
        }
    }
}

fn send<T: Element>(mut to: Outgoing<T>, outgoing: &mpsc::Receiver<T>) -> Result<(), StepError> {
    for value in outgoing {
        while !to.xmit(value)? {
            to.wait_for_room(1, None)?;
        }
    }
    while !to.finish()? {
        // Its socket is full: it takes no signals.
        std::thread::sleep(FULL);
    }
    Ok(())
}

fn receive<T: Element>(mut from: Incoming<T>, incoming: &mpsc::SyncSender<T>) -> Result<(), StepError> {
    loop {
        match from.wait(1, None) {
            Ok(_) => {}
            Err(StepError::PeerGone) => return Ok(()),
            Err(error) => return Err(error),
        }
        for value in from.recv_vectored(AT_A_TIME)? {
            if incoming.send(value).is_err() {
                return Ok(());
            }
        }
    }
}
