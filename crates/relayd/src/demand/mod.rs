//! Clients whose connection is demand: the input is wanted while at least one is connected.

mod client;
mod listener;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod v4l2;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod video_device;

pub use listener::{BindError, Listener};
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub use video_device::watch_video_device;

use crate::event::{Event, Events};
use crate::log_limit::LogLimit;
use client::{Client, Turn};
use mio::{Poll, Token, Waker};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Time for a new client to send the token.
const TOKEN_TIME: Duration = Duration::from_secs(5);
/// Clients at a time that have not sent the token yet; the oldest is disconnected when there are more.
const MOST_PENDING: usize = 64;
/// Pause after a connection could not be accepted, for example because descriptors ran out.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Tokens up to this belong to listeners.
const MOST_LISTENERS: usize = 1000;
const WAKE: Token = Token(usize::MAX);

/// Whether a video device takes no pictures now, because another program writes to it.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub fn takes_no_pictures(path: &std::path::Path) -> bool {
    v4l2::takes_no_pictures(path)
}

/// This system has no such devices.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub fn takes_no_pictures(_: &std::path::Path) -> bool {
    false
}

/// # Errors
/// Always: this system has no devices that report their readers.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub fn watch_video_device(_: std::path::PathBuf, _: usize, _: Events) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only 64-bit Linux has devices that report their readers"))
}

/// Which clients are accepted.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Clients at a time.
    pub most: usize,
    /// Secret that each client must send as its first line.
    pub token: Option<String>,
    /// Users that may connect to a Unix socket; all if empty.
    pub allow_uid: Vec<u32>,
}

/// The thread that serves the connections. All of them are closed on drop.
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
        let mut acceptor = Acceptor {
            poll,
            listeners,
            rules,
            events: events.clone(),
            clients: BTreeMap::new(),
            next: MOST_LISTENERS,
            last_reported: 0,
            is_paused: false,
            log: LogLimit::default(),
        };
        let stopping = is_stopping.clone();
        let guard = Guard(events);
        let work = move || {
            let _guard = guard;
            if let Err(error) = acceptor.work(&stopping) {
                acceptor.events.send(Event::Broken(format!("clients cannot be served: {error}")));
            }
        };
        let thread = Some(std::thread::Builder::new().name("demand".into()).spawn(work)?);
        Ok(Self { is_stopping, waker, thread })
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        // A thread that cannot be woken sees the flag at its next event.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reports a panic of the thread: no client is accepted after it.
struct Guard(Events);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send(Event::Broken("clients are not served any more: this is a bug".into()));
        }
    }
}

struct Acceptor {
    poll: Poll,
    listeners: Vec<Listener>,
    rules: Rules,
    events: Events,
    clients: BTreeMap<usize, Client>,
    next: usize,
    /// Count of the last [`Event::Clients`].
    last_reported: usize,
    /// A connection could not be accepted and is still waiting.
    is_paused: bool,
    log: LogLimit,
}

impl Acceptor {
    fn work(&mut self, is_stopping: &AtomicBool) -> io::Result<()> {
        let mut events = mio::Events::with_capacity(256);
        // Clients with more to read than one turn takes.
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
            // Connections that could not be accepted before raise no further event.
            if was_paused {
                (0..self.listeners.len()).try_for_each(|token| self.accept(token))?;
            }
            self.close_overdue();
            self.report_count();
            self.log.summary(Instant::now()).iter().for_each(|summary| info!("{summary}"));
        }
        self.log.end().iter().for_each(|summary| info!("{summary}"));
        Ok(())
    }

    fn longest_sleep(&self, has_more: bool) -> Option<Duration> {
        if has_more {
            return Some(Duration::ZERO);
        }
        let pending = self.clients.values().filter(|client| !client.may_stay).map(|client| client.since).min();
        let next = pending.map(|since| since + TOKEN_TIME).into_iter().chain(self.log.deadline()).min();
        next.map(|time| time.saturating_duration_since(Instant::now()))
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
                    if self.log.permits("a client could not be accepted", Instant::now()) {
                        warn!("{}: a client could not be accepted: {error}", self.listeners[token]);
                    }
                    self.is_paused = true;
                    return Ok(());
                }
            };
            let staying = self.staying();
            if staying >= self.rules.most {
                if self.log.permits("is disconnected: the limit of clients is reached", Instant::now()) {
                    warn!("{name} is disconnected: there are {staying} clients");
                }
                continue;
            }
            // Clients without the token do not count towards the limit.
            if self.clients.len() - staying >= MOST_PENDING {
                let oldest = self.clients.iter().find(|(_, client)| !client.may_stay).map(|(token, _)| *token);
                oldest.and_then(|token| self.clients.remove(&token));
            }
            if let Some(uid) =
                stream.uid().filter(|uid| !self.rules.allow_uid.is_empty() && !self.rules.allow_uid.contains(uid))
            {
                if self.log.permits("is disconnected: its user is not allowed", Instant::now()) {
                    warn!("{name} is disconnected: user {uid} is not allowed");
                }
                continue;
            }
            // Numbers are not reused: a late event for a closed connection matches no client.
            self.next += 1;
            if let Err(error) = stream.register(self.poll.registry(), Token(self.next)) {
                if self.log.permits("is disconnected: it cannot be watched", Instant::now()) {
                    warn!("{name} is disconnected: {error}");
                }
                continue;
            }
            if self.log.permits("connected", Instant::now()) {
                info!("{name} connected");
            }
            let may_stay = self.rules.token.is_none();
            self.clients.insert(self.next, Client::new(stream, name, may_stay));
        }
    }

    /// Number of clients that count as demand.
    fn staying(&self) -> usize {
        self.clients.values().filter(|client| client.may_stay).count()
    }

    /// True if the client has more to read.
    fn turn(&mut self, token: usize) -> bool {
        let staying = self.staying();
        let Some(client) = self.clients.get_mut(&token) else { return false };
        let was_pending = !client.may_stay;
        let mut turn = client.turn(self.rules.token.as_deref(), &mut self.log);
        if was_pending && client.may_stay && staying >= self.rules.most {
            turn = Turn::Over("is disconnected: the limit of clients is reached");
        }
        match turn {
            Turn::Done => false,
            Turn::More => true,
            Turn::Over(why) => {
                let is_logged = self.log.permits(why, Instant::now());
                match client.may_stay {
                    _ if !is_logged => {}
                    true => info!("{} {why}", client.name),
                    false => warn!("{} {why}", client.name),
                }
                self.clients.remove(&token);
                false
            }
        }
    }

    /// Disconnects clients that did not send the token in time.
    fn close_overdue(&mut self) {
        let why = "is disconnected: it did not send the token (a line of its own)";
        self.clients.retain(|_, client| {
            let stays = client.may_stay || client.since.elapsed() < TOKEN_TIME;
            if !stays && self.log.permits(why, Instant::now()) {
                warn!("{} {why}", client.name);
            }
            stays
        });
    }

    fn report_count(&mut self) {
        let count = self.staying();
        if count != self.last_reported {
            self.last_reported = count;
            self.events.send(Event::Clients(count));
        }
    }
}
