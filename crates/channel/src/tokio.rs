//! Both sides of a channel in a tokio runtime (feature `tokio`). All that waits can be cancelled without a loss.

use super::ready::Ready;
use super::{Element, Signals, StepError};
use std::io;

fn ready_for(signals: &Signals) -> io::Result<Ready> {
    Ready::new(signals.wait_on(), signals.peer())
}

/// Waits once; true when no more signals will come.
async fn wait(ready: &Ready, signals: &Signals) -> Result<bool, StepError> {
    Ok(ready.wait().await? || !signals.clear()?)
}

/// The side that reads.
#[derive(Debug)]
pub struct Receiver<T> {
    inner: super::Receiver<T>,
    ready: Ready,
}

impl<T: Element> Receiver<T> {
    /// Takes a receiver into the runtime that this is called in.
    ///
    /// # Errors
    /// When its descriptors cannot be waited for.
    pub fn new(inner: super::Receiver<T>) -> io::Result<Self> {
        let ready = ready_for(inner.signals())?;
        Ok(Self { inner, ready })
    }

    /// The receiver itself, for all that does not wait.
    pub fn get_mut(&mut self) -> &mut super::Receiver<T> {
        &mut self.inner
    }

    /// Waits until there are `count` elements; returns how many.
    ///
    /// # Errors
    /// [`StepError::PeerGone`] when fewer are left; when the peer misbehaves.
    pub async fn readable(&mut self, count: usize) -> Result<usize, StepError> {
        let mut is_over = false;
        loop {
            let there = self.inner.readable_or_ask(count)?;
            if there >= count {
                return Ok(there);
            }
            if is_over {
                return Err(StepError::PeerGone);
            }
            is_over = wait(&self.ready, self.inner.signals()).await?;
        }
    }

    /// Waits for as many elements as `values` has, and takes them.
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

/// The side that writes.
#[derive(Debug)]
pub struct Sender<T> {
    inner: super::Sender<T>,
    ready: Ready,
}

impl<T: Element> Sender<T> {
    /// Takes a sender into the runtime that this is called in.
    ///
    /// # Errors
    /// When its descriptors cannot be waited for.
    pub fn new(inner: super::Sender<T>) -> io::Result<Self> {
        let ready = ready_for(inner.signals())?;
        Ok(Self { inner, ready })
    }

    /// The sender itself, for all that does not wait.
    pub fn get_mut(&mut self) -> &mut super::Sender<T> {
        &mut self.inner
    }

    /// Waits until there is room for `count` elements; returns for how many.
    ///
    /// # Errors
    /// [`StepError::PeerGone`]; when the peer misbehaves.
    pub async fn writable(&mut self, count: usize) -> Result<usize, StepError> {
        let mut is_over = false;
        loop {
            let free = self.inner.writable_or_ask(count)?;
            if free >= count {
                return Ok(free);
            }
            if is_over {
                return Err(StepError::PeerGone);
            }
            is_over = wait(&self.ready, self.inner.signals()).await?;
        }
    }

    /// Waits for room for all elements, and sends them.
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
