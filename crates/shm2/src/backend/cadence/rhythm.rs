//! When a consumer that wakes ahead of time looks for the next item: a pure function of the items and sleeps before,
//! without a clock and without a memory of a region.
//!
//! A straight line through the publication times of the last items, the *grid*, forecasts the time of the next item.
//! The differences between earlier forecasts and the times that came true, and the lateness of earlier sleeps, say how
//! long a look of a given begin lasts on average. The consumer wakes as early as the [`SHARE`] of the time between two
//! items permits. If even a begin that leaves out half of the items costs more, it does not look at all: items of an
//! irregular stream, and those of a machine that wakes threads irregularly, are awaited by a plain sleep.
//!
//! Looking is also limited by a credit that grows by the same share of the time that passes. So no sequence of items,
//! and no times that a producer writes, let a consumer look for longer than that share of any time, plus
//! [`MOST_CREDIT`].
//!
//! A thread that looks uses the processor time for which the kernel would run it at once when an item wakes it. Where
//! other programs take the processor from it during a look, it is given back milliseconds later. So a look that was
//! interrupted is followed by a time of plain sleeps, which doubles with each further one.

use super::recent::{MOST_ITEMS, Published, Recent};

/// One part of this many of the time is spent looking, at most.
pub(super) const SHARE: u64 = 40;
/// Largest credit for looking, and the longest look, in nanoseconds.
pub(super) const MOST_CREDIT: u64 = 4_000_000;
/// Shortest and longest time between two items of a rhythm, in nanoseconds.
pub(super) const SHORTEST: f64 = 2e6;
pub(super) const LONGEST: f64 = 1e9;
/// Items after which forecasts are compared with what comes, and comparisons after which a forecast is used.
pub(super) const LEARNED: u32 = 6;
pub(super) const FEWEST: usize = 6;
/// Items that the grid follows.
pub(super) const FOLLOWED: u32 = 32;
/// An item that differs from its forecast by more than the time between two items divided by this is outside the
/// rhythm, and so is one before which items were left out. One alone does not change the grid; a second one in a row ends the rhythm.
pub(super) const OUTSIDE_PART: f64 = 8.0;
/// Time added on both sides of the usual errors of the forecast, in nanoseconds.
pub(super) const GUARD: i64 = 15_000;
/// An error that exceeds the usual ones by more than this moves the grid only as far as such an error would.
pub(super) const LARGEST_STEP: i64 = 50_000;
/// Lateness of a timed sleep while none was observed, in nanoseconds.
pub(super) const UNKNOWN_LATENESS: i64 = 150_000;
/// Sleeps after which their lateness is used.
pub(super) const FEWEST_SLEEPS: usize = 4;
/// Items and sleeps are left out in steps of one part of this many, up to half of them.
pub(super) const PARTS: usize = 16;
/// Time of plain sleeps after the first look that was interrupted, and the most that it grows to, in nanoseconds.
pub(super) const FIRST_PAUSE: u64 = 250_000_000;
pub(super) const LAST_PAUSE: u64 = 256 * FIRST_PAUSE;
/// Looks in a row that were not interrupted after which that time is halved.
pub(super) const GOOD_LOOKS: u32 = 500;
/// Every refused forecast of this many measures the lateness of a sleep, without a look.
pub(super) const PROBES: u32 = 32;

/// When a consumer wakes, and when it stops looking, in nanoseconds of the local monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// The time to give to the kernel: earlier than the first look by the usual lateness of a sleep.
    pub(crate) wake: u64,
    pub(crate) end: u64,
}

/// The rhythm of one stream.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    last: Published,
    /// Time of `last` on the grid, on the producer's clock.
    at: u64,
    /// Nanoseconds between two items of the grid.
    period: f64,
    /// Items of the grid, at most [`FOLLOWED`].
    known: u32,
    /// Publication minus forecast, in nanoseconds.
    errors: Recent<32>,
    /// The last item was outside the rhythm.
    is_outside: bool,
    credit: Credit,
    refused: u32,
    interruptions: Interruptions,
}

/// The time without looks after a look that was interrupted.
#[derive(Debug, Default)]
pub(super) struct Interruptions {
    pub(super) until: u64,
    pub(super) pause: u64,
    good_looks: u32,
}

/// Nanoseconds that may be spent looking.
#[derive(Debug, Default)]
pub(super) struct Credit {
    left: u64,
    at: u64,
}

/// Begin and end of a look, relative to the forecast, and the mean time that it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    begin: i64,
    end: i64,
    lateness: i64,
    cost: i64,
}

impl Rhythm {
    /// An item was taken.
    pub(super) fn observe(&mut self, item: Published) {
        let items = item.sequence.wrapping_sub(self.last.sequence);
        self.last = item;
        if self.known == 0 || !(1..=MOST_ITEMS).contains(&items) {
            return self.restart(item);
        }
        let mut forecast = self.forecast(items);
        let mut error = item.ns.wrapping_sub(forecast) as i64;
        if self.known >= LEARNED {
            // A producer that leaves out items once keeps its grid.
            let skipped = (error as f64 / self.period).round().max(0.0) * self.period;
            forecast = forecast.wrapping_add(skipped as u64);
            error = item.ns.wrapping_sub(forecast) as i64;
            let is_outside = skipped > 0.0 || error.unsigned_abs() as f64 > self.period / OUTSIDE_PART;
            if is_outside && self.is_outside {
                return self.restart(item);
            }
            self.is_outside = is_outside;
            if is_outside {
                self.at = forecast;
                return;
            }
        }
        self.follow(forecast, error, items);
        if !(SHORTEST..=LONGEST).contains(&self.period) {
            self.restart(item);
        }
    }

    /// Moves the grid by as much as the straight line of least squares through its items moves, once it has
    /// [`FOLLOWED`] of them by as much as that line moves with its last item.
    fn follow(&mut self, forecast: u64, error: i64, items: u64) {
        let left_out = self.errors.count / PARTS;
        let usual = self.errors.smallest(left_out).zip(self.errors.largest(left_out));
        let step = match usual {
            Some((least, most)) if self.errors.count >= FEWEST => {
                error.clamp(least - LARGEST_STEP, most + LARGEST_STEP)
            }
            _ => error,
        };
        if self.known >= LEARNED {
            self.errors.add(error);
        }
        self.known = (self.known + 1).min(FOLLOWED);
        let known = f64::from(self.known);
        let (level, slope) = (2.0 * (2.0 * known - 1.0), 6.0);
        let scale = known * (known + 1.0);
        self.at = forecast.wrapping_add((level / scale * step as f64) as i64 as u64);
        self.period += slope / scale * step as f64 / items as f64;
    }

    fn restart(&mut self, first: Published) {
        (self.at, self.period, self.known, self.is_outside) = (first.ns, 0.0, 1, false);
        self.errors = Recent::default();
    }

    fn forecast(&self, items: u64) -> u64 {
        self.at.wrapping_add((self.period * items as f64) as i64 as u64)
    }

    /// When to look for the next item, if it is to be looked for. `lateness` is by how much the last timed sleeps ended
    /// late, `delay` the local time minus the producer's, modulo 2^64.
    pub(super) fn window(&mut self, now: u64, lateness: &Recent, delay: u64) -> Option<Window> {
        self.credit.grow(now);
        if self.known < LEARNED || self.errors.count < FEWEST || !(SHORTEST..=LONGEST).contains(&self.period) {
            return None;
        }
        if now < self.interruptions.until {
            return None;
        }
        let due = self.forecast(1).wrapping_add(delay);
        let ahead = due.wrapping_sub(now) as i64;
        if ahead.unsigned_abs() as f64 > 2.0 * self.period {
            return None;
        }
        let at = |offset: i64| due.saturating_add_signed(offset);
        let Some(plan) = self.plan(lateness) else {
            self.refused = self.refused.wrapping_add(1);
            let wake = at(-UNKNOWN_LATENESS);
            return (self.refused % PROBES == 0 && wake > now).then_some(Window { wake, end: wake });
        };
        let (wake, end) = (at(plan.begin - plan.lateness), at(plan.end));
        let is_affordable = self.credit.left >= plan.cost.max(0) as u64;
        (is_affordable && end > now).then_some(Window { wake, end })
    }

    /// The plan that leaves out the fewest items of those whose cost is within the share.
    fn plan(&self, lateness: &Recent) -> Option<Plan> {
        let most = (self.period / SHARE as f64) as i64;
        (1..=PARTS / 2).map(|part| self.plan_without(part, lateness)).find(|plan| plan.cost <= most)
    }

    /// The plan that leaves out so many parts of the earliest items and of the latest sleeps.
    fn plan_without(&self, part: usize, sleeps: &Recent) -> Plan {
        let left_out = |count: usize| count * part / PARTS;
        let errors = &self.errors;
        let begin = errors.smallest(left_out(errors.count)).unwrap_or(0) - GUARD;
        // Only a late item pays for a late end.
        let end = errors.largest(0).unwrap_or(0) + GUARD;
        let end = end.max(begin + 2 * GUARD);
        let looked: i64 = errors.values().iter().map(|error| (error - begin).clamp(0, end - begin)).sum();
        let cost = looked / errors.count.max(1) as i64;
        if sleeps.count < FEWEST_SLEEPS {
            return Plan { begin, end, lateness: UNKNOWN_LATENESS, cost };
        }
        let lateness = sleeps.largest(left_out(sleeps.count)).unwrap_or(0);
        let early: i64 = sleeps.values().iter().map(|late| (lateness - late).max(0)).sum();
        Plan { begin, end, lateness, cost: cost + early / sleeps.count as i64 }
    }

    /// The longest time to look from `now` on.
    pub(super) fn credit(&mut self, now: u64) -> u64 {
        self.credit.grow(now);
        self.credit.left
    }

    /// A look that took this long has ended at `now`.
    pub(super) fn looked(&mut self, now: u64, looked_ns: u64, was_interrupted: bool) {
        self.credit.left = self.credit.left.saturating_sub(looked_ns);
        self.interruptions.count(now, was_interrupted);
    }
}

impl Interruptions {
    pub(super) fn count(&mut self, now: u64, was_interrupted: bool) {
        if was_interrupted {
            self.pause = (2 * self.pause).clamp(FIRST_PAUSE, LAST_PAUSE);
            self.until = now.saturating_add(self.pause);
            self.good_looks = 0;
            return;
        }
        self.good_looks += 1;
        if self.good_looks >= GOOD_LOOKS {
            self.good_looks = 0;
            self.pause /= 2;
        }
    }
}

impl Credit {
    fn grow(&mut self, now: u64) {
        let earned = now.saturating_sub(self.at) / SHARE;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(MOST_CREDIT);
            self.at = now;
        }
    }
}
