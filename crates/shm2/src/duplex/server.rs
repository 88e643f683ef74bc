//! Many clients on one thread.

use super::{ConnectError, Interface, Listener};
use crate::backend::wait_any_readable;
use crate::channel::{Element, StepError};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Names a client for as long as its server lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client came.
    Connected(ClientId),
    /// A client signalled: it sent something, or made room.
    Ready(ClientId),
    /// A client is gone: this is what was left of it. What it sent before can still be received.
    Gone(ClientId, StepError),
}

/// A listener with its clients.
#[derive(Debug)]
pub struct Server<T> {
    listener: Listener<T>,
    clients: BTreeMap<ClientId, Interface<T>>,
    next: u64,
    most: usize,
}

impl<T: Element> Server<T> {
    /// Serves the clients of a listener, `most` of them at a time; others wait to be accepted.
    pub fn new(listener: Listener<T>, most: usize) -> Self {
        Self { listener, clients: BTreeMap::new(), next: 0, most }
    }

    /// Sleeps until a client has something to say, or comes, or the time is over: then there are no events. `None`: for
    /// ever.
    ///
    /// # Errors
    /// When the system fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<Event>, ConnectError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let events = self.wait_once(left)?;
            if !events.is_empty() || left.is_some_and(|left| left.is_zero()) {
                return Ok(events);
            }
        }
    }

    fn wait_once(&mut self, timeout: Option<Duration>) -> Result<Vec<Event>, ConnectError> {
        let listener = (self.clients.len() < self.most).then(|| self.listener.wait_on());
        let count = usize::from(listener.is_some());
        let clients = self.clients.values().map(Interface::wait_on);
        let all: Vec<BorrowedFd> = listener.into_iter().chain(clients).collect();
        let ready = wait_any_readable(&all, timeout)?;
        let (for_listener, for_clients) = ready.split_at(count);
        let ids = self.clients.keys().copied().zip(for_clients).filter(|(_, ready)| **ready);
        let ids: Vec<_> = ids.map(|(id, _)| id).collect();
        let listens = for_listener.contains(&true);
        let mut events: Vec<_> = ids.into_iter().filter_map(|id| self.look(id)).collect();
        while listens && self.clients.len() < self.most {
            let Some(client) = self.listener.try_accept()? else { break };
            let id = ClientId(self.next);
            self.next += 1;
            self.clients.insert(id, client);
            events.push(Event::Connected(id));
        }
        Ok(events)
    }

    fn look(&mut self, id: ClientId) -> Option<Event> {
        match self.clients.get_mut(&id)?.clear() {
            Ok(()) => Some(Event::Ready(id)),
            Err(error) => Some(Event::Gone(id, error)),
        }
    }

    /// A client that is there.
    pub fn client(&mut self, id: ClientId) -> Option<&mut Interface<T>> {
        self.clients.get_mut(&id)
    }

    /// Lets a client go: one that is gone, misbehaves, or is not wanted any more.
    pub fn remove(&mut self, id: ClientId) -> Option<Interface<T>> {
        self.clients.remove(&id)
    }

    /// All clients that are there.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.clients.keys().copied()
    }
}
