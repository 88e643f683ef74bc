//! One attachment: the reader, its producer's liveness, and the map between the two clocks.

use super::clock_map::ClockMap;
use super::frame::{Frame, Item};
use super::position::{Gap, Position};
use super::producer_liveness::ProducerLiveness;
use super::reader::{Reader, Step};
use super::signals::Signals;
use super::sleep::{OVERDUE, SleepLimit};
use super::take_error::{Cause, TakeError};
use super::wake_ahead::{Counts, Wait, WakeAhead};
use crate::backend::{self, Event, ProcessEvent, Wake};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) reader: Box<dyn Reader>,
    /// The item that was taken last; `None` after it was returned to the caller.
    item: Option<Box<Item>>,
    liveness: ProducerLiveness,
    sleep_limit: SleepLimit,
    /// If the settings ask for it.
    wake_ahead: Option<WakeAhead>,
    /// For a producer with another clock: the map to the local clock, and the number of the last beacon.
    clock_map: Option<(ClockMap, u64)>,
}

impl Attachment {
    pub(super) fn new(reader: Box<dyn Reader>, liveness: ProducerLiveness, wakes_ahead: bool) -> Self {
        let has_other_clock = reader.header().has_other_clock;
        let clock_map = has_other_clock.then(Default::default);
        let wake_ahead = if wakes_ahead { WakeAhead::new(has_other_clock) } else { None };
        Self { reader, item: None, liveness, sleep_limit: SleepLimit::default(), wake_ahead, clock_map }
    }

    /// Takes the next item, if there is one. [`frame`](Self::frame) returns it, or the next take discards it.
    #[inline]
    pub(super) fn take(&mut self, position: &mut Position) -> Result<Step, TakeError> {
        // Made on a look in vain at the latest, so that an item that comes later need not wait for the allocation.
        let item = self.item.get_or_insert_with(Box::default);
        self.reader.take(position, item)
    }

    /// Discards the item that was just taken.
    pub(super) fn discard(&mut self) {
        self.item = None;
    }

    /// The frame of the item that was just taken; `None` if there is none.
    #[inline]
    pub(super) fn frame(&mut self, gap: Gap) -> Option<Frame> {
        let mut item = self.item.take()?;
        item.gap = gap;
        let frame = Frame::new(item);
        if let Some((clock_map, _)) = &mut self.clock_map {
            // The local clock is read last: the time may be stored after the frame was taken.
            if let Some(published) = frame.published_ns() {
                clock_map.add(published, backend::monotonic_ns());
            }
            self.observe_beacon();
        }
        Some(frame)
    }

    fn observe_beacon(&mut self) {
        let Some((clock_map, last)) = &mut self.clock_map else { return };
        // A slow consumer receives frames late, but reads the newest beacon as early as any other consumer.
        if let Some((number, time)) = self.reader.beacon().filter(|(number, _)| number != last) {
            *last = number;
            clock_map.add(time, backend::monotonic_ns());
        }
    }

    pub(super) fn to_local(&self, time: u64) -> u64 {
        self.clock_map.as_ref().map_or(time, |(clock_map, _)| clock_map.to_local(time))
    }

    /// The time of the producer's clock `age` ago; `None` for an age of zero.
    pub(super) fn published_since(&mut self, age: Duration) -> Option<u64> {
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        if age == 0 {
            return None;
        }
        let now = backend::monotonic_ns();
        self.observe_beacon();
        let local = now.saturating_sub(age);
        Some(self.clock_map.as_ref().map_or(local, |(clock_map, _)| clock_map.to_theirs(local)))
    }

    /// Sleeps until there may be an item to take; true when the producer has exited.
    pub(super) fn wait(
        &mut self,
        position: &Position,
        signals: &Signals,
        deadline: Option<Instant>,
    ) -> Result<bool, TakeError> {
        let seen = signals.event.value();
        if self.is_gone(seen) {
            return Ok(true);
        }
        if signals.cancelled.load(Ordering::Acquire) {
            return Ok(false);
        }
        self.reader.check_idle(position)?;
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let limit = self.sleep_limit.next();
        let timeout = [left, self.liveness.sleep()].into_iter().flatten().min().unwrap_or(limit).min(limit);
        let wake = match &mut self.wake_ahead {
            None => self.reader.wait(position, &signals.event, seen, Some(timeout)),
            Some(ahead) => ahead.wait(&Wait { reader: &*self.reader, position, event: &signals.event, seen, timeout }),
        };
        match wake {
            Wake::Fault => Err(Cause::Truncated.into()),
            Wake::Timeout if self.reader.has_item_since(position, OVERDUE) => {
                self.sleep_limit.count_lost(timeout);
                Ok(false)
            }
            Wake::Timeout | Wake::Signal => Ok(false),
            Wake::Gone => Ok(!self.is_producer_alive()),
        }
    }

    /// Lets another thread sleep for this consumer: the value of the reader's source at which it may, and until when.
    /// `None` if there may be an item to take, or an end of the region to report.
    pub(super) fn arm(
        &mut self,
        position: &Position,
        event: &Event,
    ) -> Result<Option<(u32, Option<Duration>)>, TakeError> {
        if self.is_gone(event.value()) {
            return Ok(None);
        }
        self.reader.check_idle(position)?;
        let Some(value) = self.reader.arm(position) else { return Ok(None) };
        if !backend::WAITS_ON_WORDS {
            self.liveness.keep_probing();
        }
        let limits = [self.liveness.sleep(), self.reader.unnoticed_slice()];
        Ok(Some((value, limits.into_iter().flatten().min())))
    }

    /// Wake-ups of this attachment that were lost.
    pub(super) fn lost_wakes(&self) -> u64 {
        self.sleep_limit.lost()
    }

    /// What looks ahead of time found and cost in this attachment.
    pub(super) fn looks_ahead(&self) -> Counts {
        self.wake_ahead.as_ref().map(WakeAhead::counts).unwrap_or_default()
    }

    /// Whether the producer has closed the region, or a probe that is due finds it dead.
    pub(super) fn is_gone(&mut self, seen: u32) -> bool {
        if self.reader.is_closed() {
            return true;
        }
        let is_dead = self.liveness.is_due(seen) && !self.is_producer_alive();
        if is_dead {
            // The caller may find items first, and asks again.
            self.liveness.stay_due();
        }
        is_dead
    }

    pub(super) fn is_producer_alive(&mut self) -> bool {
        self.liveness.is_alive(&*self.reader)
    }
}
