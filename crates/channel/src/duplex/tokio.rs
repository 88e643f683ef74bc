//! Connections in a tokio runtime (feature `tokio`), each in a task. All async methods are cancel safe, except
//! [`Interface::connect`]: no element is lost.

use super::{ConnectError, Credentials, Options, Passed};
use crate::async_fds::AsyncFds;
use crate::{Element, StepError};
use std::io;
use std::path::Path;

/// One end of a connection.
#[derive(Debug)]
pub struct Interface<T> {
    inner: super::Interface<T>,
    fds: AsyncFds,
}

impl<T: Element + Send + 'static> Interface<T> {
    /// As [`super::Interface::connect`], on a thread for blocking calls.
    ///
    /// # Errors
    /// As [`super::Interface::connect`].
    pub async fn connect(path: impl AsRef<Path>, options: Options) -> Result<Self, ConnectError> {
        let path = path.as_ref().to_path_buf();
        let connecting = ::tokio::task::spawn_blocking(move || super::Interface::connect(path, options));
        let connected = connecting.await.map_err(io::Error::other)?;
        Ok(Self::new(connected?)?)
    }
}

impl<T: Element> Interface<T> {
    /// Registers a connection with the runtime of the calling task.
    ///
    /// # Errors
    /// When its socket cannot be registered.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(inner: super::Interface<T>) -> io::Result<Self> {
        let fds = AsyncFds::new(inner.wait_on(), None)?;
        Ok(Self { inner, fds })
    }

    /// The connection itself, for all methods that do not wait.
    pub fn get_mut(&mut self) -> &mut super::Interface<T> {
        &mut self.inner
    }

    /// Identity of the process at the other end.
    ///
    /// # Errors
    /// [`StepError::System`].
    pub fn credentials(&self) -> Result<Credentials, StepError> {
        self.inner.credentials()
    }

    /// Waits until `step` returns a value. With `receives` the wait also fails when the other side has finished.
    async fn until<R>(
        &mut self,
        receives: bool,
        mut step: impl FnMut(&mut super::Interface<T>) -> Result<Option<R>, StepError>,
    ) -> Result<R, StepError> {
        loop {
            let is_over = self.inner.is_over(receives);
            if let Some(done) = step(&mut self.inner)? {
                return Ok(done);
            }
            if is_over {
                return Err(StepError::PeerGone);
            }
            self.fds.wait().await?;
            match self.inner.clear() {
                // Elements sent before can still be received.
                Ok(()) | Err(StepError::PeerGone) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a slot is free, and sends one element.
    ///
    /// # Errors
    /// [`StepError::PeerGone`]; [`StepError::Ring`] when the peer misbehaves; [`StepError::Finished`].
    pub async fn xmit(&mut self, value: T) -> Result<(), StepError> {
        self.xmit_all(&[value]).await
    }

    /// Waits until enough slots are free, and sends all elements.
    ///
    /// # Errors
    /// As [`xmit`](Self::xmit).
    pub async fn xmit_all(&mut self, values: &[T]) -> Result<(), StepError> {
        self.until(false, |inner| Ok(inner.xmit_all(values)?.then_some(()))).await
    }

    /// Waits for the next element and takes it.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when the peer is gone or has finished and none is left; [`StepError::Ring`] when it
    /// misbehaves.
    pub async fn recv(&mut self) -> Result<T, StepError> {
        self.until(true, super::Interface::recv).await
    }

    /// Waits for elements and takes all that have come, at least one and at most `most`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_vectored(&mut self, most: usize) -> Result<Vec<T>, StepError> {
        self.until(true, |inner| Ok(Some(inner.recv_vectored(most)?).filter(|values| !values.is_empty()))).await
    }

    /// Waits for the next set of descriptors that the other side passes.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn passed(&mut self) -> Result<Passed, StepError> {
        self.until(false, |inner| Ok(inner.take_passed())).await
    }
}

impl Interface<u8> {
    /// Waits until there is space for a message, and sends it.
    ///
    /// # Errors
    /// As [`xmit`](Self::xmit); [`StepError::Ring`] also when it is longer than
    /// [`longest_message`](super::Interface::longest_message).
    pub async fn xmit_message(&mut self, message: &[u8]) -> Result<(), StepError> {
        self.until(false, |inner| Ok(inner.xmit_message(message)?.then_some(()))).await
    }

    /// Waits for the next message and replaces the contents of `message` with it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_message(&mut self, message: &mut Vec<u8>) -> Result<(), StepError> {
        self.until(true, |inner| Ok(inner.recv_message(message)?.then_some(()))).await
    }
}

/// A listener.
#[derive(Debug)]
pub struct Listener<T> {
    inner: super::Listener<T>,
    fds: AsyncFds,
}

impl<T: Element> Listener<T> {
    /// Registers a listener with the runtime of the calling task.
    ///
    /// # Errors
    /// When its socket cannot be registered.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(inner: super::Listener<T>) -> io::Result<Self> {
        let fds = AsyncFds::new(inner.wait_on(), None)?;
        Ok(Self { inner, fds })
    }

    /// Waits for the next client that is accepted.
    ///
    /// # Errors
    /// As [`super::Listener::accept`].
    pub async fn accept(&mut self) -> Result<Interface<T>, ConnectError> {
        loop {
            if let Some(interface) = self.inner.try_accept()? {
                return Ok(Interface::new(interface)?);
            }
            self.fds.wait().await?;
        }
    }
}
