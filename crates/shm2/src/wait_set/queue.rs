//! The consumers of a set that may have something, and what other threads ask of the set.

use crate::backend::{Notify, ProcessEvent};
use crate::consumer::{Consumer, Frame};
use crate::sync::{AtomicU64, Ordering};
use crate::waiter::{self, Group};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Identifies a consumer in its set. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

/// Shared by a set, its handles, and the seats of its members.
#[derive(Default)]
pub(super) struct Queue {
    /// What the set's own thread waits for.
    pub(super) group: Arc<Group>,
    ready: Mutex<VecDeque<Token>>,
    commands: Mutex<Commands>,
    has_commands: AtomicBool,
    last_token: AtomicU64,
    /// A handle wakes the set's thread.
    pub(super) is_woken: AtomicBool,
}

/// The commands of handles that are not carried out yet.
#[derive(Default)]
struct Commands {
    waiting: Vec<Command>,
    /// The set is gone.
    is_closed: bool,
}

pub(super) enum Command {
    Add(Token, Box<Member>),
    Remove(Token),
}

/// A consumer of the set.
pub(super) struct Member {
    pub(super) consumer: Consumer,
    pub(super) ticket: Arc<Ticket>,
    /// The frame that waits for those of the other members.
    pub(super) candidate: Option<(u64, Frame)>,
}

impl Member {
    /// The consumer, which nothing is waited for any more.
    pub(super) fn leave(mut self) -> Consumer {
        self.consumer.notify(None);
        self.consumer
    }
}

/// A member's entry in the queue: it is there once at most.
pub(super) struct Ticket {
    token: Token,
    queue: Weak<Queue>,
    is_queued: AtomicBool,
}

impl Ticket {
    /// The member was taken from the queue. Whatever comes after this puts it there again.
    pub(super) fn begin(&self) {
        self.is_queued.store(false, Ordering::SeqCst);
    }

    /// Puts the member behind the others, by the set's own thread.
    pub(super) fn requeue(&self) {
        if let Some(queue) = self.queue.upgrade().filter(|_| !self.is_queued.swap(true, Ordering::SeqCst)) {
            queue.ready().push_back(self.token);
        }
    }
}

impl Notify for Ticket {
    fn notify(&self) {
        if let Some(queue) = self.queue.upgrade().filter(|_| !self.is_queued.swap(true, Ordering::SeqCst)) {
            queue.ready().push_back(self.token);
            queue.group.event.signal();
        }
    }
}

impl Queue {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Token>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next member to ask.
    pub(super) fn pop(&self) -> Option<Token> {
        self.ready().pop_front()
    }

    /// Members that are to be asked.
    pub(super) fn len(&self) -> usize {
        self.ready().len()
    }

    /// Members whose tickets say that they are queued.
    pub(super) fn push_all(&self, tokens: impl IntoIterator<Item = Token>) {
        self.ready().extend(tokens);
    }

    /// Makes a member of a consumer, with a seat of the set's own thread, or else of a thread of the process.
    pub(super) fn admit(self: &Arc<Self>, mut consumer: Consumer) -> io::Result<(Token, Member)> {
        let token = Token(self.last_token.fetch_add(1, Ordering::Relaxed));
        // Queued when the set has the member; signals before that do not count.
        let ticket = Arc::new(Ticket { token, queue: Arc::downgrade(self), is_queued: AtomicBool::new(true) });
        let seat = match self.group.seat(ticket.clone()) {
            Some(seat) => seat,
            None => waiter::seat(ticket.clone())?,
        };
        consumer.notify(Some((seat, ticket.clone())));
        Ok((token, Member { consumer, ticket, candidate: None }))
    }

    /// Asks the set's thread for something; an error, with the command dropped, if the set is gone.
    pub(super) fn ask(&self, command: Command) -> io::Result<()> {
        let mut commands = self.commands();
        if commands.is_closed {
            drop(commands);
            drop(command);
            return Err(io::Error::other("the set of this handle is gone"));
        }
        commands.waiting.push(command);
        drop(commands);
        self.has_commands.store(true, Ordering::Release);
        self.group.event.signal();
        Ok(())
    }

    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_commands(&self) -> Vec<Command> {
        if !self.has_commands.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.commands().waiting)
    }

    /// The set ends: its handles get errors.
    pub(super) fn close(&self) {
        let mut commands = self.commands();
        commands.is_closed = true;
        let waiting = std::mem::take(&mut commands.waiting);
        drop(commands);
        drop(waiting);
    }

    /// Ends the present or the next wait of the set's thread.
    pub(super) fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        self.group.event.signal();
    }
}
