//! The programs of `cargo xtask demo`: one that runs a producer pipeline and stamps its frames, one that runs a consumer
//! pipeline and checks the stamps. Each prints a line of `key=value` counts ten times a second and ends when its standard
//! input is closed.
//!
//! `shm2_demo produce 'videotestsrc ... ! shm2sink name=sink ...'`, `shm2_demo consume 'shm2src name=src ... ! fakesink'`

use gst::prelude::*;
use std::error::Error;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MARK: u64 = u64::from_le_bytes(*b"shm2demo");
/// Mark, number, time, hash of all that follows.
const STAMP: usize = 32;

#[derive(Default)]
struct Seen {
    frames: u64,
    stamped: u64,
    corrupt: u64,
    disordered: u64,
    breaks: u64,
    last_number: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    latencies_us: Vec<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [role, description] = &arguments[..] else {
        return Err("give a role, produce or consume, and a pipeline".into());
    };
    gst::init()?;
    let pipeline = gst::parse::launch(description)?.downcast::<gst::Pipeline>().map_err(|_| "not a pipeline")?;
    match role.as_str() {
        "produce" => produce(&pipeline),
        "consume" => consume(&pipeline),
        other => Err(format!("{other:?} is no role: give produce or consume").into()),
    }
}

fn produce(pipeline: &gst::Pipeline) -> Result<(), Box<dyn Error>> {
    let sink = pipeline.by_name("sink").ok_or("the pipeline has no element named sink")?;
    let pad = sink.static_pad("sink").ok_or("the sink has no pad")?;
    let number = AtomicUsize::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        // Only a writable buffer is stamped: a stamp must not cause a copy.
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data
            && let Some(buffer) = buffer.get_mut()
        {
            stamp(buffer, &number);
        }
        gst::PadProbeReturn::Ok
    });
    run(pipeline, || {
        let stats = stats(&sink);
        let fields = ["published", "zero-copied", "copied", "dropped-oldest", "dropped-newest", "dropped-too-large"];
        fields.map(|f| format!("{f}={}", stats.get::<u64>(f).unwrap_or_default())).join(" ")
    })
}

/// The element's counts; empty for other elements, such as those of a comparison.
fn stats(element: &gst::Element) -> gst::Structure {
    match element.find_property("stats") {
        Some(_) => element.property("stats"),
        None => gst::Structure::new_empty("none"),
    }
}

fn stamp(buffer: &mut gst::BufferRef, number: &AtomicUsize) {
    if buffer.n_memory() != 1 || buffer.size() < 4096 || !buffer.is_all_memory_writable() {
        return;
    }
    let Ok(mut map) = buffer.map_writable() else { return };
    let number = number.fetch_add(1, Ordering::Relaxed) as u64 + 1;
    let hash = hash(&map[STAMP..]);
    for (to, word) in map.chunks_exact_mut(8).zip([MARK, number, shm2::monotonic_ns(), hash]) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}

fn consume(pipeline: &gst::Pipeline) -> Result<(), Box<dyn Error>> {
    let src = pipeline.by_name("src").ok_or("the pipeline has no element named src")?;
    let pad = src.static_pad("src").ok_or("the source has no pad")?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let probe = seen.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = shm2::monotonic_ns();
        if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data
            && let Ok(mut seen) = probe.lock()
        {
            seen.look(buffer, now);
        }
        gst::PadProbeReturn::Ok
    });
    run(pipeline, || {
        let stats = stats(&src);
        let fields = ["zero-copied", "copied", "missed", "skipped", "attaches"];
        let counts = fields.map(|f| format!("{f}={}", stats.get::<u64>(f).unwrap_or_default())).join(" ");
        seen.lock().map(|seen| format!("{} {counts}", seen.line())).unwrap_or(counts)
    })
}

impl Seen {
    fn look(&mut self, buffer: &gst::BufferRef, now: u64) {
        let Ok(map) = buffer.map_readable() else { return };
        self.frames += 1;
        self.first.get_or_insert_with(Instant::now);
        self.last = Some(Instant::now());
        let is_break = buffer.flags().contains(gst::BufferFlags::DISCONT) && self.frames > 1;
        self.breaks += u64::from(is_break);
        let word = |i: usize| map.get(i * 8..i * 8 + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
        if word(0) != MARK {
            self.corrupt += u64::from(self.stamped > 0);
            return;
        }
        self.stamped += 1;
        self.corrupt += u64::from(hash(&map[STAMP..]) != word(3));
        self.disordered += u64::from(word(1) <= self.last_number && !is_break);
        self.last_number = word(1);
        self.latencies_us.push(now.saturating_sub(word(2)) / 1000);
    }

    fn line(&self) -> String {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let percentile = |p: usize| sorted.get(sorted.len().saturating_sub(1) * p / 100).copied().unwrap_or_default();
        let seconds = self.first.zip(self.last).map_or(0.0, |(a, b)| (b - a).as_secs_f64());
        let rate = if seconds > 0.0 { self.frames.saturating_sub(1) as f64 / seconds } else { 0.0 };
        let latency =
            if self.stamped > 0 { format!("p50={} p99={}", percentile(50), percentile(99)) } else { String::new() };
        format!(
            "frames={} stamped={} corrupt={} disordered={} breaks={} rate={rate:.1} {latency}",
            self.frames, self.stamped, self.corrupt, self.disordered, self.breaks,
        )
    }
}

/// Eight independent sums, so that it runs at the speed of memory.
fn hash(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 8];
    for line in bytes.chunks_exact(64) {
        for (sum, word) in sums.iter_mut().zip(line.chunks_exact(8)) {
            let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            *sum = sum.rotate_left(5).wrapping_add(word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    sums.iter().fold(bytes.len() as u64, |all, sum| all.rotate_left(7) ^ sum)
}

/// Plays a file from its start to the end of a segment instead of the stream, so that it can be repeated.
fn repeat(pipeline: &gst::Pipeline, flags: gst::SeekFlags) {
    let mut query = gst::query::Seeking::new(gst::Format::Time);
    if pipeline.query(&mut query) && query.result().0 {
        let _ = pipeline.seek_simple(flags | gst::SeekFlags::SEGMENT, gst::ClockTime::ZERO);
    }
}

/// Plays until standard input ends, the stream ends, or an error; prints a line ten times a second.
fn run(pipeline: &gst::Pipeline, line: impl Fn() -> String) -> Result<(), Box<dyn Error>> {
    let bus = pipeline.bus().ok_or("no bus")?;
    let stop = bus.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = stop.post(gst::message::Application::new(gst::Structure::new_empty("stop")));
    });
    pipeline.set_state(gst::State::Paused)?;
    let _ = pipeline.state(gst::ClockTime::from_seconds(5));
    repeat(pipeline, gst::SeekFlags::FLUSH);
    pipeline.set_state(gst::State::Playing)?;
    let kinds =
        [gst::MessageType::Eos, gst::MessageType::Error, gst::MessageType::Application, gst::MessageType::SegmentDone];
    let mut next = Instant::now();
    let result = loop {
        let message = bus.timed_pop_filtered(gst::ClockTime::from_mseconds(100), &kinds);
        match message.as_ref().map(|m| m.view()) {
            None => {}
            Some(gst::MessageView::Error(e)) => break Err(format!("{}: {:?}", e.error(), e.debug()).into()),
            Some(gst::MessageView::SegmentDone(_)) => repeat(pipeline, gst::SeekFlags::empty()),
            Some(_) => break Ok(()),
        }
        if Instant::now() >= next {
            next += Duration::from_millis(100);
            writeln!(std::io::stdout(), "{}", line())?;
        }
    };
    writeln!(std::io::stdout(), "{}", line())?;
    pipeline.set_state(gst::State::Null)?;
    result
}
