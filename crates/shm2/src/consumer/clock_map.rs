//! A map from another machine's monotonic clock to the local one, estimated from samples of one direction: an item was
//! published at `theirs` on the other clock, and received at `ours` on the local one. The difference of a sample is the
//! difference of the clocks plus a delay that is never negative, so the true line is not above any sample. The estimate
//! is the edge of the samples' lower convex hull below their mean time: of all lines without a sample below, it is the
//! one with the smallest sum of distances. (Moon, Skelly, Towsley: "Estimation and removal of clock skew from network
//! delay measurements", INFOCOM 1999, state the same problem as a linear program.)

use std::collections::VecDeque;

/// Duration of a slot in nanoseconds. Of the samples in a slot only the one with the shortest delay counts.
const SLOT: i64 = 250_000_000;
/// Number of slots: ten seconds.
const SLOTS: usize = 40;
/// Span in nanoseconds below which both clocks are taken to run at the same rate.
const LEAST_SPAN: f64 = 2e9;
/// Largest difference of the rates: no crystal is less accurate.
const MOST_SLOPE: f64 = 1e-3;
/// Distance of a sample from the line, in nanoseconds, above which the clock has jumped: it was set, or its machine was
/// suspended.
const JUMP: f64 = 1e9;
/// Time in nanoseconds for which all samples must be late by more than [`JUMP`] to count as a jump instead of a delay.
const LATE: u64 = 2_000_000_000;

/// A sample, relative to the first one: time on the other clock, and the local clock minus that time.
#[derive(Debug, Clone, Copy)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Line {
    x: f64,
    y: f64,
    slope: f64,
}

impl Line {
    fn at(&self, x: i64) -> f64 {
        self.y + self.slope * (x as f64 - self.x)
    }
}

#[derive(Debug, Default)]
pub(super) struct ClockMap {
    /// The first sample: other clock, local clock.
    origin: Option<(u64, u64)>,
    slots: VecDeque<Point>,
    line: Line,
    /// Local time since which every sample was late by more than [`JUMP`].
    late_since: Option<u64>,
}

impl ClockMap {
    /// Adds a sample: the other clock showed `theirs` before the local one showed `ours`.
    pub(super) fn add(&mut self, theirs: u64, ours: u64) {
        let origin = *self.origin.get_or_insert((theirs, ours));
        let x = theirs.wrapping_sub(origin.0) as i64;
        let y = ours.wrapping_sub(origin.1).wrapping_sub(x as u64) as i64;
        if self.is_jump(x, y, ours) {
            *self =
                Self { origin: Some((theirs, ours)), slots: VecDeque::from([Point { x: 0, y: 0 }]), ..Self::default() };
            return;
        }
        let slot = |x: i64| x.div_euclid(SLOT);
        match self.slots.back_mut() {
            Some(last) if slot(x) < slot(last.x) => return,
            Some(last) if slot(x) == slot(last.x) => {
                if y >= last.y {
                    return;
                }
                *last = Point { x, y };
            }
            _ => self.slots.push_back(Point { x, y }),
        }
        if self.slots.len() > SLOTS {
            self.slots.pop_front();
        }
        self.line = fit(&self.slots);
    }

    fn is_jump(&mut self, x: i64, y: i64, ours: u64) -> bool {
        let above = y as f64 - self.line.at(x);
        if above <= JUMP {
            self.late_since = None;
            return above < -JUMP;
        }
        ours.saturating_sub(*self.late_since.get_or_insert(ours)) > LATE
    }

    /// The local time at which the other clock shows `theirs`.
    pub(super) fn to_local(&self, theirs: u64) -> u64 {
        let Some(origin) = self.origin else { return theirs };
        let x = theirs.wrapping_sub(origin.0);
        origin.1.wrapping_add(x).wrapping_add_signed(self.line.at(x as i64) as i64)
    }

    /// The time on the other clock when the local one shows `ours`.
    pub(super) fn to_theirs(&self, ours: u64) -> u64 {
        // Each step divides the error by a thousand at least, because the rates differ by less than that.
        let step = |theirs: u64| theirs.wrapping_add(ours.wrapping_sub(self.to_local(theirs)));
        (0..3).fold(self.origin.map_or(ours, |(theirs, _)| theirs), |theirs, _| step(theirs))
    }
}

fn fit(points: &VecDeque<Point>) -> Line {
    let points: Vec<_> = points.iter().map(|p| (p.x as f64, p.y as f64)).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Line::default() };
    let lowest = |slope: f64| points.iter().map(|(x, y)| y - slope * x).fold(f64::INFINITY, f64::min);
    if last.0 - first.0 < LEAST_SPAN {
        return Line { x: 0.0, y: lowest(0.0), slope: 0.0 };
    }
    let middle = points.iter().map(|(x, _)| x).sum::<f64>() / points.len() as f64;
    let hull = lower_hull(&points);
    let edge = hull.windows(2).find(|edge| edge[1].0 >= middle);
    let slope = edge.map_or(0.0, |edge| (edge[1].1 - edge[0].1) / (edge[1].0 - edge[0].0));
    let slope = slope.clamp(-MOST_SLOPE, MOST_SLOPE);
    Line { x: 0.0, y: lowest(slope), slope }
}

/// The lower convex hull of points that are sorted by x (Andrew's monotone chain).
fn lower_hull(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut hull: Vec<(f64, f64)> = Vec::with_capacity(points.len());
    for &point in points {
        while let [.., a, b] = hull[..] {
            let turns_left = (b.0 - a.0) * (point.1 - a.1) - (b.1 - a.1) * (point.0 - a.0) > 0.0;
            if turns_left {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm2_testing::Rng;

    const MS: u64 = 1_000_000;
    const DAY: u64 = 86_400_000 * MS;

    /// Largest error in nanoseconds from 5 s on, with a sample every `every`.
    fn error(ours_ahead: i64, ppm: i64, every: u64, seed: u64) -> u64 {
        let (mut random, mut clock_map, mut worst) = (Rng::with_seed(seed), ClockMap::default(), 0);
        let truth = |theirs: u64| {
            let run = (theirs - 10 * DAY) as i64;
            theirs.wrapping_add_signed(ours_ahead + run / 1_000_000 * ppm)
        };
        // Under Miri, which is slow, a shorter run.
        let length = if cfg!(miri) { 6_000 } else { 60_000 };
        for step in 0..length * MS / every {
            let theirs = 10 * DAY + step * every;
            clock_map.add(theirs, truth(theirs) + random.u64(..2 * MS));
            if step * every > 5_000 * MS {
                worst = worst.max(clock_map.to_local(theirs).abs_diff(truth(theirs)));
            }
        }
        worst
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of cases without unsafe code")]
    fn days_apart_with_drift_and_jitter_the_error_stays_below_two_milliseconds() {
        let mut worst = 0;
        for ahead in [-(9 * DAY as i64), 3 * DAY as i64, 0] {
            for ppm in [-200, 0, 200].into_iter().take(if cfg!(miri) { 1 } else { 3 }) {
                // Beacons alone, and frames at 30/s.
                for every in [250 * MS, 33 * MS] {
                    let seeds = if cfg!(miri) { 1..=1 } else { 1..=20 };
                    worst = seeds.map(|seed| error(ahead, ppm, every, seed)).max().unwrap().max(worst);
                }
            }
        }
        println!("largest error {} us", worst / 1000);
        assert!(worst < 2 * MS);
    }

    #[test]
    fn the_map_follows_a_clock_that_was_set_and_a_machine_that_was_suspended() {
        let mut clock_map = ClockMap::default();
        let mut now = DAY;
        let mut ahead = 7 * DAY;
        for jump in [0i64, -(DAY as i64), DAY as i64 / 2] {
            ahead = ahead.wrapping_add_signed(jump);
            for _ in 0..200 {
                now += 20 * MS;
                clock_map.add(now, now + ahead);
            }
            assert_eq!(clock_map.to_local(now), now + ahead, "after a jump of {jump}");
            assert_eq!(clock_map.to_theirs(now + ahead), now);
        }
    }

    #[test]
    fn any_samples_yield_a_time_without_a_panic() {
        let mut clock_map = ClockMap::default();
        assert_eq!(clock_map.to_local(5), 5);
        for (theirs, ours) in [(u64::MAX, 0), (0, u64::MAX), (1, 1), (u64::MAX / 2, 3), (u64::MAX, u64::MAX), (0, 0)] {
            clock_map.add(theirs, ours);
            clock_map.to_local(theirs);
            clock_map.to_local(!theirs);
            clock_map.to_theirs(!ours);
        }
    }
}
