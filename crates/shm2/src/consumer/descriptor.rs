//! A descriptor of a consumer, for poll loops.

use super::{Consumer, Frame};
use crate::backend::{Notify, Readiness};
use crate::error::ReceiveError;
use crate::waiter;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

impl Consumer {
    /// A descriptor for `poll`, epoll, or the main loop of a toolkit. It is readable while there may be something to
    /// take by [`try_next`](Self::try_next): a frame, an error, a new producer to attach to. Call `try_next` until it
    /// returns `None`; the descriptor is not readable from then on, until there is something again. It is readable
    /// at first. Never read from it or write to it.
    ///
    /// All consumers of this process that have a descriptor share one waiting thread, which starts with the first one,
    /// and one more for each further 127. An idle region causes no wake-up of the program; the thread itself looks once
    /// a second. Without a producer, the descriptor is readable some times in the first three seconds and every 30 s
    /// after that. After an error other than [`EndOfStream`](ReceiveError::EndOfStream) it is readable again in 250 ms,
    /// so that a program can try again.
    ///
    /// # Errors
    /// If the system refuses a descriptor or the thread, and for a consumer in a set or a task, which wait for it.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-poll-fd-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer};
    /// use std::os::fd::AsRawFd;
    ///
    /// let mut producer = Producer::create(&name)?;
    /// let mut consumer = Consumer::new(&name)?;
    /// let descriptor = consumer.poll_fd()?.as_raw_fd(); // to be given to epoll, mio or a main loop
    /// assert!(consumer.try_next()?.is_none()); // not readable from here on
    /// producer.send(b"picture", &FrameInfo::new())?; // readable
    /// assert_eq!(consumer.poll_fd()?.as_raw_fd(), descriptor);
    /// assert_eq!(consumer.try_next()?.map(|frame| frame.len()), Some(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn poll_fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        if self.notified.as_ref().is_some_and(|notified| notified.readiness.is_none()) {
            return Err(io::Error::other("a set or a task waits for this consumer: take it out to get a descriptor"));
        }
        if !self.has_descriptor() {
            let readiness = Arc::new(Readiness::new()?);
            let seat = waiter::seat(readiness.clone())?;
            self.notify(Some((seat, readiness.clone())));
            readiness.notify();
            self.notified.iter_mut().for_each(|notified| notified.readiness = Some(readiness.clone()));
        }
        let readiness = self.notified.as_ref().and_then(|notified| notified.readiness.as_ref());
        readiness.map(|readiness| readiness.as_fd()).ok_or_else(|| io::Error::other("no descriptor"))
    }

    pub(super) fn has_descriptor(&self) -> bool {
        self.notified.as_ref().is_some_and(|notified| notified.readiness.is_some())
    }

    /// The next frame if there is one now. Otherwise the descriptor is not readable until there is something.
    #[cold]
    pub(super) fn next_or_arm_descriptor(&mut self) -> Result<Option<Frame>, ReceiveError> {
        let found = self.try_take();
        if let Ok(Some(kind)) = found {
            return self.frame(kind).map(Some);
        }
        let Some(readiness) = self.notified.as_ref().and_then(|notified| notified.readiness.clone()) else {
            return Ok(None);
        };
        // Before the last look.
        readiness.clear();
        let found = match found {
            Ok(_) => self.next_or_arm(),
            Err(error) => Err(error),
        };
        match found {
            Ok(None) => Ok(None),
            Ok(Some(frame)) => {
                readiness.notify();
                Ok(Some(frame))
            }
            Err(error) => {
                if !self.arm_after(&error) {
                    readiness.notify();
                }
                if matches!(error, ReceiveError::TimedOut) { Ok(None) } else { Err(error) }
            }
        }
    }
}
