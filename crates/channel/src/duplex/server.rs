//! Many clients on one thread.

use super::{ConnectError, Interface, Listener};
use crate::sys::wait_any_readable;
use crate::{Element, StepError};
use std::collections::{BTreeMap, BTreeSet};
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
    /// A client signalled: it sent something, made room, passed descriptors, or finished. It signals only to a side that
    /// found nothing: take until there is nothing, or send until there is no room, else ask to be
    /// [called again](Server::again).
    Ready(ClientId),
    /// A client is gone, told once: what it sent before can still be received, then [`remove`](Server::remove) it.
    Gone(ClientId, StepError),
}

/// A listener with its clients.
#[derive(Debug)]
pub struct Server<T> {
    listener: Listener<T>,
    clients: BTreeMap<ClientId, Interface<T>>,
    /// Those that are gone and not removed yet.
    gone: BTreeSet<ClientId>,
    /// Those that want to be called without a signal.
    again: BTreeSet<ClientId>,
    next: u64,
    most: usize,
    /// An error that came after events which had to be told first.
    failed: Option<ConnectError>,
}

impl<T: Element> Server<T> {
    /// Serves the clients of a listener, `most` of them at a time; others are told that it is full.
    pub fn new(listener: Listener<T>, most: usize) -> Self {
        let (gone, again) = (BTreeSet::new(), BTreeSet::new());
        Self { listener, clients: BTreeMap::new(), gone, again, next: 0, most, failed: None }
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
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut events: Vec<_> = std::mem::take(&mut self.again).into_iter().map(Event::Ready).collect();
        let rest = self.listener.rests();
        let timeout =
            if events.is_empty() { [timeout, rest].into_iter().flatten().min() } else { Some(Duration::ZERO) };
        let ids: Vec<_> = self.clients.keys().copied().filter(|id| !self.gone.contains(id)).collect();
        let listener = rest.is_none().then(|| self.listener.wait_on());
        let count = usize::from(listener.is_some());
        let clients = ids.iter().filter_map(|id| self.clients.get(id)).map(Interface::wait_on);
        let all: Vec<BorrowedFd> = listener.into_iter().chain(clients).collect();
        let ready = wait_any_readable(&all, timeout)?;
        let (for_listener, for_clients) = ready.split_at(count);
        let listens = for_listener.contains(&true) || rest.is_some();
        for (id, _) in ids.iter().zip(for_clients).filter(|(_, ready)| **ready) {
            events.extend(self.look(*id));
        }
        if listens {
            self.accept(&mut events);
        }
        match self.failed.take() {
            Some(error) if events.is_empty() => Err(error),
            failed => {
                self.failed = failed;
                Ok(events)
            }
        }
    }

    /// As many as may be waiting at a time, so that those that are there have their turn.
    fn accept(&mut self, events: &mut Vec<Event>) {
        for _ in 0..64 {
            self.listener.set_full(self.clients.len() >= self.most);
            match self.listener.try_accept() {
                Ok(Some(client)) => {
                    let id = ClientId(self.next);
                    self.next += 1;
                    self.clients.insert(id, client);
                    events.push(Event::Connected(id));
                }
                Ok(None) => return,
                Err(error) => {
                    self.failed = Some(error);
                    return;
                }
            }
        }
    }

    fn look(&mut self, id: ClientId) -> Option<Event> {
        match self.clients.get_mut(&id)?.clear() {
            Ok(()) => Some(Event::Ready(id)),
            Err(error) => {
                self.gone.insert(id);
                Some(Event::Gone(id, error))
            }
        }
    }

    /// Lets the next [`wait`](Self::wait) say [`Event::Ready`] of a client without a signal: for one of which not all was
    /// taken, so that the others have their turn.
    pub fn again(&mut self, id: ClientId) {
        if self.clients.contains_key(&id) {
            self.again.insert(id);
        }
    }

    /// A client that is there.
    pub fn client(&mut self, id: ClientId) -> Option<&mut Interface<T>> {
        self.clients.get_mut(&id)
    }

    /// Lets a client go: one that is gone, misbehaves, or is not wanted any more.
    pub fn remove(&mut self, id: ClientId) -> Option<Interface<T>> {
        self.gone.remove(&id);
        self.again.remove(&id);
        self.clients.remove(&id)
    }

    /// All clients that are there.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.clients.keys().copied()
    }
}
