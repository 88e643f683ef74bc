//! How a consumer attaches, waits and takes items: the private half of [`Consumer`].

use super::attach::{self, attach, may_restart_unseen};
use super::attachment::Attachment;
use super::frame::Frame;
use super::position::Position;
use super::producer_liveness::{FirstHeartbeat, HEARTBEAT_PROBE, ProducerLiveness};
use super::reader::Step;
use super::start::LatestScan;
use super::take_error::{Cause, TakeError};
use super::{Change, Consumer, LastAttachment, Liveness, OnProducerExit, deadline};
use crate::backend::{AwaitProducer, ConsumerRegion, ProcessEvent, ProducerWatch};
use crate::description::Kind;
use crate::error::{AttachError, ReceiveError};
use crate::layout;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Number of calls of a polling consumer without an item after which it checks the ring's state and its producer.
const IDLE_CHECK: u32 = 1024;
/// Time after which a caller that skips events checks for cancellation and for its deadline.
const SKIP_TIME: Duration = Duration::from_millis(5);
/// Time for which a snapshot consumer requests a keyframe: within it, a producer looks several times.
const REQUEST: Duration = Duration::from_millis(300);

impl Consumer {
    /// Makes the [`Frame`] of the item of this kind that was just taken.
    #[inline(always)]
    pub(super) fn frame(&mut self, kind: Kind) -> Result<Frame, ReceiveError> {
        if self.keyframe_requested.is_some() {
            self.end_keyframe_request();
        }
        // `take` returns items of the current attachment only.
        let gap = self.position.take_gap(kind);
        self.attachment.as_mut().and_then(|attachment| attachment.frame(gap)).ok_or(ReceiveError::TimedOut)
    }

    /// Ends a request of a keyframe that has lasted long enough.
    fn end_keyframe_request(&mut self) {
        let is_over = self.keyframe_requested.is_some_and(|begun| begun.elapsed() > REQUEST);
        if let (true, Some(attachment)) = (is_over, &self.attachment) {
            self.keyframe_requested = None;
            attachment.reader.end_keyframe_request();
        }
    }

    /// Without an item to take: attaches, or checks the producer, for a caller that does not wait.
    pub(super) fn poll_attachment(&mut self) -> Result<Option<Kind>, ReceiveError> {
        let seen = self.shared.event.value();
        match self.attachment.as_mut().map(|attachment| attachment.is_gone(seen)) {
            Some(false) => self.idle(),
            Some(true) => self.take_last(),
            None => match self.try_attach() {
                Ok(()) => self.take(),
                Err(error) if error.is_absence() => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Checks the ring and the producer every [`IDLE_CHECK`] calls without an item.
    fn idle(&mut self) -> Result<Option<Kind>, ReceiveError> {
        self.position.idle = self.position.idle.wrapping_add(1);
        if self.position.idle % IDLE_CHECK != 0 {
            return Ok(None);
        }
        let Some(attachment) = &mut self.attachment else { return Ok(None) };
        if let Err(error) = attachment.reader.check_idle(&self.position) {
            return Err(self.fail(error));
        }
        // A wait ends when the producer dies. A consumer that never waits must probe it.
        if attachment.is_producer_alive() { Ok(None) } else { self.take_last() }
    }

    /// Takes what remains of a producer that has exited; detaches when nothing remains.
    pub(super) fn take_last(&mut self) -> Result<Option<Kind>, ReceiveError> {
        self.has_more = false;
        match self.take()? {
            None if self.has_more => Ok(None),
            None => self.producer_gone().map(|()| None),
            taken => Ok(taken),
        }
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Kind, ReceiveError> {
        let deadline = deadline(timeout);
        loop {
            self.attach(deadline).map_err(|e| match e {
                AttachError::TimedOut { .. } => ReceiveError::TimedOut,
                AttachError::Cancelled => ReceiveError::Cancelled,
                e => ReceiveError::Attach(e),
            })?;
            let waited = self.wait_attached(deadline);
            self.end_keyframe_request();
            if let Some(taken) = waited? {
                return Ok(taken);
            }
        }
    }

    /// `None` when the producer has exited and the consumer is to wait for the next one.
    fn wait_attached(&mut self, deadline: Option<Instant>) -> Result<Option<Kind>, ReceiveError> {
        let mut is_gone = false;
        let spin = self.settings.spin;
        let spin_end = [deadline, self::deadline(Some(spin))].into_iter().flatten().min();
        let mut spins = !spin.is_zero();
        loop {
            if is_gone {
                return self.take_last();
            }
            if let Some(taken) = self.take()? {
                return Ok(Some(taken));
            }
            let Some(attachment) = &mut self.attachment else { return Ok(None) };
            if self.shared.cancelled.load(Ordering::Acquire) {
                return Err(ReceiveError::Cancelled);
            }
            spins = spins && spin_end.is_none_or(|end| Instant::now() < end);
            if spins {
                if let Some(taken) = self.idle()? {
                    return Ok(Some(taken));
                }
                std::hint::spin_loop();
                continue;
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                is_gone = attachment.is_gone(self.shared.event.value());
                if !is_gone {
                    return Err(ReceiveError::TimedOut);
                }
                continue;
            }
            is_gone = match attachment.wait(&self.position, &self.shared, deadline) {
                Ok(is_gone) => is_gone,
                Err(error) => return Err(self.fail(error)),
            };
        }
    }

    /// Takes the next frame, or event if the settings ask for events, if there is one.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Result<Option<Kind>, ReceiveError> {
        match self.take_any()? {
            Some(Kind::Event) if !self.settings.events => self.take_after_events(),
            taken => Ok(taken),
        }
    }

    /// After an event: skips events, for a ring of them or [`SKIP_TIME`] at most: then `None`, and `has_more` is set.
    #[cold]
    fn take_after_events(&mut self) -> Result<Option<Kind>, ReceiveError> {
        let begun = Instant::now();
        for _ in 0..layout::CELLS {
            if let Some(attachment) = &mut self.attachment {
                attachment.discard();
            }
            if self.shared.cancelled.load(Ordering::Relaxed) || begun.elapsed() > SKIP_TIME {
                break;
            }
            match self.take_any()? {
                Some(Kind::Event) => {}
                other => return Ok(other),
            }
        }
        self.has_more = true;
        Ok(None)
    }

    /// Takes the next frame or event.
    #[inline(always)]
    fn take_any(&mut self) -> Result<Option<Kind>, ReceiveError> {
        let Some(attachment) = &mut self.attachment else { return Ok(None) };
        if !self.settings.lag_limit.is_zero() || self.position.published_since.is_some() {
            self.position.published_since = attachment.published_since(self.settings.lag_limit);
        }
        match attachment.take(&mut self.position) {
            Ok(Step::Item(kind)) => Ok(Some(kind)),
            Ok(Step::EndOfStream) => Err(ReceiveError::EndOfStream),
            Ok(Step::Nothing) => Ok(None),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Ends the attachment because of an error.
    #[cold]
    pub(super) fn fail(&mut self, error: TakeError) -> ReceiveError {
        self.detach();
        let path = self.spec.path().into();
        match error.cause() {
            Cause::Violation(violation) => ReceiveError::Misbehaving { path, violation },
            Cause::Expelled => ReceiveError::Expelled { path },
            Cause::TooLarge { sequence, length } => ReceiveError::FrameTooLarge { path, sequence, length },
            Cause::Truncated => ReceiveError::Truncated { path },
        }
    }

    fn producer_gone(&mut self) -> Result<(), ReceiveError> {
        self.detach();
        match self.settings.on_exit {
            OnProducerExit::Reconnect => Ok(()),
            OnProducerExit::EndOfStream => Err(ReceiveError::EndOfStream),
            OnProducerExit::Error => Err(ReceiveError::ProducerGone { path: self.spec.path().into() }),
        }
    }

    /// Attaches, unless the consumer is attached; waits for a producer.
    pub(super) fn attach(&mut self, deadline: Option<Instant>) -> Result<(), AttachError> {
        if self.attachment.is_some() {
            return Ok(());
        }
        let mut watch = ProducerWatch::default();
        loop {
            let seen = self.shared.event.value();
            match self.try_attach() {
                Err(e) if e.is_absence() => {}
                other => return other,
            }
            if !watch.arm(&self.spec, &self.shared.event) {
                self.wait_for_producer(&watch, seen, deadline)?;
            }
        }
    }

    fn wait_for_producer(
        &self,
        watch: &ProducerWatch,
        seen: u32,
        deadline: Option<Instant>,
    ) -> Result<(), AttachError> {
        if self.shared.cancelled.load(Ordering::Acquire) {
            return Err(AttachError::Cancelled);
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left.is_some_and(|l| l.is_zero()) {
            return Err(AttachError::TimedOut { path: self.spec.path().into() });
        }
        let by_heartbeat = self.settings.liveness == Liveness::Heartbeat || may_restart_unseen(&self.spec);
        let slice = by_heartbeat.then_some(HEARTBEAT_PROBE);
        watch.wait(&self.shared.event, seen, [left, slice].into_iter().flatten().min());
        Ok(())
    }

    pub(super) fn try_attach(&mut self) -> Result<(), AttachError> {
        let seen = self.shared.event.value();
        let attach::Attached { reader, position, lease } =
            attach(&self.spec, &self.settings, &mut self.first_heartbeat)?;
        // Liveness by heartbeat needs no watch of the file.
        let watch = if lease.is_none() { reader.region().watch(&self.shared.event) } else { None };
        let liveness = ProducerLiveness::new(&*reader, lease, seen, watch);
        let discontinuity = self.totals.attaches > 0;
        self.position = Position { latest_only: self.latest_scan(), discontinuity, ..position };
        self.totals.attaches += 1;
        let (generation, access) = (reader.header().generation, reader.access());
        let read_speed = reader.region().read_speed();
        self.attachment = Some(Attachment::new(reader, liveness, self.settings.wake_ahead));
        self.resume_position();
        self.source_changed();
        self.notify_observer(Change::Attached { generation, access, read_speed });
        Ok(())
    }

    /// The scan of a position that begins now; `None` unless latest-only is set.
    pub(super) fn latest_scan(&self) -> Option<LatestScan> {
        self.settings.latest_only.then(LatestScan::default)
    }

    /// Sequences continue in the same memory: no frame is received twice. Items of the last generation that were not
    /// taken count as missed, as do items of this generation that were retired while the consumer was detached.
    fn resume_position(&mut self) {
        let Some(Attachment { reader, .. }) = &self.attachment else { return };
        let Some(last) = self.last.filter(|last| last.file == reader.region().identity()) else { return };
        let position = &mut self.position;
        if last.generation != reader.header().generation {
            position.missed = reader.header().first_sequence.saturating_sub(last.next);
        } else if last.next <= position.next.saturating_add(layout::CELLS) {
            position.missed = position.next.saturating_sub(last.next);
            position.next = position.next.max(last.next);
        }
        position.missed_before_next = position.missed.saturating_add(last.missed_before_next);
    }

    pub(super) fn detach(&mut self) {
        let stats = self.stats();
        let Some(attachment) = self.attachment.take() else { return };
        self.totals = stats;
        let reader = &attachment.reader;
        let (file, generation) = (reader.region().identity(), reader.header().generation);
        let Position { next, missed_before_next, .. } = self.position;
        self.last = Some(LastAttachment { file, generation, next, missed_before_next });
        self.first_heartbeat = FirstHeartbeat::default();
        self.position = Position::default();
        self.keyframe_requested = None;
        reader.stop_reading();
        self.source_changed();
        drop(attachment);
        self.notify_observer(Change::Detached);
    }

    fn notify_observer(&mut self, change: Change) {
        if let Some(observer) = &mut self.observer {
            observer(change);
        }
    }
}
