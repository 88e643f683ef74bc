//! Clients whose connection is demand: as long as one is there, the input is wanted.

mod client;
mod listener;

pub use listener::{BindError, Listener};

use crate::event::{Event, Events};
use client::{Client, Turn};
use mio::{Interest, Poll, Token, Waker};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Time to send the token.
const TOKEN_TIME: Duration = Duration::from_secs(5);
/// Clients without their token at a time; the oldest goes when there are more.
const MOST_STRANGERS: usize = 64;
/// Pause after a connection that could not be accepted, for want of descriptors for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Listeners have the tokens up to this.
const MOST_LISTENERS: usize = 1000;
const WAKE: Token = Token(usize::MAX);

/// Who may come.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// How many at a time.
    pub most: usize,
    /// What each must send as its first line.
    pub token: Option<String>,
    /// Users that may come to a Unix socket; all if empty.
    pub allow_uid: Vec<u32>,
}

/// The thread that looks after the connections. Dropped, all are closed.
pub struct Demand {
    is_stopping: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Demand {
    /// Serves these listeners.
    ///
    /// # Errors
    /// When the system has no more descriptors or threads.
    pub fn start(listeners: Vec<Listener>, rules: Rules, events: Events) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mut listeners = listeners;
        for (number, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), Token(number))?;
        }
        let is_stopping = Arc::new(AtomicBool::new(false));
        let mut doorman = Doorman {
            poll,
            listeners,
            rules,
            events: events.clone(),
            clients: BTreeMap::new(),
            next: MOST_LISTENERS,
            told: 0,
            is_paused: false,
        };
        let stopping = is_stopping.clone();
        let guard = Guard(events);
        let work = move || {
            let _guard = guard;
            if let Err(error) = doorman.work(&stopping) {
                doorman.events.send(Event::Broken(format!("clients cannot be served: {error}")));
            }
        };
        let thread = Some(std::thread::Builder::new().name("demand".into()).spawn(work)?);
        Ok(Self { is_stopping, waker, thread })
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        // A thread that cannot be woken looks by itself soon.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells of a thread that ends by a panic: nobody would come in any more.
struct Guard(Events);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send(Event::Broken("clients are not served any more: this is a defect".into()));
        }
    }
}

struct Doorman {
    poll: Poll,
    listeners: Vec<Listener>,
    rules: Rules,
    events: Events,
    clients: BTreeMap<usize, Client>,
    next: usize,
    told: usize,
    /// A connection waits that could not be accepted.
    is_paused: bool,
}

impl Doorman {
    fn work(&mut self, is_stopping: &AtomicBool) -> io::Result<()> {
        let mut events = mio::Events::with_capacity(256);
        // Clients that had more to say than one turn takes.
        let mut again = Vec::new();
        while !is_stopping.load(Ordering::Acquire) {
            let was_paused = std::mem::take(&mut self.is_paused);
            let sleep = if was_paused { Some(ACCEPT_PAUSE) } else { self.longest_sleep(!again.is_empty()) };
            match self.poll.poll(&mut events, sleep) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let ready: Vec<_> = events.iter().map(|event| event.token().0).chain(again.drain(..)).collect();
            for token in ready {
                if token < self.listeners.len() {
                    self.accept(token)?;
                } else if self.turn(token) {
                    again.push(token);
                }
            }
            // No event will tell of those that could not be accepted before.
            if was_paused {
                (0..self.listeners.len()).try_for_each(|token| self.accept(token))?;
            }
            self.close_the_silent();
            self.tell();
        }
        Ok(())
    }

    fn longest_sleep(&self, has_more: bool) -> Option<Duration> {
        if has_more {
            return Some(Duration::ZERO);
        }
        let silent = self.clients.values().filter(|client| !client.may_stay).map(|client| client.since).min();
        silent.map(|since| (since + TOKEN_TIME).saturating_duration_since(Instant::now()))
    }

    fn accept(&mut self, token: usize) -> io::Result<()> {
        loop {
            let (mut stream, name) = match self.listeners[token].accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                    continue;
                }
                Err(error) => {
                    warn!("{}: a client could not be accepted: {error}", self.listeners[token]);
                    self.is_paused = true;
                    return Ok(());
                }
            };
            let staying = self.staying();
            if staying >= self.rules.most {
                warn!("{name} is sent away: there are {staying} clients");
                continue;
            }
            // Those that still owe the token take no place of others.
            if self.clients.len() - staying >= MOST_STRANGERS {
                let oldest = self.clients.iter().find(|(_, client)| !client.may_stay).map(|(token, _)| *token);
                oldest.and_then(|token| self.clients.remove(&token));
            }
            if let Some(uid) =
                stream.uid().filter(|uid| !self.rules.allow_uid.is_empty() && !self.rules.allow_uid.contains(uid))
            {
                warn!("{name} is sent away: user {uid} is not wanted");
                continue;
            }
            // Numbers are not used twice: what is left of an event for one that is gone means nobody.
            self.next += 1;
            if let Err(error) = stream.register(self.poll.registry(), Token(self.next)) {
                warn!("{name} is sent away: {error}");
                continue;
            }
            info!("{name} came");
            let may_stay = self.rules.token.is_none();
            self.clients.insert(self.next, Client::new(stream, name, may_stay));
        }
    }

    /// Clients that count.
    fn staying(&self) -> usize {
        self.clients.values().filter(|client| client.may_stay).count()
    }

    /// True if the client has more to say.
    fn turn(&mut self, token: usize) -> bool {
        let staying = self.staying();
        let Some(client) = self.clients.get_mut(&token) else { return false };
        let was_stranger = !client.may_stay;
        let mut turn = client.turn(self.rules.token.as_deref());
        if was_stranger && client.may_stay && staying >= self.rules.most {
            turn = Turn::Over("is sent away: there is no place left");
        }
        match turn {
            Turn::Done => false,
            Turn::More => true,
            Turn::Over(why) => {
                match client.may_stay {
                    true => info!("{} {why}", client.name),
                    false => warn!("{} {why}", client.name),
                }
                self.clients.remove(&token);
                false
            }
        }
    }

    fn close_the_silent(&mut self) {
        self.clients.retain(|_, client| {
            let stays = client.may_stay || client.since.elapsed() < TOKEN_TIME;
            if !stays {
                warn!("{} is sent away: it did not send the token (a line of its own)", client.name);
            }
            stays
        });
    }

    fn tell(&mut self) {
        let count = self.staying();
        if count != self.told {
            self.told = count;
            self.events.send(Event::Clients(count));
        }
    }
}

/// What a client is waited for.
const READS: Interest = Interest::READABLE;
