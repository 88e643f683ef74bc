//! [`WaitSet`]: one thread that receives from many regions.

mod handle;
mod matching;
mod queue;

pub use handle::Handle;
pub use matching::MatchError;
pub use queue::Token;

use crate::backend::ProcessEvent;
use crate::consumer::{Consumer, Frame};
use crate::error::ReceiveError;
use queue::{Command, Member, Queue};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a consumer of the set received.
#[derive(Debug)]
pub struct Ready {
    /// Which consumer.
    pub token: Token,
    /// Its next frame, or why there is none: as [`Consumer::next`] returns it, except
    /// [`TimedOut`](ReceiveError::TimedOut) and [`Cancelled`](ReceiveError::Cancelled).
    pub frame: Result<Frame, ReceiveError>,
}

/// Many consumers, for which one thread waits. Consumers of regions without a producer are waited for as well, and
/// attach when it appears.
///
/// The calling thread sleeps on the words of up to 127 regions by one system call. Each further 127 are waited for by one
/// more thread of the process, which ends when they are removed. In a silence nothing is done, but for one look a
/// second; see `docs/performance.md` for 500 regions. The settings [`spin`](crate::consumer::Builder::spin) and
/// [`wake_ahead`](crate::consumer::Builder::wake_ahead) have no effect in a set.
///
/// ```
/// # let name = |which: &str| format!("shm:///dev/shm/shm2-doc-set-{which}-{}", std::process::id());
/// use shm2::{Consumer, FrameInfo, Producer, WaitSet};
/// use std::time::Duration;
///
/// let (mut left, mut right) = (Producer::create(&name("left"))?, Producer::create(&name("right"))?);
/// let mut set = WaitSet::new();
/// let left_token = set.add(Consumer::new(&name("left"))?)?;
/// let right_token = set.add(Consumer::new(&name("right"))?)?;
///
/// left.send(b"from the left", &FrameInfo::new())?;
/// let ready = set.next(Some(Duration::from_secs(1))).expect("in time");
/// assert_eq!((ready.token, ready.frame?.to_vec().as_slice()), (left_token, &b"from the left"[..]));
///
/// right.send(b"from the right", &FrameInfo::new())?;
/// let ready = set.next(Some(Duration::from_secs(1))).expect("in time");
/// assert_eq!(ready.token, right_token);
/// assert!(set.next(Some(Duration::from_millis(1))).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WaitSet {
    queue: Arc<Queue>,
    members: HashMap<Token, Member>,
    /// Ready members that [`wait_for_all`](Self::wait_for_all) did not need.
    parked: Vec<Token>,
}

impl WaitSet {
    /// An empty set.
    pub fn new() -> Self {
        Self { queue: Arc::default(), members: HashMap::new(), parked: Vec::new() }
    }

    /// Adds a consumer. A descriptor that it had is of no use from then on.
    ///
    /// # Errors
    /// If a further thread is needed and cannot be started.
    pub fn add(&mut self, consumer: Consumer) -> io::Result<Token> {
        let (token, member) = self.queue.admit(consumer)?;
        self.insert(token, member);
        Ok(token)
    }

    fn insert(&mut self, token: Token, member: Member) {
        self.members.insert(token, member);
        // It may have frames.
        self.queue.push_all([token]);
    }

    /// Removes a consumer and returns it; `None` if it is not in the set.
    pub fn remove(&mut self, token: Token) -> Option<Consumer> {
        self.run_commands();
        self.members.remove(&token).map(Member::leave)
    }

    /// A consumer of the set, for its [`stats`](Consumer::stats) for example.
    pub fn get(&self, token: Token) -> Option<&Consumer> {
        self.members.get(&token).map(|member| &member.consumer)
    }

    /// A consumer of the set, to change its settings or request a keyframe. What its own [`next`](Consumer::next) takes
    /// does not come out of the set. It must not be exchanged for another one: nothing waits for that.
    pub fn get_mut(&mut self, token: Token) -> Option<&mut Consumer> {
        self.members.get_mut(&token).map(|member| &mut member.consumer)
    }

    /// Number of consumers in the set, without those that a [`Handle`] has added since the last [`next`](Self::next).
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the set has no consumers.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// For other threads: adds and removes consumers, and wakes this one.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-set-handle-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer, WaitSet};
    ///
    /// let mut set = WaitSet::new();
    /// let handle = set.handle();
    /// let waiting = std::thread::spawn(move || set.next(None).map(|ready| ready.token));
    /// let mut producer = Producer::create(&name)?;
    /// let token = handle.add(Consumer::new(&name)?)?; // while the thread waits
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// assert_eq!(waiting.join().unwrap(), Some(token));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle(&self) -> Handle {
        Handle::new(self.queue.clone())
    }

    /// What the next consumer received. Waits for it up to `timeout` (`None`: no limit). The consumers take turns, so that
    /// none with many frames keeps the others back. `None` after the time, and after [`Handle::wake`].
    ///
    /// After an error, the consumer is asked again, at once after [`EndOfStream`](ReceiveError::EndOfStream), or else after
    /// 250 ms: [`remove`](Self::remove) it if it is not to attach again.
    pub fn next(&mut self, timeout: Option<Duration>) -> Option<Ready> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.next_of(deadline, |_| true)
    }

    /// As [`next`](Self::next), of the members that are `wanted`.
    fn next_of(&mut self, deadline: Option<Instant>, wanted: impl Fn(&Member) -> bool) -> Option<Ready> {
        self.queue.push_all(self.parked.drain(..));
        loop {
            let seen = self.queue.group.event.value();
            self.run_commands();
            // Those that are queued meanwhile have their turn after a look at the time.
            for _ in 0..self.queue.len() {
                let Some(token) = self.queue.pop() else { break };
                match self.members.get(&token).map(&wanted) {
                    Some(false) => self.parked.push(token),
                    Some(true) => {
                        if let Some(ready) = self.take(token) {
                            return Some(ready);
                        }
                    }
                    None => {}
                }
            }
            if self.is_over(deadline) {
                return None;
            }
            if self.queue.len() == 0 {
                self.queue.group.wait(seen, deadline);
            }
        }
    }

    /// Whether a handle woke the thread, or the time is over.
    fn is_over(&self, deadline: Option<Instant>) -> bool {
        self.queue.is_woken.swap(false, Ordering::AcqRel) || deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// What the consumer has; `None` if it has nothing and waits now.
    fn take(&mut self, token: Token) -> Option<Ready> {
        let member = self.members.get_mut(&token)?;
        member.ticket.begin();
        let frame = match member.consumer.next_or_arm() {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => return None,
            Err(ReceiveError::TimedOut) => {
                member.ticket.requeue();
                return None;
            }
            Err(error) => Err(error),
        };
        // After another error the consumer notifies later.
        if matches!(frame, Ok(_) | Err(ReceiveError::EndOfStream)) {
            member.ticket.requeue();
        }
        Some(Ready { token, frame })
    }

    /// Carries out what handles asked for.
    fn run_commands(&mut self) {
        for command in self.queue.take_commands() {
            match command {
                Command::Add(token, member) => self.insert(token, *member),
                Command::Remove(token) => drop(self.members.remove(&token)),
            }
        }
    }
}

impl Default for WaitSet {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for WaitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitSet").field("consumers", &self.members.len()).finish_non_exhaustive()
    }
}
