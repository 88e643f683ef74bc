//! A consumer whose frames are awaited.

use super::Consumer;
use super::frame::Frame;
use crate::backend::Notify;
use crate::error::ReceiveError;
use crate::waiter;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// A [`Consumer`] in a program with an executor: tokio or any other. It wakes its task by the waiting thread of the
/// process, which all consumers share (see [`Consumer::poll_fd`](Consumer::poll_fd), but no descriptor is used).
///
/// As a [`Stream`] it yields a `Result` for each frame, and ends with the end of the producer's stream; polled again, it
/// continues with frames after it. [`next`](Self::next) and the stream are cancel-safe: no frame is lost when a future is
/// dropped. Time limits are the executor's, for example `tokio::time::timeout`.
///
/// ```
/// use shm2::{AsyncConsumer, Consumer, FrameInfo, Producer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("shm:///dev/shm/shm2-doc-async-{}", std::process::id());
/// let mut consumer = AsyncConsumer::new(Consumer::new(&name)?)?;
/// let mut producer = Producer::create(&name)?;
/// producer.send(b"picture", &FrameInfo::new())?;
/// let frame = consumer.next().await?;
/// assert_eq!(frame.to_vec(), b"picture");
/// # Ok(())
/// # }
/// ```
pub struct AsyncConsumer {
    consumer: Consumer,
    task: Arc<Task>,
}

/// The task that waits.
#[derive(Default)]
struct Task(Mutex<Option<Waker>>);

impl Task {
    fn wait(&self, waker: &Waker) {
        // Wakers are cloned and dropped without the lock: they are code of the executor.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let kept = known.filter(|known| known.will_wake(waker)).unwrap_or_else(|| waker.clone());
        let replaced = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(kept);
        drop(replaced);
    }
}

impl Notify for Task {
    fn notify(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.into_iter().for_each(waiter::wake);
    }
}

impl AsyncConsumer {
    /// Lets tasks await the frames of this consumer. Its settings [`spin`](super::Builder::spin) and
    /// [`wake_ahead`](super::Builder::wake_ahead) have no effect here.
    ///
    /// # Errors
    /// If the waiting thread cannot be started.
    pub fn new(mut consumer: Consumer) -> io::Result<Self> {
        let task = Arc::<Task>::default();
        let seat = waiter::seat(task.clone())?;
        consumer.notify(Some((seat, task.clone())));
        Ok(Self { consumer, task })
    }

    /// The next frame. Waits for it, and for a producer, without a limit.
    ///
    /// # Errors
    /// As [`Consumer::next`], without [`TimedOut`](ReceiveError::TimedOut) and [`Cancelled`](ReceiveError::Cancelled).
    /// A call after an error tries again; pause before it, unless it was an [`EndOfStream`](ReceiveError::EndOfStream).
    pub async fn next(&mut self) -> Result<Frame, ReceiveError> {
        poll_fn(|context| self.poll_frame(context)).await
    }

    /// The next frame; registers the task if there is none now.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Frame, ReceiveError>> {
        self.task.wait(context.waker());
        match self.consumer.next_or_arm() {
            Ok(Some(frame)) => Poll::Ready(Ok(frame)),
            Ok(None) => Poll::Pending,
            Err(ReceiveError::TimedOut) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// The consumer, for its counters for example.
    pub fn get_ref(&self) -> &Consumer {
        &self.consumer
    }

    /// The consumer, to change its settings or request a keyframe.
    pub fn get_mut(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// The consumer alone, which waits on the caller's thread again.
    pub fn into_inner(mut self) -> Consumer {
        self.consumer.notify(None);
        self.consumer
    }
}

impl Stream for AsyncConsumer {
    type Item = Result<Frame, ReceiveError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut().poll_frame(context) {
            Poll::Ready(Err(ReceiveError::EndOfStream)) => Poll::Ready(None),
            other => other.map(Some),
        }
    }
}

impl fmt::Debug for AsyncConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncConsumer").field(&self.consumer).finish()
    }
}
