//! A server for many clients on one thread.

use super::{ConnectError, Interface, Listener};
use crate::sys::wait_any_readable;
use crate::{Element, StepError};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Identifies a client. Unique within its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

/// An event of a client.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client connected.
    Connected(ClientId),
    /// A client signalled: it sent elements, freed slots, passed descriptors, or finished. It signals only after this
    /// side found the ring empty, or full. Receive until there is nothing, or send until no slot is free; otherwise
    /// [schedule](Server::schedule) the client.
    Ready(ClientId),
    /// A client is gone; reported once. Its elements can still be received, until [`StepError::PeerGone`]; then
    /// [`remove`](Server::remove) it.
    Gone(ClientId, StepError),
}

/// A listener and its clients.
#[derive(Debug)]
pub struct Server<T> {
    listener: Listener<T>,
    clients: BTreeMap<ClientId, Interface<T>>,
    /// Clients that are gone and not removed yet.
    gone: BTreeSet<ClientId>,
    /// Clients that the next wait reports without a signal.
    scheduled: BTreeSet<ClientId>,
    next: u64,
    most: usize,
    /// An error that is returned after the events that came before it.
    deferred_error: Option<ConnectError>,
}

impl<T: Element> Server<T> {
    /// Serves the clients of a listener, at most `most` at a time. Further clients are refused with
    /// [`Refusal::Full`](super::Refusal::Full).
    ///
    /// ```
    /// use shm2_channel::duplex::{Event, Interface, Listener, Options, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("shm2-doc-server-{}", std::process::id()));
    /// let mut server = Server::new(Listener::<u64>::bind(&path, Options::new(16))?, 100);
    /// let client = std::thread::spawn(move || {
    ///     let mut client = Interface::<u64>::connect(&path, Options::new(16)).expect("a server");
    ///     client.xmit(21)?;
    ///     client.wait(1, None)?;
    ///     client.recv()
    /// });
    ///
    /// // Doubles each value until the client is gone.
    /// 'serving: loop {
    ///     for event in server.wait(None)? {
    ///         match event {
    ///             Event::Connected(id) | Event::Ready(id) => {
    ///                 let Some(client) = server.client(id) else { continue };
    ///                 // An error once the client is gone and all was received: its event follows.
    ///                 while let Ok(Some(value)) = client.recv() {
    ///                     client.xmit(2 * value)?;
    ///                 }
    ///             }
    ///             Event::Gone(id, _) => {
    ///                 server.remove(id);
    ///                 break 'serving;
    ///             }
    ///             _ => {}
    ///         }
    ///     }
    /// }
    /// assert_eq!(client.join().expect("no panic")?, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(listener: Listener<T>, most: usize) -> Self {
        let (gone, scheduled) = (BTreeSet::new(), BTreeSet::new());
        Self { listener, clients: BTreeMap::new(), gone, scheduled, next: 0, most, deferred_error: None }
    }

    /// Sleeps until there are events. Returns an empty vector when the timeout expires; `None` waits forever.
    ///
    /// # Errors
    /// [`ConnectError::System`] when waiting or accepting fails.
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
        if let Some(error) = self.deferred_error.take() {
            return Err(error);
        }
        let mut events: Vec<_> = std::mem::take(&mut self.scheduled).into_iter().map(Event::Ready).collect();
        let pause = self.listener.accept_pause();
        let timeout =
            if events.is_empty() { [timeout, pause].into_iter().flatten().min() } else { Some(Duration::ZERO) };
        let ids: Vec<_> = self.clients.keys().copied().filter(|id| !self.gone.contains(id)).collect();
        let listener = pause.is_none().then(|| self.listener.wait_on());
        let count = usize::from(listener.is_some());
        let clients = ids.iter().filter_map(|id| self.clients.get(id)).map(Interface::wait_on);
        let all: Vec<BorrowedFd> = listener.into_iter().chain(clients).collect();
        let ready = wait_any_readable(&all, timeout)?;
        let (for_listener, for_clients) = ready.split_at(count);
        let listens = for_listener.contains(&true) || pause.is_some();
        for (id, _) in ids.iter().zip(for_clients).filter(|(_, ready)| **ready) {
            events.extend(self.clear_signals(*id));
        }
        if listens {
            self.accept(&mut events);
        }
        match self.deferred_error.take() {
            Some(error) if events.is_empty() => Err(error),
            deferred => {
                self.deferred_error = deferred;
                Ok(events)
            }
        }
    }

    /// Accepts at most as many clients as can be pending, so that connected clients get their turn.
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
                    self.deferred_error = Some(error);
                    return;
                }
            }
        }
    }

    fn clear_signals(&mut self, id: ClientId) -> Option<Event> {
        match self.clients.get_mut(&id)?.clear() {
            Ok(()) => Some(Event::Ready(id)),
            Err(error) => {
                self.gone.insert(id);
                Some(Event::Gone(id, error))
            }
        }
    }

    /// Makes the next [`wait`](Self::wait) report [`Event::Ready`] for a client without a signal. Use it after a part
    /// of a client's elements was taken, so that other clients get their turn.
    pub fn schedule(&mut self, id: ClientId) {
        if self.clients.contains_key(&id) {
            self.scheduled.insert(id);
        }
    }

    /// The connection of a client. `None` when it was removed.
    pub fn client(&mut self, id: ClientId) -> Option<&mut Interface<T>> {
        self.clients.get_mut(&id)
    }

    /// Removes a client and returns its connection; dropping it disconnects the client.
    pub fn remove(&mut self, id: ClientId) -> Option<Interface<T>> {
        self.gone.remove(&id);
        self.scheduled.remove(&id);
        self.clients.remove(&id)
    }

    /// All clients that were not removed.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.clients.keys().copied()
    }
}
