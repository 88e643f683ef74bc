//! A producer whose waits for free space are awaited.

use super::reservation::Reservation;
use super::settings::FullPolicy;
use super::space_waiter::SpaceWaiter;
use super::{Handle, Producer};
use crate::description::FrameInfo;
use crate::error::SendError;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Instant;

/// A [`Producer`] under [`FullPolicy::Block`] in a program with an executor: tokio or any other. What would wait for
/// consumers is awaited; a thread of its own waits meanwhile. Under the other policies nothing waits.
///
/// All futures are cancel-safe: a frame whose future is dropped is not published, and its memory is free again. It is
/// not counted as dropped.
///
/// ```
/// use shm2::{AsyncProducer, Consumer, FrameInfo, FullPolicy, Producer};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("shm:///dev/shm/shm2-doc-async-producer-{}", std::process::id());
/// let block = FullPolicy::Block { timeout: None };
/// let producer = Producer::builder(&name)?.arena(65_536).full_policy(block).create()?;
/// let mut producer = AsyncProducer::new(producer)?;
/// let mut consumer = Consumer::builder(&name)?.attach(Some(Duration::from_secs(1)))?;
/// let (picture, info) = ([0; 40_000], FrameInfo::new());
/// producer.send(&picture, &info).await?;
/// let mut full = std::pin::pin!(producer.send(&picture, &info)); // the arena holds one frame
/// tokio::select! {
///     _ = &mut full => panic!("the consumer has read nothing"),
///     _ = tokio::time::sleep(Duration::from_millis(20)) => {}
/// }
/// drop(consumer.next(Some(Duration::from_secs(1)))?);
/// full.await?;
/// # Ok(())
/// # }
/// ```
pub struct AsyncProducer {
    producer: Producer,
    /// `None` under policies that never wait.
    waiter: Option<SpaceWaiter>,
}

impl AsyncProducer {
    /// Lets tasks await the free space of this producer.
    ///
    /// # Errors
    /// If the thread that waits cannot be started.
    pub fn new(producer: Producer) -> io::Result<Self> {
        let waits = matches!(producer.shared.settings.policy, FullPolicy::Block { .. });
        let waiter = if waits { Some(SpaceWaiter::start(&producer.shared)?) } else { None };
        Ok(Self { producer, waiter })
    }

    /// As [`Producer::reserve`].
    ///
    /// # Errors
    /// As [`Producer::reserve`].
    pub async fn reserve(&mut self, bytes: usize) -> Result<Reservation, SendError> {
        let Some(waiter) = &self.waiter else { return self.producer.reserve(bytes) };
        let shared = self.producer.shared.clone();
        let reserved = until_free(waiter, bytes, || shared.try_reserve(bytes as u64)).await;
        reserved.map_err(|error| shared.count_failure(error))
    }

    /// As [`Producer::publish`].
    ///
    /// # Errors
    /// As [`Producer::publish`].
    pub async fn publish(&mut self, reservation: Reservation, info: &FrameInfo) -> Result<u64, SendError> {
        self.publish_with_meta(reservation, info, &[]).await
    }

    /// As [`Producer::publish_with_meta`].
    ///
    /// # Errors
    /// As [`Producer::publish_with_meta`].
    pub async fn publish_with_meta(
        &mut self,
        reservation: Reservation,
        info: &FrameInfo,
        meta: &[u8],
    ) -> Result<u64, SendError> {
        if let Some(waiter) = &self.waiter {
            let shared = self.producer.shared.clone();
            // This producer alone takes ring cells, and its next call follows at once.
            let ready = || shared.find_cell().and_then(|()| shared.try_reserve(meta.len() as u64).map(drop));
            until_free(waiter, reservation.len(), ready).await.map_err(|error| shared.count_failure(error))?;
        }
        self.producer.publish_with_meta(reservation, info, meta)
    }

    /// As [`Producer::send`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send(&mut self, bytes: &[u8], info: &FrameInfo) -> Result<u64, SendError> {
        let mut reservation = self.reserve(bytes.len()).await?;
        reservation.write_at(0, bytes)?;
        self.publish(reservation, info).await
    }

    /// For other threads and tasks.
    pub fn handle(&self) -> Handle {
        self.producer.handle()
    }

    /// The producer, for caps, events and the end of the stream, which wait on the calling thread if the arena is full.
    pub fn get_mut(&mut self) -> &mut Producer {
        &mut self.producer
    }

    /// The producer alone.
    pub fn into_inner(self) -> Producer {
        self.producer
    }
}

/// Repeats `attempt` while it finds no free space, as far as the policy's time limit allows.
async fn until_free<T>(
    waiter: &SpaceWaiter,
    bytes: usize,
    mut attempt: impl FnMut() -> Result<T, SendError>,
) -> Result<T, SendError> {
    let mut wait = None;
    poll_fn(|context| {
        let is_late = waiter.deadline_passed(wait.as_ref().map(|(_, since)| *since));
        // Registered before the attempt, so that space that is freed after it wakes the task.
        if wait.is_some() {
            waiter.register(context.waker());
        }
        match attempt() {
            Err(SendError::Full { .. } | SendError::Recovering) if waiter.is_cancelled() => {
                Poll::Ready(Err(SendError::Cancelled))
            }
            Err(SendError::Full { .. } | SendError::Recovering) if is_late => {
                Poll::Ready(Err(SendError::TimedOut { bytes: bytes as u64 }))
            }
            Err(error @ SendError::Full { .. }) if waiter.is_hopeless() => Poll::Ready(Err(error)),
            Err(SendError::Full { .. } | SendError::Recovering) => {
                waiter.register(context.waker());
                wait.get_or_insert_with(|| (waiter.begin(), Instant::now()));
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    })
    .await
}

impl fmt::Debug for AsyncProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncProducer").field(&self.producer).finish()
    }
}
