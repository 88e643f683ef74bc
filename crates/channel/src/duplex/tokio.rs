//! Connections in a tokio runtime (feature `tokio`), a task for each. All that waits can be cancelled without a loss.

use super::{ConnectError, Credentials, Options, Passed};
use crate::ready::Ready;
use crate::{Element, StepError};
use std::io;
use std::path::Path;

/// One end of a connection.
#[derive(Debug)]
pub struct Interface<T> {
    inner: super::Interface<T>,
    ready: Ready,
}

impl<T: Element + Send + 'static> Interface<T> {
    /// As [`super::Interface::connect`].
    ///
    /// # Errors
    /// As there.
    pub async fn connect(path: impl AsRef<Path>, options: Options) -> Result<Self, ConnectError> {
        let path = path.as_ref().to_path_buf();
        let connecting = ::tokio::task::spawn_blocking(move || super::Interface::connect(path, options));
        let connected = connecting.await.map_err(io::Error::other)?;
        Ok(Self::new(connected?)?)
    }
}

impl<T: Element> Interface<T> {
    /// Takes a connection into the runtime that this is called in.
    ///
    /// # Errors
    /// When its socket cannot be waited for.
    pub fn new(inner: super::Interface<T>) -> io::Result<Self> {
        let ready = Ready::new(inner.wait_on(), None)?;
        Ok(Self { inner, ready })
    }

    /// The connection itself, for all that does not wait.
    pub fn get_mut(&mut self) -> &mut super::Interface<T> {
        &mut self.inner
    }

    /// Who is on the other end.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn credentials(&self) -> Result<Credentials, StepError> {
        self.inner.credentials()
    }

    /// Waits until `step` says that it did something. `receives`: in vain when the other side has finished.
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
            self.ready.wait().await?;
            match self.inner.clear() {
                // What it left is still to be had.
                Ok(()) | Err(StepError::PeerGone) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one element, when there is room.
    ///
    /// # Errors
    /// When the peer is gone or misbehaves.
    pub async fn xmit(&mut self, value: T) -> Result<(), StepError> {
        self.xmit_all(&[value]).await
    }

    /// Sends all elements, when there is room for all.
    ///
    /// # Errors
    /// As [`xmit`](Self::xmit).
    pub async fn xmit_all(&mut self, values: &[T]) -> Result<(), StepError> {
        self.until(false, |inner| Ok(inner.xmit_all(values)?.then_some(()))).await
    }

    /// The next element.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when none is left; when the peer misbehaves.
    pub async fn recv(&mut self) -> Result<T, StepError> {
        self.until(true, super::Interface::recv).await
    }

    /// All elements that are there, at least one and at most `most`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_vectored(&mut self, most: usize) -> Result<Vec<T>, StepError> {
        self.until(true, |inner| Ok(Some(inner.recv_vectored(most)?).filter(|values| !values.is_empty()))).await
    }

    /// The next descriptors that the other side passes.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn passed(&mut self) -> Result<Passed, StepError> {
        self.until(false, |inner| Ok(inner.take_passed())).await
    }
}

impl Interface<u8> {
    /// Sends a message, when there is room.
    ///
    /// # Errors
    /// When it is longer than any that fits; else as [`xmit`](Self::xmit).
    pub async fn xmit_message(&mut self, message: &[u8]) -> Result<(), StepError> {
        self.until(false, |inner| Ok(inner.xmit_message(message)?.then_some(()))).await
    }

    /// The next message, in place of what `message` holds.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_message(&mut self, message: &mut Vec<u8>) -> Result<(), StepError> {
        self.until(true, |inner| Ok(inner.recv_message(message)?.then_some(()))).await
    }
}

/// A listener whose clients come one by one.
#[derive(Debug)]
pub struct Listener<T> {
    inner: super::Listener<T>,
    ready: Ready,
}

impl<T: Element> Listener<T> {
    /// Takes a listener into the runtime that this is called in.
    ///
    /// # Errors
    /// When its socket cannot be waited for.
    pub fn new(inner: super::Listener<T>) -> io::Result<Self> {
        let ready = Ready::new(inner.wait_on(), None)?;
        Ok(Self { inner, ready })
    }

    /// The next client that fits.
    ///
    /// # Errors
    /// As [`super::Listener::accept`].
    pub async fn accept(&mut self) -> Result<Interface<T>, ConnectError> {
        loop {
            if let Some(interface) = self.inner.try_accept()? {
                return Ok(Interface::new(interface)?);
            }
            self.ready.wait().await?;
        }
    }
}
