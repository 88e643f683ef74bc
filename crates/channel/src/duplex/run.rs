//! A connection between two queues of the standard library, for programs that do not wait on it themselves.

use super::{Incoming, Interface, Outgoing};
use crate::{Element, StepError};
use std::sync::mpsc;
use std::time::Duration;

/// Largest number of elements taken from a ring at a time.
const BATCH: usize = 64;
/// Pause before the next try when the socket is full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

impl<T: Element + Send + 'static> Interface<T> {
    /// Sends the values of `outgoing` to the other side, and the other side's values to `incoming`. Returns when the
    /// other side is gone or has finished, or when the receiver of `incoming` is dropped. When all senders of
    /// `outgoing` are dropped, this side [finishes](Outgoing::finish) and continues to receive.
    ///
    /// A full `incoming` slows the other side. A full ring slows the senders of `outgoing` if that queue is bounded.
    ///
    /// # Errors
    /// [`StepError::Ring`] when the peer misbehaves; [`StepError::System`].
    ///
    /// ```
    /// use shm2_channel::duplex::{Interface, Listener, Options};
    /// use std::sync::mpsc::{channel, sync_channel};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-run-{}", std::process::id()));
    /// let mut listener = Listener::<u64>::bind(&path, Options::new(16))?;
    /// let client = std::thread::spawn(move || {
    ///     let client = Interface::<u64>::connect(&path, Options::new(16)).expect("a server");
    ///     let (to_server, outgoing) = channel();
    ///     let (incoming, from_server) = sync_channel(16);
    ///     let running = std::thread::spawn(move || client.run(outgoing, incoming));
    ///     to_server.send(21).expect("a running connection");
    ///     // The client sends no more, but receives until the server is done.
    ///     drop(to_server);
    ///     let answers: Vec<u64> = from_server.iter().collect();
    ///     running.join().expect("no panic").map(|()| answers)
    /// });
    ///
    /// let mut server = listener.accept(None)?.expect("no timeout");
    /// server.wait(1, None)?;
    /// let value = server.recv()?.expect("a value");
    /// server.xmit(2 * value)?;
    /// drop(server);
    /// assert_eq!(client.join().expect("no panic")?, [42]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(self, outgoing: mpsc::Receiver<T>, incoming: mpsc::SyncSender<T>) -> Result<(), StepError> {
        let (to, from) = self.split();
        let (done, sent) = mpsc::channel();
        // Not joined, because it may wait for the senders of `outgoing`: it ends with the next element, or with them.
        std::thread::Builder::new().name("shm2-outgoing".into()).spawn(move || {
            // The result is not received when receiving failed before.
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
            to.wait_for_space(1, None)?;
        }
    }
    while !to.finish()? {
        // The socket is full, because the other side takes no signals.
        std::thread::sleep(FULL_PAUSE);
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
        for value in from.recv_vectored(BATCH)? {
            if incoming.send(value).is_err() {
                return Ok(());
            }
        }
    }
}
