//! A receiving process.

use crate::case::Case;
use crate::{Result, peers, stamp};
use figures::{Record, Times, Usage, now_ns, read_all};
use gst::prelude::*;
use std::io::Read;
use std::sync::{Arc, Mutex};

/// At full speed the stamp of every so many frames is read.
const STAMPED: u64 = 16;

/// What the pad has seen.
#[derive(Default)]
struct Seen {
    /// All frames, and the measured ones among them.
    frames: u64,
    measured: u64,
    times: Times,
    begun: Option<(u64, Usage)>,
    last: u64,
}

/// Receives until standard input ends, then prints a record. The first frame is reported by a line.
pub(crate) fn run(way: &str, case: &str, path: &str) -> Result<()> {
    gst::init()?;
    let case: Case = case.parse()?;
    let pipeline = gst::Pipeline::new();
    let src = peers::src(way, path)?;
    pipeline.add(&src)?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let pad = gst::Pad::builder(gst::PadDirection::Sink).name("sink").chain_function({
        let (seen, case) = (seen.clone(), case.clone());
        move |_, _, buffer| {
            let now = now_ns();
            if let Ok(mut seen) = seen.lock() {
                seen.look(&buffer, now, &case);
            }
            Ok(gst::FlowSuccess::Ok)
        }
    });
    let pad = pad.build();
    pad.set_active(true)?;
    src.static_pad("src").ok_or("the source has no pad")?.link(&pad)?;
    pipeline.set_state(gst::State::Playing)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    {
        let seen = seen.lock().map_err(|_| "the pad's thread panicked")?;
        println!("{}", serde_json::to_string(&seen.record(way, &case))?);
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

impl Seen {
    fn look(&mut self, buffer: &gst::BufferRef, now: u64, case: &Case) {
        if self.frames == 0 {
            println!("first");
        }
        self.frames += 1;
        let is_stamped = case.rate > 0 || self.frames.is_multiple_of(STAMPED);
        if is_stamped || case.touched {
            let Ok(map) = buffer.map_readable() else { return };
            let stamp = stamp::read(&map);
            if let Some(stamp) = stamp {
                self.begun.get_or_insert_with(|| (now, Usage::now()));
                self.times.record(now.saturating_sub(stamp));
            }
            if case.touched {
                read_all(&map);
            }
        }
        if self.begun.is_some() {
            self.measured += 1;
            self.last = now;
        }
    }

    fn record(&self, way: &str, case: &Case) -> Record {
        let mut record = Record::new("elements", &case.to_string(), way).with_latency(&self.times);
        let Some((begun, usage)) = self.begun else { return record };
        Usage::now().per_frame(usage, self.measured, "receiver", &mut record.figures);
        let seconds = self.last.saturating_sub(begun).max(1) as f64 / 1e9;
        record.with("frames/s", self.measured.saturating_sub(1) as f64 / seconds)
    }
}
