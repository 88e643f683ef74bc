//! Settings of a consumer.

use super::start::Start;
use crate::name::Spec;
use std::time::Duration;

/// How a consumer reads the bytes of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// [`Lease`](Self::Lease) if a consumer page is free and this user may write the region; else
    /// [`Snapshot`](Self::Snapshot). Also `Snapshot` where only heartbeats show liveness, because a leasing consumer
    /// that pauses for longer than the lease time loses the frames that it holds.
    #[default]
    Auto,
    /// Frames are read in place and held by leases. Needs write permission for the region and one of its 64 consumer
    /// pages.
    Lease,
    /// Each frame is a private copy. Needs only read permission; any number of consumers.
    Snapshot,
}

/// What a consumer does when its producer exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnProducerExit {
    /// Waits for the next producer at the same name, without a limit of its own.
    #[default]
    Reconnect,
    /// Returns [`ReceiveError::EndOfStream`](crate::ReceiveError::EndOfStream).
    EndOfStream,
    /// Returns [`ReceiveError::ProducerGone`](crate::ReceiveError::ProducerGone).
    Error,
}

/// How a consumer and its producer detect that the other is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Liveness {
    /// By locks, which the kernel ends with their process: immediate and certain. Where there are no locks, in the
    /// memory of a virtual machine's device and with a producer in a virtual machine, heartbeats are used instead.
    #[default]
    Lock,
    /// By heartbeats, for memory that producer and consumer share without a common kernel, as with virtual machines.
    /// Only in a region made with [`keep_region`](crate::producer::Builder::keep_region). A side without a heartbeat
    /// within the region's lease time counts as dead. A consumer that continues after that has lost the frames that it
    /// held: their bytes may have changed, and its next call returns
    /// [`ReceiveError::Expelled`](crate::ReceiveError::Expelled).
    Heartbeat,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) access: Access,
    pub(super) start: Start,
    pub(super) latest_only: bool,
    /// Zero for no limit.
    pub(super) lag_limit: Duration,
    pub(super) max_leases: usize,
    pub(super) on_exit: OnProducerExit,
    pub(super) spin: Duration,
    pub(super) liveness: Liveness,
    pub(super) events: bool,
    pub(super) wake_ahead: bool,
}

impl Settings {
    /// Whether to use snapshots where only heartbeats show liveness. There a consumer that pauses loses what it holds,
    /// so leasing must be set explicitly.
    pub(super) fn prefers_snapshots(&self) -> bool {
        self.access == Access::Auto && self.liveness == Liveness::Lock
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access: Access::default(),
            start: Start::default(),
            latest_only: false,
            lag_limit: Duration::ZERO,
            max_leases: crate::layout::LEASES,
            on_exit: OnProducerExit::default(),
            spin: Duration::ZERO,
            liveness: Liveness::default(),
            events: false,
            wake_ahead: false,
        }
    }
}

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) spec: Spec,
    pub(super) settings: Settings,
}

impl Builder {
    /// How frames are read; [`Access::Auto`] if not set.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-access-{}", std::process::id());
    /// use shm2::{Access, Consumer, FrameInfo, Producer};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// for (access, is_leased) in [(Access::Lease, true), (Access::Snapshot, false)] {
    ///     let mut consumer = Consumer::builder(&name)?.access(access).build();
    ///     assert_eq!(consumer.next(Some(Duration::from_secs(1)))?.is_leased(), is_leased);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn access(mut self, access: Access) -> Self {
        self.settings.access = access;
        self
    }

    /// Which frame is received first after an attach; [`Start::History`] if not set.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-start-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer, Start};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::builder(&name)?.history(2).create()?;
    /// for number in 1..=3 {
    ///     producer.send(&[number], &FrameInfo::new())?;
    /// }
    /// for (start, expected) in [(Start::Oldest, 1), (Start::History, 2)] {
    ///     let mut consumer = Consumer::builder(&name)?.start(start).build();
    ///     assert_eq!(consumer.next(Some(Duration::from_secs(1)))?.sequence(), expected);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(mut self, start: Start) -> Self {
        self.settings.start = start;
        self
    }

    /// Skips waiting frames: receives the second newest when two or more wait. False if not set.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-latest-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer, Start};
    /// use std::time::Duration;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// for number in 1..=5 {
    ///     producer.send(&[number], &FrameInfo::new())?;
    /// }
    /// let mut consumer = Consumer::builder(&name)?.start(Start::Oldest).latest_only(true).build();
    /// assert_eq!(consumer.next(Some(Duration::from_secs(1)))?.sequence(), 4);
    /// assert_eq!(consumer.stats().skipped, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn latest_only(mut self, latest_only: bool) -> Self {
        self.settings.latest_only = latest_only;
        self
    }

    /// Skips frames that were published longer ago than this; zero, the default, for no limit. Skipped frames count as
    /// [`skipped_old`](super::ConsumerStats::skipped_old), and the next frame is a
    /// [discontinuity](super::Frame::is_discontinuity). Events and ends of stream are received at any age. For a
    /// producer with another clock the age is estimated, see [`to_local`](crate::Consumer::to_local).
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-lag-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::{thread::sleep, time::Duration};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let second = Duration::from_secs(1);
    /// let mut consumer = Consumer::builder(&name)?.lag_limit(second).attach(Some(second))?;
    /// producer.send(b"old", &FrameInfo::new())?;
    /// sleep(Duration::from_millis(1100));
    /// producer.send(b"new", &FrameInfo::new())?;
    /// assert_eq!(consumer.next(Some(second))?.to_vec(), b"new");
    /// assert_eq!(consumer.stats().skipped_old, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lag_limit(mut self, age: Duration) -> Self {
        self.settings.lag_limit = age;
        self
    }

    /// Number of frames held in place at a time, limited by what the producer allows. Further frames are copied. 64 if
    /// not set.
    pub fn max_leases(mut self, frames: usize) -> Self {
        self.settings.max_leases = frames;
        self
    }

    /// What to do when the producer exits; [`OnProducerExit::Reconnect`] if not set.
    pub fn on_producer_exit(mut self, action: OnProducerExit) -> Self {
        self.settings.on_exit = action;
        self
    }

    /// How long a wait polls for the next frame before it sleeps; 0 if not set.
    pub fn spin(mut self, time: Duration) -> Self {
        self.settings.spin = time;
        self
    }

    /// Whether a wait for an item of a stream with a steady rhythm ends shortly before the item is due, and the consumer
    /// then looks for it without sleeping; false if not set. The item is taken without the delay of a wake-up, and the
    /// producer makes no system call for it.
    ///
    /// The consumer looks for at most a fortieth of the time that passes, plus 4 ms; it sleeps as usual when items come
    /// irregularly, and always in a process that may use only one processor. An item that comes earlier than forecast
    /// wakes it as usual. [`looks_found`](super::ConsumerStats::looks_found) and its neighbours count.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-ahead-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::{thread, time::Duration};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let second = Some(Duration::from_secs(1));
    /// let mut consumer = Consumer::builder(&name)?.wake_ahead(true).attach(second)?;
    /// let sender = thread::spawn(move || {
    ///     for _ in 0..30 {
    ///         thread::sleep(Duration::from_millis(5));
    ///         producer.send(b"picture", &FrameInfo::new()).unwrap();
    ///     }
    ///     producer
    /// });
    /// for _ in 0..30 {
    ///     consumer.next(second)?;
    /// }
    /// println!("found by a look: {}", consumer.stats().looks_found);
    /// # drop(sender.join());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wake_ahead(mut self, wake_ahead: bool) -> Self {
        self.settings.wake_ahead = wake_ahead;
        self
    }

    /// How consumer and producer detect that the other is alive; [`Liveness::Lock`] if not set.
    pub fn liveness(mut self, liveness: Liveness) -> Self {
        self.settings.liveness = liveness;
        self
    }

    /// Whether events between frames ([`Producer::send_event`](crate::Producer::send_event)) are received, as frames
    /// without bytes ([`Frame::is_event`](super::Frame::is_event)). False if not set: events are skipped. Under
    /// [`latest_only`](Self::latest_only) an event that is not the newest item may be skipped in either case.
    pub fn events(mut self, events: bool) -> Self {
        self.settings.events = events;
        self
    }
}
