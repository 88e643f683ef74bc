//! Tests of waiting by a rhythm: thousands of cases without unsafe code.

use super::recent::Published;
use super::rhythm::*;
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
