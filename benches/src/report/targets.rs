//! The targets, and whether they are met.

use figures::{Record, median};
use serde::Serialize;

/// A figure of one way to do one case.
#[derive(Clone, Copy)]
struct Place(&'static str, &'static str, &'static str, &'static str);

/// What a ratio, or a figure without a peer, has to be.
#[derive(Clone, Copy)]
enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

/// One target: our figure divided by the peer's, or our figure alone.
struct Target(&'static str, Place, Option<Place>, Bar);

use Bar::{AtLeast, AtMost};

const fn frames(case: &'static str, way: &'static str, figure: &'static str) -> Place {
    Place("frames", case, way, figure)
}

const fn elements(case: &'static str, way: &'static str, figure: &'static str) -> Place {
    Place("elements", case, way, figure)
}

/// The elements with a newer GStreamer.
const fn newer(case: &'static str, way: &'static str, figure: &'static str) -> Place {
    Place("elements-newer", case, way, figure)
}

const fn rings(case: &'static str, way: &'static str) -> Place {
    Place("rings", case, way, "ns")
}

const M60: &str = "M:pool:untouched:60:1";
const M60X4: &str = "M:pool:untouched:60:4";
const M0: &str = "M:pool:untouched:0:1";
const M0X4: &str = "M:pool:untouched:0:4";
const TOUCHED: &str = "M:pool:touched:0:1";
const L_HEAP: &str = "L:heap:untouched:0:1";
const M_HEAP: &str = "M:heap:untouched:0:1";
const AHEAD: Place = Place("ahead", "60/s, 0 ms", "ahead", "p50 us");
const SIGNALLED: &str = "signalled, 64 B there and back";
const POLLED: &str = "polled, 64 B there and back";

/// Shortens a target whose two sides differ by the way only.
const fn beside(text: &'static str, ours: Place, peer: &'static str, bar: Bar) -> Target {
    Target(text, ours, Some(Place(ours.0, ours.1, peer, ours.3)), bar)
}

fn all() -> Vec<Target> {
    let f = frames;
    let e = elements;
    vec![
        beside("core, polled, 1 KiB at 2,000/s", f("paced", "shm2", "p50 us"), "iceoryx2", AtMost(0.6)),
        beside("core, polled, 3 MB at 2,000/s", f("paced-3m", "shm2", "p50 us"), "iceoryx2", AtMost(0.6)),
        beside("core, polled, stream of 64 B", f("stream-64", "shm2", "M/s"), "iceoryx2", AtLeast(2.5)),
        beside("core, polled, stream of 1 KiB", f("stream-1k", "shm2", "M/s"), "iceoryx2", AtLeast(2.5)),
        beside("core, polled, stream of 3 MB", f("stream-3m", "shm2", "M/s"), "iceoryx2", AtLeast(2.5)),
        beside("core, woken, 3 MB at 60/s", f("woken", "shm2", "p50 us"), "iceoryx2", AtMost(0.6)),
        beside("core, woken, 3 MB at 60/s", f("woken", "shm2", "p50 us"), "raw", AtMost(1.1)),
        beside("elements, M pool at 60/s", e(M60, "shm2", "p50 us"), "shmsink", AtMost(0.65)),
        Target("the same, over the core", e(M60, "shm2", "p50 us"), Some(f("woken", "shm2", "p50 us")), AtMost(1.3)),
        beside("elements, M pool at 60/s", newer(M60, "shm2", "p50 us"), "unixfdsink", AtMost(0.65)),
        Target("acquire a buffer of the sink's pool", e(M60, "shm2", "acquire p50 us"), None, AtMost(8.0)),
        beside("elements, M pool at 60/s, 4 consumers", e(M60X4, "shm2", "p50 us"), "shmsink", AtMost(0.6)),
        beside("sender's CPU per frame, M pool at 60/s", e(M60, "shm2", "sender CPU us"), "shmsink", AtMost(0.7)),
        beside("receiver's CPU per frame, M pool at 60/s", e(M60, "shm2", "receiver CPU us"), "shmsink", AtMost(0.7)),
        Target("sender's page faults per frame", e(M60, "shm2", "sender page faults"), None, AtMost(0.05)),
        Target("receiver's page faults per frame", e(M60, "shm2", "receiver page faults"), None, AtMost(0.05)),
        beside("elements, M pool untouched", e(M0, "shm2", "frames/s"), "shmsink", AtLeast(3.0)),
        beside("elements, M pool untouched", newer(M0, "shm2", "frames/s"), "unixfdsink", AtLeast(10.0)),
        beside("the same, 4 consumers, each", e(M0X4, "shm2", "frames/s"), "shmsink", AtLeast(3.0)),
        beside("elements, M pool written and read", e(TOUCHED, "shm2", "frames/s"), "shmsink", AtLeast(1.5)),
        beside("elements, M heap (one copy of 3 MB)", e(M_HEAP, "shm2", "frames/s"), "shmsink", AtLeast(2.0)),
        beside("elements, L heap (one copy of 33 MB)", e(L_HEAP, "shm2", "frames/s"), "shmsink", AtLeast(1.4)),
        beside("channel, signalled, 64 B there and back", rings(SIGNALLED, "shm2"), "two eventfds", AtMost(1.1)),
        beside("channel, polled, 64 B there and back", rings(POLLED, "shm2"), "two atomics", AtMost(1.2)),
        beside("channel, stream of 64 B, time", rings("stream of 64 B", "shm2"), "shmem-ipc", AtMost(1.0 / 2.5)),
        beside("channel, stream of 1 KiB, time", rings("stream of 1024 B", "shm2"), "shmem-ipc", AtMost(1.0 / 2.0)),
        beside("channel, stream of 4 KiB, time", rings("stream of 4096 B", "shm2"), "shmem-ipc", AtMost(1.0 / 1.3)),
        Target("wake ahead of time, core at 60/s", AHEAD, None, AtMost(10.0)),
        Target("its share of a CPU, %", Place("ahead", AHEAD.1, "ahead", "consumer CPU %"), None, AtMost(3.0)),
        Target("wake ahead of time, elements at 60/s", e(M60, "shm2-ahead", "p50 us"), None, AtMost(15.0)),
    ]
}

/// A target and what was measured.
#[derive(Serialize)]
pub(crate) struct Outcome {
    pub(crate) what: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) ours: Option<f64>,
    pub(crate) peer: &'static str,
    pub(crate) theirs: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) target: String,
    pub(crate) is_met: Option<bool>,
}

/// Compares all targets with the runs.
pub(crate) fn judge(runs: &[Record]) -> Vec<Outcome> {
    all().into_iter().map(|target| judge_one(&target, runs)).collect()
}

fn judge_one(Target(what, ours, peer, bar): &Target, runs: &[Record]) -> Outcome {
    let our_runs = of(runs, *ours);
    let peer_runs = peer.map(|peer| of(runs, peer));
    let ratio = peer_runs.as_deref().and_then(|peer_runs| ratio(&our_runs, peer_runs));
    let judged = if peer.is_some() { ratio } else { middle(&our_runs) };
    let unit = if peer.is_some() { " x" } else { "" };
    let (target, is_met) = match *bar {
        AtMost(most) => (format!("at most {most:.2}{unit}"), judged.map(|ratio| ratio <= most)),
        AtLeast(least) => (format!("at least {least:.1}{unit}"), judged.map(|ratio| ratio >= least)),
    };
    Outcome {
        what,
        figure: ours.3,
        ours: middle(&our_runs),
        peer: peer.map_or("", |peer| if peer.2 == "shm2" { "core of shm2" } else { peer.2 }),
        theirs: peer_runs.as_deref().and_then(middle),
        ratio,
        target,
        is_met,
    }
}

fn of(runs: &[Record], Place(bench, case, way, figure): Place) -> Vec<f64> {
    let is_meant = |run: &&Record| run.bench == bench && run.case == case && run.way == way;
    runs.iter().filter(is_meant).filter_map(|run| run.figures.get(figure).copied()).collect()
}

fn middle(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| median(values.to_vec()))
}

/// The median of the ratios of each round, so that a machine that changes its speed between rounds does not count.
fn ratio(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    if ours.len() == theirs.len() {
        return middle(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>());
    }
    Some(middle(ours)? / middle(theirs)?)
}
