//! The sending process.

use crate::Result;
use crate::case::Case;
use crate::feed::Buffers;
use crate::{peers, stamp};
use figures::{Record, Times, Usage, now_ns, sleep_until};
use gst::prelude::*;
use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames a second until the measured ones.
const WARM_UP_RATE: u64 = 200;

/// Sends frames slowly until a line comes on standard input, then the measured ones; prints a record, and ends with
/// standard input.
pub(crate) fn run(way: &str, case: &str, seconds: &str, path: &str) -> Result<()> {
    gst::init()?;
    let (case, seconds): (Case, f64) = (case.parse()?, seconds.parse()?);
    let mut sender = Sender::new(way, &case, path)?;
    println!("ready");
    let go = Arc::new(AtomicBool::new(false));
    let waiting = std::thread::spawn({
        let go = go.clone();
        move || {
            let mut stdin = std::io::stdin().lock();
            let line = stdin.read_line(&mut String::new());
            go.store(true, Ordering::Relaxed);
            line.and_then(|_| stdin.read_to_end(&mut Vec::new()))
        }
    });
    while !go.load(Ordering::Relaxed) {
        let due = now_ns() + 1_000_000_000 / WARM_UP_RATE;
        sender.send(false)?;
        sleep_until(due);
    }
    let record = sender.measure(seconds, Record::new("elements", &case.to_string(), way))?;
    println!("{}", serde_json::to_string(&record)?);
    let _ = waiting.join();
    sender.pipeline.set_state(gst::State::Null)?;
    Ok(())
}

struct Sender<'a> {
    case: &'a Case,
    pipeline: gst::Pipeline,
    pad: gst::Pad,
    buffers: Buffers,
    number: u64,
    acquire: Times,
    push: Times,
}

impl<'a> Sender<'a> {
    fn new(way: &str, case: &'a Case, path: &str) -> Result<Self> {
        let pipeline = gst::Pipeline::new();
        let sink = peers::sink(way, case, path)?;
        pipeline.add(&sink)?;
        pipeline.set_state(gst::State::Playing)?;
        let pad = gst::Pad::builder(gst::PadDirection::Src).name("src").build();
        pad.set_active(true)?;
        pad.link(&sink.static_pad("sink").ok_or("the sink has no pad")?)?;
        let caps: gst::Caps = case.caps().parse()?;
        pad.push_event(gst::event::StreamStart::new("bench"));
        pad.push_event(gst::event::Caps::new(&caps));
        pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        let buffers = Buffers::new(&pad, &caps, case)?;
        Ok(Self { case, pipeline, pad, buffers, number: 0, acquire: Times::default(), push: Times::default() })
    }

    fn send(&mut self, is_measured: bool) -> Result<()> {
        let begun = now_ns();
        let mut buffer = self.buffers.next()?;
        let acquired = now_ns();
        self.number += 1;
        {
            let buffer = buffer.get_mut().ok_or("the buffer is shared")?;
            buffer.set_pts(gst::ClockTime::from_nseconds(self.number * 16_666_667));
            let mut map = buffer.map_writable()?;
            if self.case.touched {
                map.fill(self.number as u8);
            }
            stamp::write(&mut map, is_measured);
        }
        let pushed = now_ns();
        self.pad.push(buffer)?;
        self.acquire.record(acquired - begun);
        self.push.record(now_ns() - pushed);
        Ok(())
    }

    fn measure(&mut self, seconds: f64, mut record: Record) -> Result<Record> {
        (self.acquire, self.push) = (Times::default(), Times::default());
        let (usage, begun, first) = (Usage::now(), now_ns(), self.number);
        let end = begun + (seconds * 1e9) as u64;
        while now_ns() < end {
            if self.case.rate > 0 {
                sleep_until(begun + (self.number - first + 1) * 1_000_000_000 / u64::from(self.case.rate));
            }
            self.send(true)?;
        }
        let frames = self.number - first;
        let took = (now_ns() - begun) as f64 / 1e9;
        Usage::now().per_frame(usage, frames, "sender", &mut record.figures);
        let p50 = |times: &Times| times.quantiles().named()[0].1;
        let (acquire, push) = (p50(&self.acquire), p50(&self.push));
        Ok(record.with("sent/s", frames as f64 / took).with("acquire p50 us", acquire).with("push p50 us", push))
    }
}
