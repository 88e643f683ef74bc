//! Consumers of a relay that is stopped or killed and started again go on: they get no end of stream.

#![cfg(unix)]

mod common;

use common::{Daemon, source};
use gst::prelude::*;
use rustix::process::Signal;
use shm2::{Access, Consumer, ReceiveError};
use shm2_testing::{LIMIT, TempPath, TempRegion, until};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A pipeline with a source at a region.
struct Source(gst::Element);

impl Source {
    fn new(region: &str) -> Self {
        gst::init().unwrap();
        gstshm2::plugin_register_static().unwrap();
        let text = format!("shm2src name=src shm-path={region} ! fakesink sync=false");
        let pipeline = gst::parse::launch(&text).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self(pipeline)
    }

    fn received(&self) -> u64 {
        let source = self.0.downcast_ref::<gst::Bin>().unwrap().by_name("src").unwrap();
        source.property::<gst::Structure>("stats").get("received").unwrap()
    }

    /// The end of stream or error that it got.
    fn end(&self) -> Option<gst::Message> {
        self.0.bus().unwrap().pop_filtered(&[gst::MessageType::Eos, gst::MessageType::Error])
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// Reads until told to stop; fails at an end of stream.
fn read(region: &str, access: Access, received: &AtomicU64, is_over: &AtomicBool) {
    let mut consumer = Consumer::builder(region).unwrap().access(access).build();
    while !is_over.load(Ordering::Acquire) {
        match consumer.next(Some(Duration::from_millis(20))) {
            Ok(_) => drop(received.fetch_add(1, Ordering::AcqRel)),
            Err(ReceiveError::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Starts a relay, with these arguments besides `--output`, and ends it by each signal in turn, over `rounds` rounds.
/// Ends the reading threads, also after a failure.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn restart(rounds: usize, input: &str, arguments: &[&str], has_frames: bool) {
    let name = TempRegion::new();
    let text = format!("appsrc name=appsrc is-live=true format=time ! shm2sink shm-size=8000000 shm-path={}", &*name);
    let (counts, is_over) = ([AtomicU64::new(0), AtomicU64::new(0)], AtomicBool::new(false));
    let source = Source::new(&name);
    std::thread::scope(|scope| {
        let ends = Ends(&is_over);
        for (access, count) in [Access::Lease, Access::Snapshot].into_iter().zip(&counts) {
            let (region, is_over) = (&*name, &is_over);
            scope.spawn(move || read(region, access, count, is_over));
        }
        let all = || [counts[0].load(Ordering::Acquire), counts[1].load(Ordering::Acquire), source.received()];
        for round in 0..rounds {
            let signal = [Signal::TERM, Signal::INT, Signal::KILL][round % 3];
            let before = all();
            let daemon = Daemon::start_with(&text, TempRegion::new(), input, arguments);
            if has_frames {
                until("frames", || all().iter().zip(before).all(|(now, before)| *now > before + 2));
            } else {
                daemon.waits_for("consumers", 3);
            }
            daemon.end(signal);
            let end = source.end();
            assert!(end.is_none(), "round {round}, {signal:?}: {end:?}");
        }
        drop(ends);
    });
    println!("{rounds} rounds, frames {:?}, {}", counts.map(AtomicU64::into_inner), source.received());
}

/// `SHM2_RESTARTS` makes it longer.
#[test]
fn a_relay_that_is_stopped_or_killed_and_started_again_keeps_its_consumers() {
    let rounds = std::env::var("SHM2_RESTARTS").map_or(3, |text| text.parse().unwrap());
    restart(rounds, &source("ball"), &["--activate", "consumers"], true);
}

#[test]
fn an_idle_relay_that_is_stopped_keeps_its_consumers() {
    restart(2, &source("ball"), &["--activate", "consumers", "--start-delay", "1h"], false);
}

/// An output beside the region gets its end of stream: a file is complete.
#[test]
fn the_other_branches_of_an_output_get_an_end_of_stream_when_the_relay_is_stopped() {
    let (region, file) = (TempRegion::new(), TempPath::new("film.mkv"));
    let text = format!(
        "appsrc name=appsrc is-live=true format=time ! tee name=t ! queue ! shm2sink shm-size=8000000 shm-path={} \
         t. ! queue ! matroskamux ! filesink location={}",
        &*region,
        file.display()
    );
    let mut consumer = Consumer::builder(&region).unwrap().build();
    let daemon = Daemon::start_with(&text, TempRegion::new(), &source("ball"), &["--activate", "consumers"]);
    consumer.next(Some(LIMIT)).unwrap();
    daemon.end(Signal::TERM);
    let end = std::iter::repeat_with(|| consumer.next(Some(Duration::from_millis(200)))).find_map(Result::err);
    assert!(matches!(end, Some(ReceiveError::TimedOut)), "{end:?}");
    assert!(is_complete(&file), "the file has no duration");
}

/// Whether the muxer has written the duration, which it does at the end.
fn is_complete(file: &Path) -> bool {
    let bytes = std::fs::read(file).unwrap();
    // The element Duration of Matroska: its id, and eight bytes of a number.
    let at = bytes.windows(3).position(|window| window == [0x44, 0x89, 0x88]);
    at.is_some_and(|at| bytes[at + 3..at + 11].iter().any(|byte| *byte != 0))
}
