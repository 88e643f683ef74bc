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

use super::Published;
use super::recent::Recent;

/// One part of this many of the time is spent looking, at most.
const SHARE: u64 = 40;
/// Largest credit for looking, and the longest look, in nanoseconds.
const MOST_CREDIT: u64 = 4_000_000;
/// Shortest and longest time between two items of a rhythm, in nanoseconds.
const SHORTEST: f64 = 2e6;
const LONGEST: f64 = 1e9;
/// Items after which forecasts are compared with what comes, and comparisons after which a forecast is used.
const LEARNED: u32 = 6;
const FEWEST: usize = 6;
/// Items that the grid follows.
const FOLLOWED: u32 = 32;
/// An item that differs from its forecast by more than the time between two items divided by this is outside the
/// rhythm, and so is one before which items were left out. One alone does not change the grid; a second one in a row ends the rhythm.
const OUTSIDE_PART: f64 = 8.0;
/// Time added on both sides of the usual errors of the forecast, in nanoseconds.
const GUARD: i64 = 15_000;
/// An error that exceeds the usual ones by more than this moves the grid only as far as such an error would.
const LARGEST_STEP: i64 = 50_000;
/// Lateness of a timed sleep while none was observed, in nanoseconds.
const UNKNOWN_LATENESS: i64 = 150_000;
/// Sleeps after which their lateness is used.
const FEWEST_SLEEPS: usize = 4;
/// Items and sleeps are left out in steps of one part of this many, up to half of them.
const PARTS: usize = 16;
/// Time of plain sleeps after the first look that was interrupted, and the most that it grows to, in nanoseconds.
const FIRST_PAUSE: u64 = 250_000_000;
const LAST_PAUSE: u64 = 256 * FIRST_PAUSE;
/// Looks in a row that were not interrupted after which that time is halved.
const GOOD_LOOKS: u32 = 500;
/// Every refused forecast of this many measures the lateness of a sleep, without a look.
const PROBES: u32 = 32;

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
struct Interruptions {
    until: u64,
    pause: u64,
    good_looks: u32,
}

/// Nanoseconds that may be spent looking.
#[derive(Debug, Default)]
struct Credit {
    left: u64,
    at: u64,
}

/// Begin and end of a look, relative to the forecast, and the mean time that it takes.
#[derive(Debug, Clone, Copy)]
struct Plan {
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
        if self.known == 0 || !(1..=super::MOST_ITEMS).contains(&items) {
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
            return (self.refused.is_multiple_of(PROBES) && wake > now).then_some(Window { wake, end: wake });
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
    fn count(&mut self, now: u64, was_interrupted: bool) {
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

// Thousands of cases without unsafe code.
#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::super::Cadence;
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    /// Delay of a plain wake-up.
    const WOKEN: u64 = 30_000;
    /// Lateness of a timed sleep.
    const LATE: u64 = 90_000;
    /// Items after which every steady rhythm is known.
    const KNOWN: usize = 24;
    const RATES: [f64; 7] = [24.0, 25.0, 30.0, 50.0, 59.94, 60.0, 120.0];

    /// How one item was seen.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Seen {
        is_found: bool,
        looked: u64,
        /// From publication.
        delay: u64,
    }

    /// A consumer that does nothing but wait, of items published at `times`, ascending. Each timed sleep ends late by
    /// `lateness` of its number.
    fn follow(times: &[u64], lateness: impl Fn(usize) -> u64) -> Vec<Seen> {
        let (mut cadence, mut last, mut now) = (Cadence::default(), Published::default(), times[0]);
        let mut seen = Vec::new();
        for (index, time) in times.iter().copied().enumerate() {
            cadence.observe(last);
            let one = wait(&mut cadence, now, time, lateness(index));
            now = now.max(time + one.delay);
            last = Published { sequence: index as u64 + 1, ns: time };
            seen.push(one);
        }
        seen
    }

    fn wait(cadence: &mut Cadence, now: u64, time: u64, lateness: u64) -> Seen {
        let woken = Seen { is_found: false, looked: 0, delay: WOKEN };
        let Some(window) = cadence.window(now, false).filter(|_| time > now) else { return woken };
        let mut begin = now;
        if window.wake > now {
            if time <= window.wake {
                cadence.slept(window.wake, time + WOKEN);
                return woken;
            }
            begin = window.wake + lateness;
            cadence.slept(window.wake, begin);
        }
        let end = window.end.min(begin + cadence.credit(begin));
        let is_found = time <= end;
        let looked = time.min(end).saturating_sub(begin);
        cadence.looked(begin + looked, looked, false);
        let delay = if is_found { begin.saturating_sub(time) } else { WOKEN };
        Seen { is_found, looked, delay }
    }

    /// Times of `count` items at a rate, each later by up to `jitter` nanoseconds.
    fn paced(rate: f64, jitter: u64, count: usize) -> Vec<u64> {
        let mut state = 7_u64;
        let mut late = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % (jitter + 1)
        };
        (0..count).map(|item| 100 * MS + (item as f64 * 1e9 / rate) as u64 + late()).collect()
    }

    fn found(seen: &[Seen]) -> f64 {
        seen.iter().filter(|seen| seen.is_found).count() as f64 / seen.len() as f64
    }

    fn mean_look(seen: &[Seen]) -> u64 {
        seen.iter().map(|seen| seen.looked).sum::<u64>() / seen.len() as u64
    }

    #[test]
    fn items_of_a_steady_rhythm_are_found_by_short_looks() {
        for rate in RATES {
            for jitter in [0, 20_000, 60_000] {
                let seen = &follow(&paced(rate, jitter, 400), |_| LATE)[KNOWN..];
                let (found, mean) = (found(seen), mean_look(seen));
                println!("{rate}/s, {jitter} ns: {found:.2} found, mean look {mean} ns");
                assert!(found > 0.9, "{rate} {jitter}: {found}");
                assert!(mean < 2 * jitter + 4 * GUARD as u64, "{rate} {jitter}: {mean}");
            }
        }
    }

    #[test]
    fn half_of_the_items_or_more_are_found_where_that_fits_into_the_share() {
        for (rate, jitter) in [(24.0, 2 * MS), (25.0, MS), (30.0, MS), (50.0, MS / 2), (60.0, MS / 2), (60.0, MS)] {
            let seen = &follow(&paced(rate, jitter, 2000), |_| LATE)[KNOWN..];
            let (found, mean) = (found(seen), mean_look(seen));
            println!("{rate}/s, {jitter} ns: {found:.2} found, mean look {mean} ns");
            assert!(found > 0.45, "{rate} {jitter}: {found}");
            assert!(mean <= (1e9 / rate) as u64 / SHARE, "{rate} {jitter}: {mean}");
        }
    }

    #[test]
    fn a_sleep_begins_early_enough_for_the_learned_lateness_and_no_earlier() {
        for lateness in [0, 50_000, 400_000, 3 * MS] {
            let seen = &follow(&paced(60.0, 0, 300), |_| lateness)[KNOWN..];
            let (mean, delay) = (mean_look(seen), seen.iter().map(|seen| seen.delay).max());
            assert_eq!((found(seen), delay), (1.0, Some(0)), "{lateness}");
            assert!(mean <= 2 * GUARD as u64, "{lateness}: {mean}");
        }
    }

    #[test]
    fn sleeps_that_end_later_are_learned_within_some_items() {
        let seen = follow(&paced(60.0, 0, 300), |item| if item < 100 { LATE } else { 8 * LATE });
        assert!(found(&seen[150..]) > 0.95);
        assert!(seen[150..].iter().all(|seen| seen.delay == 0));
    }

    #[test]
    fn irregular_items_are_awaited_by_plain_sleeps_only() {
        let irregular: Vec<_> = paced(60.0, 16 * MS, 500);
        assert_eq!(follow(&irregular, |_| LATE).iter().filter(|seen| seen.looked > 0).count(), 0);
        let steady = paced(60.0, 0, 100);
        let after: Vec<_> = irregular.iter().map(|time| time + steady[99]).collect();
        let seen = follow(&[steady, after].concat(), |_| LATE);
        assert!(seen[100..103].iter().filter(|seen| seen.looked > 0).count() <= 2, "{:?}", &seen[100..103]);
        assert_eq!(seen[103..].iter().filter(|seen| seen.looked > 0).count(), 0);
    }

    #[test]
    fn one_late_item_and_items_that_are_left_out_do_not_end_a_rhythm() {
        let mut times = paced(60.0, 0, 300);
        times[100] += 5 * MS;
        times.drain(150..153);
        let seen = follow(&times, |_| LATE);
        let without: Vec<_> = (KNOWN..297).filter(|item| !seen[*item].is_found).collect();
        assert_eq!(without, [100, 150]);
    }

    #[test]
    fn another_rate_is_found_after_some_items() {
        for (before, after) in [(60.0, 50.0), (50.0, 60.0), (25.0, 120.0), (120.0, 24.0)] {
            let first = paced(before, 0, 100);
            let begin = first[99] + (1e9 / after) as u64 - 100 * MS;
            let times = [first, paced(after, 0, 100).iter().map(|time| time + begin).collect()].concat();
            let seen = follow(&times, |_| LATE);
            assert_eq!(found(&seen[100 + KNOWN..]), 1.0, "{before} {after}");
        }
    }

    #[test]
    fn the_lateness_is_measured_again_after_a_time_in_which_no_sleep_was_useful() {
        let seen = follow(&paced(60.0, 0, 3000), |item| match item {
            100..300 => item as u64 % 8 * 2 * MS,
            _ => LATE,
        });
        assert!(found(&seen[50..100]) == 1.0 && found(&seen[200..300]) < 0.6);
        assert!(found(&seen[2000..]) > 0.95, "{}", found(&seen[2000..]));
    }

    #[test]
    fn looks_that_are_interrupted_are_followed_by_ever_longer_times_without_looks() {
        let (mut cadence, mut waits) = (Cadence::default(), Vec::new());
        for (number, time) in (1..).zip(paced(60.0, 0, 6000)) {
            cadence.observe(Published { sequence: number, ns: time });
            if cadence.window(time, false).is_some() {
                waits.push(number);
                cadence.looked(time, 0, true);
            }
        }
        let pauses: Vec<_> = waits.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 960, 1920], "{waits:?}");
    }

    #[test]
    fn looks_that_are_not_interrupted_halve_the_time_without_looks() {
        let mut interruptions = Interruptions::default();
        interruptions.count(0, true);
        interruptions.count(0, true);
        assert_eq!((interruptions.pause, interruptions.until), (2 * FIRST_PAUSE, 2 * FIRST_PAUSE));
        (0..GOOD_LOOKS).for_each(|_| interruptions.count(0, false));
        assert_eq!(interruptions.pause, FIRST_PAUSE);
        (0..20).for_each(|_| interruptions.count(0, true));
        assert_eq!(interruptions.pause, LAST_PAUSE);
    }

    fn any_times() -> impl Strategy<Value = Vec<u64>> {
        let steps = prop_oneof![Just(16_666_667), Just(10 * MS), 2 * MS..3 * MS, 0..30 * MS, 0..2000 * MS];
        let runs = prop::collection::vec((steps, 1..60usize), 1..12);
        runs.prop_map(|runs| {
            let steps = runs.into_iter().flat_map(|(step, count)| std::iter::repeat_n(step, count));
            steps
                .scan(100 * MS, |time, step| {
                    *time += step;
                    Some(*time)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn all_looks_take_at_most_the_share_of_the_time_and_the_largest_credit(
            times in any_times(),
            lateness in prop::collection::vec(0..5 * MS, 1..40),
        ) {
            let seen = follow(&times, |item| lateness[item % lateness.len()]);
            let (mut looked, first) = (0, times[0]);
            for (one, time) in seen.iter().zip(&times) {
                looked += one.looked;
                let elapsed = time - first + one.delay;
                prop_assert!(looked <= elapsed / SHARE + MOST_CREDIT, "{} of {}", looked, elapsed);
            }
        }

        /// A producer that writes any sequence and time, also such that they look like a rhythm.
        #[test]
        fn no_words_of_a_producer_lead_to_longer_looks_or_sleeps(
            items in prop::collection::vec((1..3u64, prop_oneof![Just(10 * MS), any::<u64>()], 0..20 * MS), 1..100),
            has_other_clock in any::<bool>(),
        ) {
            let (mut cadence, mut now, mut looked) = (Cadence::default(), 100 * MS, 0);
            let (begin, mut last) = (now, Published::default());
            for (items, step, distance) in items {
                last = Published { sequence: last.sequence.wrapping_add(items), ns: last.ns.wrapping_add(step) };
                cadence.observe(last);
                if let Some(window) = cadence.window(now, has_other_clock) {
                    prop_assert!(window.wake <= now + 3000 * MS, "{:?}", window);
                    let look = window.end.saturating_sub(now).min(cadence.credit(now));
                    cadence.looked(now + look, look, false);
                    (looked, now) = (looked + look, now + look);
                }
                now += distance;
                cadence.news(now);
                prop_assert!(looked <= (now - begin) / SHARE + MOST_CREDIT);
            }
        }
    }
}
