//! A consumer for which another thread waits: that of a set, or one of the process that serves a descriptor or a task.

use super::absent::{Absent, LastLook};
use super::attach::may_restart_unseen;
use super::notified::Notified;
use super::producer_liveness::HEARTBEAT_PROBE;
use super::{Consumer, Frame, Liveness};
use crate::backend::{AwaitProducer, Notify, ProcessEvent, ProducerWatch};
use crate::description::Kind;
use crate::error::ReceiveError;
use crate::waiter::{Seat, Source};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Attempts to find an item where there may be one, or that there is none.
const ATTEMPTS: usize = 16;
/// Time after an error, of a region that cannot be used for example, until the receiver is notified to try again.
const AFTER_ERROR: Duration = Duration::from_millis(250);

impl Consumer {
    /// From now on `receiver`, which has this seat, is notified once after each [`arm`](Self::arm). `None` ends that.
    pub(crate) fn notify(&mut self, seat: Option<(Seat, Arc<dyn Notify>)>) {
        let (seat, receiver) = seat.unzip();
        self.shared.event.forward().set(receiver);
        self.set_notified(seat.map(Notified::new));
        self.source_changed();
    }

    pub(super) fn set_notified(&mut self, notified: Option<Notified>) {
        if notified.is_none() && self.notified.is_some() {
            self.shared.event.forward().set(None);
        }
        self.notified = notified;
    }

    /// Called after each attach and detach.
    pub(super) fn source_changed(&mut self) {
        if let Some(notified) = &mut self.notified {
            notified.producer_watch = ProducerWatch::default();
            (notified.is_absent, notified.last_look) = (false, LastLook::default());
            notified.seat.set_source(self.attachment.as_ref().map(|attachment| attachment.reader.source()));
        }
    }

    /// The next frame if there is one now. Otherwise the receiver is notified when there may be one, or an end to report.
    ///
    /// # Errors
    /// As [`next`](Self::next). [`ReceiveError::TimedOut`]: there may be one, but none was found in some attempts. After
    /// this and after an end of stream the caller should try again; after another error, the receiver is notified when
    /// [`AFTER_ERROR`] has passed.
    pub(crate) fn next_or_arm(&mut self) -> Result<Option<Frame>, ReceiveError> {
        let found = self.find_or_arm();
        if let Err(error) = &found {
            self.arm_after(error);
        }
        found
    }

    /// Called after an error; true if it is one after which the receiver is notified later.
    #[cold]
    pub(super) fn arm_after(&self, error: &ReceiveError) -> bool {
        let lasts = !matches!(error, ReceiveError::EndOfStream | ReceiveError::TimedOut);
        if let Some(notified) = self.notified.as_ref().filter(|_| lasts) {
            notified.seat.arm(None, Instant::now().checked_add(AFTER_ERROR));
        }
        lasts
    }

    /// As [`try_next`](Self::try_next), without the frame of the item.
    pub(super) fn try_take(&mut self) -> Result<Option<Kind>, ReceiveError> {
        match self.take()? {
            None => self.poll_attachment(),
            taken => Ok(taken),
        }
    }

    fn find_or_arm(&mut self) -> Result<Option<Frame>, ReceiveError> {
        for _ in 0..ATTEMPTS {
            if let Some(kind) = self.try_take()? {
                return self.frame(kind).map(Some);
            }
            if self.arm()? {
                return Ok(None);
            }
        }
        Err(ReceiveError::TimedOut)
    }

    /// Called after a take found nothing: false if there may be something already.
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        let Some(attachment) = &mut self.attachment else { return self.arm_detached() };
        let armed = match attachment.arm(&self.position, &self.shared.event) {
            Ok(armed) => armed,
            Err(error) => return Err(self.fail(error)),
        };
        if let (Some((value, limit)), Some(notified)) = (armed, &self.notified) {
            notified.seat.arm(Some(value), limit.and_then(|limit| Instant::now().checked_add(limit)));
        }
        Ok(armed.is_some())
    }

    fn arm_detached(&mut self) -> Result<bool, ReceiveError> {
        let Some(mut watch) = self.notified.as_mut().map(|notified| std::mem::take(&mut notified.producer_watch))
        else {
            return Ok(true);
        };
        let absent = Absent(self.spec.path().into());
        let value = loop {
            // Before the look, so that a change after it is found.
            let value = absent.value();
            match self.try_attach() {
                Ok(()) => return Ok(false),
                Err(error) if error.is_absence() => {}
                Err(error) => return Err(error.into()),
            }
            if !watch.arm(&self.spec, &self.shared.event) {
                break value;
            }
        };
        let by_heartbeat = self.settings.liveness == Liveness::Heartbeat || may_restart_unseen(&self.spec);
        let interval = if by_heartbeat { watch.interval().min(HEARTBEAT_PROBE) } else { watch.interval() };
        let Some(notified) = &mut self.notified else { return Ok(true) };
        let is_quiet = watch.reports_all() && !by_heartbeat;
        notified.producer_watch = watch;
        let Some(value) = value.filter(|_| is_quiet) else {
            notified.seat.arm(None, Instant::now().checked_add(interval));
            return Ok(true);
        };
        let limit = notified.last_look.note(value, interval);
        if !std::mem::replace(&mut notified.is_absent, true) {
            notified.seat.set_source(Some(Arc::new(absent)));
        }
        notified.seat.arm(Some(value), Instant::now().checked_add(limit));
        Ok(true)
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
impl Consumer {
    pub(super) fn has_descriptor(&self) -> bool {
        false
    }

    pub(super) fn next_or_arm_descriptor(&mut self) -> Result<Option<Frame>, ReceiveError> {
        Ok(None)
    }
}
