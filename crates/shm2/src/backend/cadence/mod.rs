//! When a polling consumer looks for the next item: a pure function of what it saw before, without a clock and without
//! a memory of a region.
//!
//! From the publication times of the last items follows the shortest usual distance between two items, and from the
//! times of arrival the difference between the producer's clock and the local one. Both together forecast the earliest
//! arrival of the next item. One pause lasts until then (several where that is longer than the longest pause), and
//! looks at short intervals follow. In a regular stream the pause ends a moment after the forecast, so that one look is
//! usually enough; every [`PROBES`]th time it ends before it, and several looks measure the arrival. The forecast is
//! early on purpose: it uses the second smallest of the last distances, so an irregular stream, or one with bursts, is
//! polled from early on, at intervals that grow with the time waited. Without a forecast, and after its end, the
//! intervals grow in the same way.
//!
//! The producer's times are not trusted. A wrong one makes the pauses shorter, or as long as the longest pause.

mod recent;
mod rhythm;

pub(crate) use recent::Published;
use recent::{MOST_ITEMS, REMEMBERED, Recent};
use rhythm::Rhythm;
pub(crate) use rhythm::Window;
use std::time::Duration;

const SHORTEST: Duration = Duration::from_micros(50);
/// Longest pause while items come: the most that an item is seen late, whatever the forecast said.
pub(super) const LONGEST: Duration = Duration::from_millis(5);
/// Longest pause after seconds without news.
pub(super) const LONGEST_IDLE: Duration = Duration::from_millis(50);
/// A pause is at most the time waited so far divided by `PART`; above `LONGEST`, divided by `IDLE_PART`.
const PART: u32 = 16;
const IDLE_PART: u32 = 128;
/// Inside the forecast window a pause is at least the time waited so far divided by this.
const FINE_PART: u32 = 32;
/// Looks inside the forecast window, unless the two limits above demand more or fewer.
const WINDOW_LOOKS: u32 = 6;
/// Shortest time between the first look of the window and the forecast arrival.
const LEAST_GUARD: Duration = Duration::from_micros(100);
/// The window of an irregular stream begins earlier by the difference between a long and a short distance divided by
/// this.
const SPREAD_PART: u32 = 4;
/// Every wait of this many measures the arrival. So does each one until half of the delays are known.
const PROBES: u32 = 8;
/// A probe whose first look finds the item is followed by one that begins earlier, by the guard, then by twice, four
/// times, ... the guard; this is the largest power of two.
const MOST_SHIFT: u32 = 4;
/// The pause of a regular stream ends after the forecast by the difference between a long and a short distance, at most
/// by the distance divided by this. A stream is regular while that difference is at most four times as long.
const AIM_PART: u32 = 32;
/// Fewest distances and delays for a forecast.
const FEWEST: usize = 4;

/// The looks of one waiter. All times are nanoseconds of the local monotonic clock, unless they are said to be the
/// producer's.
#[derive(Debug, Default)]
pub(crate) struct Cadence {
    last: Published,
    /// Nanoseconds between the publications of neighbouring items.
    distances: Recent,
    /// Local time of arrival minus the producer's time of publication, modulo 2^64.
    delays: Recent,
    /// Nanoseconds by which the last sleeps ended late: tens of microseconds, or more where timers are coarse.
    oversleeps: Recent,
    /// End of the last pause, if it ended in time.
    pause_end: Option<u64>,
    forecast: Option<Forecast>,
    /// Forecasts so far.
    forecasts: u32,
    /// Probes in a row whose first look found an item.
    late_probes: u32,
    /// Begin of the wait that has brought no news yet.
    waiting_since: Option<u64>,
    /// End of the last wait with news, until the item is known.
    arrival: Option<Arrival>,
    /// Looks since the forecast's first pause; `None` before it.
    looks_in_window: Option<u32>,
    rhythm: Rhythm,
}

#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: u64,
    /// The first look found it, so it may have been published long before.
    is_first_look: bool,
    /// The first look was meant to find it.
    is_aimed: bool,
}

/// The time in which the next item is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Forecast {
    /// Arrival of the last item.
    last: u64,
    begin: u64,
    window: Duration,
    is_aimed: bool,
}

impl Cadence {
    /// A wait begins, or one that ended by its timeout continues. `last` is the last item that was taken. Returns
    /// whether the item may come at once: the caller then looks without pauses for a moment.
    pub(super) fn begin(&mut self, now: u64, last: Option<Published>) -> bool {
        if let Some(last) = last {
            self.observe(last);
        }
        if self.waiting_since.is_some() {
            return false;
        }
        self.waiting_since = Some(now);
        self.looks_in_window = None;
        self.forecast = self.forecast();
        self.ahead(now).is_none()
    }

    /// Learns from the last item that was taken, unless it is known.
    pub(crate) fn observe(&mut self, last: Published) {
        if last != self.last {
            self.learn(last);
            self.rhythm.observe(last);
            self.waiting_since = None;
        }
    }

    /// When to look for the next item without sleeping, if the stream has a rhythm. `has_other_clock` says whether the
    /// producer's clock is another one than the local one; the difference is then learned.
    pub(crate) fn window(&mut self, now: u64, has_other_clock: bool) -> Option<Window> {
        let delay = match has_other_clock {
            true if self.delays.count < FEWEST => return None,
            true => self.delays.smallest(0)? as u64,
            false => 0,
        };
        self.rhythm.window(now, &self.oversleeps, delay)
    }

    /// A sleep that was to end at `wake` has ended. If it ended before, it says nothing.
    pub(crate) fn slept(&mut self, wake: u64, now: u64) {
        if now >= wake {
            self.oversleeps.add((now - wake).min(nanoseconds(LONGEST_IDLE)) as i64);
        }
    }

    /// The longest time to look without sleeping from `now` on, in nanoseconds.
    pub(crate) fn credit(&mut self, now: u64) -> u64 {
        self.rhythm.credit(now)
    }

    /// A look without sleeping that took this long has ended at `now`; `was_interrupted` if the thread lost its processor
    /// meanwhile.
    pub(crate) fn looked(&mut self, now: u64, looked_ns: u64, was_interrupted: bool) {
        self.rhythm.looked(now, looked_ns, was_interrupted);
    }

    /// The pause before the next look.
    pub(super) fn pause(&mut self, now: u64) -> Duration {
        self.learn_oversleep(now);
        let begun = self.waiting_since.unwrap_or(now);
        let waited = Duration::from_nanos(now.saturating_sub(begun));
        let longest = (waited / IDLE_PART).clamp(LONGEST, LONGEST_IDLE);
        let pause = self.wish(now, waited).clamp(SHORTEST, longest);
        self.pause_end = Some(now.saturating_add(nanoseconds(pause)));
        pause
    }

    /// The pause before the next look, without its limits.
    fn wish(&mut self, now: u64, waited: Duration) -> Duration {
        if let Some(ahead) = self.ahead(now) {
            self.looks_in_window = Some(0);
            return ahead;
        }
        self.looks_in_window = self.looks_in_window.map(|looks| looks + 1);
        let Some(forecast) = self.forecast else { return waited / PART };
        let since_last = Duration::from_nanos(now.saturating_sub(forecast.last));
        let is_inside = now.saturating_sub(forecast.begin) <= nanoseconds(forecast.window);
        let (fine, coarse) = (since_last / FINE_PART, since_last / PART);
        if is_inside { (forecast.window / WINDOW_LOOKS).clamp(fine, coarse) } else { coarse }
    }

    /// The wait has ended with news.
    pub(crate) fn news(&mut self, now: u64) {
        self.learn_oversleep(now);
        self.waiting_since = None;
        let is_aimed = self.forecast.is_some_and(|forecast| forecast.is_aimed);
        self.arrival = Some(Arrival { at: now, is_first_look: self.looks_in_window == Some(0), is_aimed });
    }

    /// Time until the forecast window begins, if that is worth a pause.
    fn ahead(&self, now: u64) -> Option<Duration> {
        let ahead = Duration::from_nanos(self.forecast?.begin.saturating_sub(now));
        (ahead >= SHORTEST).then_some(ahead)
    }

    fn learn_oversleep(&mut self, now: u64) {
        if let Some(end) = self.pause_end.take() {
            self.oversleeps.add(now.saturating_sub(end) as i64);
        }
    }

    fn learn(&mut self, last: Published) {
        let items = last.sequence.wrapping_sub(self.last.sequence);
        let is_next = self.last.sequence != 0 && (1..=MOST_ITEMS).contains(&items);
        if is_next {
            self.distances.add((last.ns.wrapping_sub(self.last.ns) as i64).max(0) / items as i64);
        }
        if let Some(arrival) = self.arrival.take() {
            self.learn_delay(arrival, items, last);
        }
        self.last = last;
    }

    fn learn_delay(&mut self, arrival: Arrival, items: u64, last: Published) {
        let Some(known) = self.delays.smallest(0) else {
            return if items == 1 {
                self.delays.add(arrival.at.wrapping_sub(last.ns) as i64)
            };
        };
        let distance = self.distances.smallest(1).unwrap_or_default();
        let guard = nanoseconds(guard(distance)) as i64;
        let delay = arrival.at.wrapping_sub(last.ns) as i64;
        let error = delay.wrapping_sub(known);
        if items == 1 && (error > distance || error < -2 * guard) {
            // The clocks have moved against each other, or this thread was stopped.
            self.delays = Recent::default();
        } else if arrival.is_aimed {
            // The look was meant to be late.
        } else if arrival.is_first_look {
            // The window began too late, by an unknown time.
            let shift = guard << self.late_probes.min(MOST_SHIFT);
            self.delays.add(known.wrapping_sub(shift));
            self.late_probes += 1;
            return;
        } else if items == 1 {
            if self.late_probes > 1 {
                self.delays = Recent::default();
            }
            self.delays.add(delay);
        }
        self.late_probes = 0;
    }

    fn forecast(&mut self) -> Option<Forecast> {
        if self.distances.count < FEWEST || self.delays.count < FEWEST {
            return None;
        }
        let (shortest, longest) = (self.distances.smallest(1)?, self.distances.largest(1)?);
        let distance = Duration::from_nanos(shortest as u64);
        let spread = Duration::from_nanos((longest - shortest).max(0) as u64);
        let guard = guard(shortest);
        // The median: the pause before the window is to end in time in spite of it.
        let oversleep = Duration::from_nanos(self.oversleeps.smallest(self.oversleeps.count / 2).unwrap_or(0) as u64);
        self.forecasts = self.forecasts.wrapping_add(1);
        let is_known = self.delays.count >= REMEMBERED / 2 && self.late_probes == 0;
        let is_known = is_known && self.forecasts % PROBES != 0;
        let is_aimed = is_known && spread <= 4 * distance / AIM_PART;
        let ahead = if is_aimed {
            (distance + spread.min(distance / AIM_PART)).saturating_sub(oversleep)
        } else {
            distance.saturating_sub(guard + oversleep + spread / SPREAD_PART)
        };
        let last = self.last.ns.wrapping_add(self.delays.smallest(0)? as u64);
        let end = distance + spread + guard;
        let begin = last.saturating_add(nanoseconds(ahead));
        Some(Forecast { last, begin, window: end.saturating_sub(ahead), is_aimed })
    }
}

fn guard(distance: i64) -> Duration {
    (Duration::from_nanos(distance.max(0) as u64) / PART).max(LEAST_GUARD)
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

// Thousands of cases without unsafe code.
#[cfg(all(test, not(miri)))]
mod rhythm_tests;

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    /// Difference between the two clocks, in nanoseconds.
    const CLOCKS: u64 = 77_000_000_000;
    /// Time by which a sleep ends late.
    const OVERSLEEP: u64 = 60_000;
    /// Items after which the cadence is known.
    const LEARNED: usize = 2 * REMEMBERED;

    /// Pauses before an item was seen, and the time from its publication.
    #[derive(Debug, Clone, Copy)]
    struct Seen {
        pauses: u32,
        delay: u64,
    }

    /// A consumer that does nothing but wait, of items published at `times`, ascending. Each sleep ends `oversleep`
    /// late.
    fn follow(times: &[u64], oversleep: u64) -> Vec<Seen> {
        follow_clock(times, oversleep, |time| time.wrapping_sub(CLOCKS))
    }

    /// As [`follow`], with the producer's clock as a function of the local one.
    fn follow_clock(times: &[u64], oversleep: u64, clock: impl Fn(u64) -> u64) -> Vec<Seen> {
        let (mut cadence, mut now, mut last, mut seen) = (Cadence::default(), times[0], Published::default(), vec![]);
        while let Some(next) = times.get(seen.len()) {
            let mut pauses = 0;
            if cadence.begin(now, Some(last)) && *next <= now + 20_000 {
                now = now.max(*next);
            }
            while *next > now {
                let pause = nanoseconds(cadence.pause(now));
                assert!((50_000..=50 * MS).contains(&pause), "{pause}");
                now += pause + oversleep;
                pauses += 1;
            }
            cadence.news(now);
            for time in times[seen.len()..].iter().take_while(|time| **time <= now) {
                seen.push(Seen { pauses, delay: now - time });
                last = Published { sequence: seen.len() as u64, ns: clock(*time) };
                pauses = 0;
            }
        }
        seen
    }

    fn sum(distances: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let begin = Some(100 * MS);
        begin
            .into_iter()
            .chain(distances)
            .scan(0, |time, distance| Some(std::mem::replace(time, *time + distance) + distance))
            .collect()
    }

    fn worst_delay(seen: &[Seen]) -> u64 {
        seen.iter().map(|seen| seen.delay).max().unwrap()
    }

    fn mean_pauses(seen: &[Seen]) -> f64 {
        f64::from(seen.iter().map(|seen| seen.pauses).sum::<u32>()) / seen.len() as f64
    }

    /// Distances of a rate, each longer or shorter by up to `jitter` nanoseconds.
    fn jittered(distance: u64, jitter: u64, seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed | 1;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            distance - jitter + (state >> 33) % (2 * jitter + 1)
        })
    }

    const DISTANCES: [u64; 7] = [2_500_000, 5 * MS, 8_333_333, 10 * MS, 16_666_667, 33_333_333, 66_666_667];

    #[test]
    fn a_regular_item_costs_few_looks_and_is_seen_soon() {
        for distance in DISTANCES {
            for jitter in [0, 50_000, distance / 50] {
                let seen = follow(&sum(jittered(distance, jitter, 7).take(300)), OVERSLEEP);
                let (mean, worst) = (mean_pauses(&seen[LEARNED..]), worst_delay(&seen[LEARNED..]));
                println!("{distance} ns +- {jitter}: {mean:.1} pauses, at most {worst} ns late");
                // Beyond 5 ms the pause before the window is divided.
                assert!(mean <= 1.5 + distance as f64 / 5e6, "{distance} {jitter}: {mean}");
                assert!(worst <= distance / 16 + 2 * OVERSLEEP + jitter, "{distance} {jitter}: {worst}");
            }
        }
    }

    #[test]
    fn an_irregular_item_is_seen_as_soon_as_without_a_forecast() {
        for (distance, seed) in DISTANCES.into_iter().zip(1..) {
            let seen = follow(&sum(jittered(distance, distance * 9 / 10, seed).take(2000)), OVERSLEEP);
            let mut delays: Vec<_> = seen[LEARNED..].iter().map(|seen| seen.delay).collect();
            delays.sort_unstable();
            let (median, late) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
            println!("{distance} ns: {} pauses, {median} ns, {late} ns", mean_pauses(&seen[LEARNED..]));
            assert!(median <= distance / 16 + OVERSLEEP, "{distance}: {median}");
            assert!(late <= distance / 4 + OVERSLEEP, "{distance}: {late}");
        }
    }

    #[test]
    fn another_rate_is_known_after_two_items() {
        for (before, after) in [(10 * MS, 5 * MS), (10 * MS, 2_500_000), (33_333_333, 8_333_333), (5 * MS, 20 * MS)] {
            let seen = follow(&sum(std::iter::repeat_n(before, 50).chain(std::iter::repeat_n(after, 50))), OVERSLEEP);
            let worst = worst_delay(&seen[55..]);
            assert!(worst <= after / 8 + 2 * OVERSLEEP, "{before} {after}: {worst}");
        }
    }

    #[test]
    fn items_in_bursts_are_not_seen_later_than_alone() {
        let burst = [20 * MS, 100_000, 100_000, 100_000];
        let seen = follow(&sum(std::iter::repeat_n(burst, 50).flatten()), OVERSLEEP);
        let worst = worst_delay(&seen[LEARNED..]);
        assert!(worst <= 20 * MS / 16 + 2 * OVERSLEEP, "{worst}");
    }

    #[test]
    fn a_stopped_stream_costs_about_twenty_looks_a_second() {
        let seen = follow(&sum(std::iter::repeat_n(5 * MS, 100).chain([60_000 * MS, 5 * MS])), OVERSLEEP);
        let pauses = seen[101].pauses;
        assert!(pauses <= 60 * 30, "{pauses}");
        assert!(seen[101].delay <= 50 * MS + OVERSLEEP);
    }

    /// A first look that comes too late must not move the next one to a later time.
    #[test]
    fn sleeps_that_end_late_delay_items_by_that_time_only() {
        for oversleep in [500_000, 1_000_000, 2_000_000] {
            let seen = follow(&sum(jittered(5 * MS, 50_000, 3).take(2000)), oversleep);
            let worst = worst_delay(&seen[2 * LEARNED..]);
            assert!(worst <= oversleep + 5 * MS / 8, "{oversleep}: {worst}");
        }
    }

    #[test]
    fn a_step_of_a_clock_is_forgotten_after_some_items() {
        let times = sum(std::iter::repeat_n(5 * MS, 400));
        for step in [1_000 * MS, 3 * MS, 0u64.wrapping_sub(3 * MS), 0u64.wrapping_sub(1_000 * MS)] {
            let at = times[150];
            let seen = follow_clock(&times, OVERSLEEP, |time| time.wrapping_add(if time < at { 0 } else { step }));
            let worst = worst_delay(&seen[150 + LEARNED..]);
            assert!(worst <= 5 * MS / 16 + 2 * OVERSLEEP, "{step}: {worst}");
            let mean = mean_pauses(&seen[150 + 3 * REMEMBERED * PROBES as usize / 2..]);
            assert!(mean < 3.0, "{step}: {mean}");
        }
    }

    #[test]
    fn a_slow_consumer_learns_the_distance_of_items_that_it_did_not_wait_for() {
        let mut cadence = Cadence::default();
        for item in 0..20 {
            let time = item * 10 * MS;
            // Two items for each wait.
            cadence.begin(time, Some(Published { sequence: 2 * item + 1, ns: time }));
            cadence.news(time + 9 * MS);
        }
        assert_eq!(cadence.distances.smallest(0), Some(5 * MS as i64));
        assert_eq!(cadence.forecast, None);
    }

    proptest! {
        #[test]
        fn no_cadence_delays_an_item_by_more_than_the_longest_pause(
            distances in prop::collection::vec(prop_oneof![0..2 * MS, 0..20 * MS, 0..100 * MS, 0..600 * MS], 1..200),
            oversleep in 0..MS,
        ) {
            let seen = follow(&sum(distances), oversleep);
            prop_assert!(worst_delay(&seen) <= 5 * MS + oversleep, "{:?}", seen);
        }

        /// A producer that writes any sequence and time.
        #[test]
        fn no_times_of_a_producer_lengthen_a_pause_or_lead_to_looks_without_pauses(
            items in prop::collection::vec((any::<u64>(), any::<u64>(), 0..20 * MS), 1..200),
        ) {
            let (mut cadence, mut now) = (Cadence::default(), 0);
            for (sequence, ns, distance) in items {
                cadence.begin(now, Some(Published { sequence, ns }));
                let arrival = now + distance;
                while now < arrival {
                    let pause = cadence.pause(now);
                    prop_assert!((SHORTEST..=LONGEST).contains(&pause), "{:?}", pause);
                    now += nanoseconds(pause);
                }
                cadence.news(now);
            }
        }
    }
}
