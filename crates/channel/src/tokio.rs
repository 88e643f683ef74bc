//! Both sides of a channel in a tokio runtime (feature `tokio`). All async methods are cancel safe: no element is lost.

use crate::async_fds::AsyncFds;
use crate::{Element, Signals, StepError};
use std::io;

/// The reading side.
#[derive(Debug)]
pub struct Receiver<T> {
    inner: crate::Receiver<T>,
    fds: AsyncFds,
}

impl<T: Element> Receiver<T> {
    /// Registers a receiver with the runtime of the calling task.
    ///
    /// # Errors
    /// When its descriptors cannot be registered.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(inner: crate::Receiver<T>) -> io::Result<Self> {
        let fds = fds_of(inner.signals())?;
        Ok(Self { inner, fds })
    }

    /// The receiver itself, for all methods that do not wait.
    pub fn get_mut(&mut self) -> &mut crate::Receiver<T> {
        &mut self.inner
    }

    /// Waits until there are `count` elements; returns the number of elements.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when the sender is gone and fewer are left; [`StepError::Ring`] when it misbehaves.
    pub async fn readable(&mut self, count: usize) -> Result<usize, StepError> {
        let mut is_over = false;
        loop {
            let there = self.inner.readable_or_request(count)?;
            if there >= count {
                return Ok(there);
            }
            if is_over {
                return Err(StepError::PeerGone);
            }
            is_over = wait(&self.fds, self.inner.signals()).await?;
        }
    }

    /// Waits until there are as many elements as `values` has, and takes them.
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub async fn recv_all(&mut self, values: &mut [T]) -> Result<(), StepError> {
        loop {
            self.readable(values.len()).await?;
            if self.inner.recv_all(values)?.is_some() {
                return Ok(());
            }
        }
    }
}

/// The writing side.
#[derive(Debug)]
pub struct Sender<T> {
    inner: crate::Sender<T>,
    fds: AsyncFds,
}

impl<T: Element> Sender<T> {
    /// Registers a sender with the runtime of the calling task.
    ///
    /// # Errors
    /// When its descriptors cannot be registered.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(inner: crate::Sender<T>) -> io::Result<Self> {
        let fds = fds_of(inner.signals())?;
        Ok(Self { inner, fds })
    }

    /// The sender itself, for all methods that do not wait.
    pub fn get_mut(&mut self) -> &mut crate::Sender<T> {
        &mut self.inner
    }

    /// Waits until `count` slots are free; returns the number of free slots.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when the receiver is gone; [`StepError::Ring`] when it misbehaves.
    pub async fn writable(&mut self, count: usize) -> Result<usize, StepError> {
        let mut is_over = false;
        loop {
            let free = self.inner.writable_or_request(count)?;
            if free >= count {
                return Ok(free);
            }
            if is_over {
                return Err(StepError::PeerGone);
            }
            is_over = wait(&self.fds, self.inner.signals()).await?;
        }
    }

    /// Waits until as many slots are free as `values` has elements, and sends them.
    ///
    /// # Errors
    /// As [`writable`](Self::writable).
    pub async fn send_all(&mut self, values: &[T]) -> Result<(), StepError> {
        loop {
            self.writable(values.len()).await?;
            if self.inner.send_all(values)?.is_some() {
                return Ok(());
            }
        }
    }
}

fn fds_of(signals: &Signals) -> io::Result<AsyncFds> {
    AsyncFds::new(signals.wait_on(), signals.peer())
}

/// Waits for one signal. True when no more will come.
async fn wait(fds: &AsyncFds, signals: &Signals) -> Result<bool, StepError> {
    Ok(fds.wait().await? || !signals.clear()?)
}
