//! `shm2 replay`.

use super::publisher::{self, Due, Published, Publisher, Settings};
use super::queue::Queue;
use super::reader::{Contents, Damage, Message, Reader};
use super::regions::Names;
use crate::Failure;
use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use shm2::producer::Handle;
use shm2_cli::{bytes, seconds, stop::Stop};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time for the first chunks to be read before the first frame is due.
const LEAD: Duration = Duration::from_millis(200);
/// Most regions that one file publishes.
const MOST_REGIONS: usize = 256;

#[derive(clap::Args)]
pub struct Arguments {
    /// MCAP file that `shm2 record` has written
    file: PathBuf,
    /// Publish the recorded region OLD as NEW; may be given several times
    #[arg(long, value_name = "OLD=NEW")]
    map: Vec<String>,
    /// Text before the last part of the names of the other regions: with `again-`, camera becomes again-camera
    #[arg(long)]
    prefix: Option<String>,
    /// Factor of the recorded pace: 2 is twice as fast
    #[arg(long, default_value = "1", value_parser = rate)]
    rate: f64,
    /// Publish as fast as possible
    #[arg(long, conflicts_with = "rate")]
    unpaced: bool,
    /// Begin again at the end of the file, until Ctrl+C
    #[arg(long = "loop")]
    is_loop: bool,
    /// Wait until each region has a consumer
    #[arg(long)]
    wait: bool,
    /// Wait for slow consumers instead of dropping the oldest frames
    #[arg(long)]
    block: bool,
    /// Bytes of each region, with K, M or G; without it as recorded
    #[arg(long, value_parser = bytes)]
    size: Option<u64>,
    /// Time to wait at the end until consumers have read everything, in seconds or as 500ms
    #[arg(long, value_parser = seconds, default_value = "10")]
    drain: Duration,
    /// Print one JSON object for each region on a line at the end
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.001..=1000.0).contains(rate));
    rate.ok_or_else(|| format!("{text:?} is not a factor from 0.001 to 1000; --unpaced publishes as fast as possible"))
}

/// A region that is being published.
struct Region {
    topic: String,
    name: String,
    queue: Arc<Queue<Due>>,
    publisher: JoinHandle<Result<Published, String>>,
}

#[derive(Serialize)]
struct Replayed<'a> {
    region: &'a str,
    recorded: &'a str,
    frames: u64,
    dropped: u64,
}

/// Publishes every recorded region.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let names = Names::new(&arguments.map, arguments.prefix.as_deref())?;
    let contents = Reader::open(&arguments.file)?.contents();
    check(arguments, &contents, &names)?;
    let publishers = create(arguments, &contents, &names)?;
    let handles: Vec<Handle> = publishers.iter().map(Publisher::handle).collect();
    let stop = Stop::on_signal(move || {
        for handle in &handles {
            handle.set_cancelled(true);
            handle.signal();
        }
    })?;
    if arguments.wait {
        wait_for_consumers(&publishers, &stop);
    }
    let topics = contents.regions.iter().map(|(topic, _)| topic);
    let mut regions = Vec::new();
    for (publisher, topic) in publishers.into_iter().zip(topics) {
        regions.push(Region::start(publisher, topic, &stop, arguments.drain)?);
    }
    let mut pace = Pace::new(arguments, &contents);
    let read = read_all(arguments, &contents, &regions, &mut pace, &stop);
    finish(arguments, regions, read)
}

fn check(arguments: &Arguments, contents: &Contents, names: &Names) -> Result<(), Failure> {
    let file = arguments.file.display();
    if let Some(damage) = &contents.damage {
        let why = &damage.why;
        if contents.messages == 0 {
            return Err(format!("{file} has no good chunk: {why} at byte {}", damage.at).into());
        }
        complain_of(arguments, damage);
    }
    if contents.regions.is_empty() || contents.messages == 0 {
        return Err(format!("{file} has no frames of regions: write one with shm2 record").into());
    }
    if contents.regions.len() > MOST_REGIONS {
        return Err(format!("{file} has {} regions, and {MOST_REGIONS} are the most", contents.regions.len()).into());
    }
    if !contents.other.is_empty() {
        output::warn(&format!(
            "{file} has {} channels that are no regions, which are passed over",
            contents.other.len()
        ));
    }
    if let Some(old) = names.unused(contents.regions.iter().map(|(topic, _)| topic.as_str())) {
        let recorded: Vec<_> = contents.regions.iter().map(|(topic, _)| topic.as_str()).collect();
        return Err(format!("{old} was not recorded in {file}: it has {}", recorded.join(", ")).into());
    }
    Ok(())
}

fn complain_of(arguments: &Arguments, damage: &Damage) {
    let (file, Damage { at, why }) = (arguments.file.display(), damage);
    output::warn(&format!("{file} is good up to byte {at}: {why}; what precedes it is replayed"));
}

fn create(arguments: &Arguments, contents: &Contents, names: &Names) -> Result<Vec<Publisher>, Failure> {
    let settings = Settings { size: arguments.size, block: arguments.block };
    let mut publishers: Vec<Publisher> = Vec::new();
    for (topic, region_bytes) in &contents.regions {
        let name = names.of(topic);
        if publishers.iter().any(|publisher| publisher.name == name) {
            return Err(format!("{name} is the new name of two regions: give each its own with --map").into());
        }
        let publisher = Publisher::create(&name, *region_bytes, settings);
        publishers.push(publisher.map_err(|error| format!("{error}; --prefix and --map replay to other regions"))?);
    }
    Ok(publishers)
}

fn wait_for_consumers(publishers: &[Publisher], stop: &Stop) {
    let begun = Instant::now();
    let mut has_said_so = false;
    for publisher in publishers {
        let handle = publisher.handle();
        while handle.consumers() == 0 && !handle.has_snapshot_consumers() && !stop.is_set() {
            if !has_said_so && begun.elapsed() > Duration::from_secs(1) {
                has_said_so = true;
                output::warn(&format!("waiting for a consumer of {}", publisher.name));
            }
            stop.pause(Duration::from_millis(5));
        }
    }
}

impl Region {
    fn start(publisher: Publisher, topic: &str, stop: &Stop, drain: Duration) -> std::io::Result<Self> {
        let (queue, stop, name) = (Arc::new(publisher::queue()), stop.clone(), publisher.name.clone());
        let items = queue.clone();
        let thread = std::thread::Builder::new().name("publisher".into());
        let publisher = thread.spawn(move || publisher.run(&items, &stop, drain))?;
        Ok(Self { topic: topic.into(), name, queue, publisher })
    }
}

/// When messages are due.
struct Pace {
    /// Nanoseconds of the file for one nanosecond; `None` for as fast as possible.
    rate: Option<f64>,
    /// Time of the file at which the pass begins.
    first: u64,
    /// Length of a pass in the file's time, up to the first frame of the next.
    length: u64,
    begun: Instant,
    pass: u32,
}

impl Pace {
    fn new(arguments: &Arguments, contents: &Contents) -> Self {
        let (first, last) = contents.times.unwrap_or_default();
        let length = last - first;
        // The frames of the region with the most of them have this distance on average, at most.
        let each = contents.messages.div_ceil(contents.regions.len().max(1) as u64).saturating_sub(1).max(1);
        let rate = (!arguments.unpaced).then_some(arguments.rate);
        // A file with one time only lasts as long as a frame of 25/s.
        let length = if length == 0 { 40_000_000 } else { length.saturating_add(length / each) };
        Self { rate, first, length, begun: Instant::now() + LEAD, pass: 0 }
    }

    fn due(&self, log_time: u64) -> Option<Instant> {
        let passed = self.length as f64 * f64::from(self.pass) + log_time.saturating_sub(self.first) as f64;
        let after = Duration::try_from_secs_f64(passed / self.rate? / 1e9).ok()?;
        // A time beyond the clock's end is never due; the clock takes some hundred years.
        self.begun.checked_add(after)
    }
}

/// Reads the file ahead, once or again and again.
fn read_all(
    arguments: &Arguments,
    contents: &Contents,
    regions: &[Region],
    pace: &mut Pace,
    stop: &Stop,
) -> Result<(), String> {
    let is_damaged = contents.damage.is_some();
    let progress = progress(pace);
    let mut reader = Reader::open(&arguments.file)?;
    let mut messages = Vec::new();
    loop {
        let has_more = reader.next(&mut messages);
        for message in messages.drain(..) {
            progress.set_position(message.log_time.saturating_sub(pace.first) / 1_000_000);
            if !pass_on(message, regions, pace) || stop.is_set() {
                progress.finish_and_clear();
                return Ok(());
            }
        }
        if !has_more {
            // The checksums are compared only now.
            if let Some(damage) = reader.found().damage.as_ref().filter(|_| pace.pass == 0 && !is_damaged) {
                complain_of(arguments, damage);
            }
            if !arguments.is_loop || reader.found().messages == 0 {
                progress.finish_and_clear();
                return Ok(());
            }
            pace.pass += 1;
            reader.rewind()?;
        }
    }
}

/// False when the message's publisher has ended.
fn pass_on(message: Message, regions: &[Region], pace: &Pace) -> bool {
    let Message { channel, log_time, publish_time, data } = message;
    // All topics were found before; a file that has changed since may have others.
    let Some(region) = regions.iter().find(|region| region.topic == channel.topic) else { return true };
    let bytes = data.len();
    region.queue.push(Due { at: pace.due(log_time), stream: channel.stream.clone(), publish_time, data }, bytes)
}

/// A bar over the time of the file, on a terminal only.
fn progress(pace: &Pace) -> ProgressBar {
    let bar = ProgressBar::new(pace.length / 1_000_000);
    let style =
        ProgressStyle::with_template("{elapsed} [{wide_bar}] {percent} %").unwrap_or(ProgressStyle::default_bar());
    bar.with_style(style)
}

fn finish(arguments: &Arguments, regions: Vec<Region>, read: Result<(), String>) -> Result<(), Failure> {
    regions.iter().for_each(|region| region.queue.leave());
    let mut failure = read.err();
    for Region { topic, name, publisher, .. } in regions {
        match publisher.join().unwrap_or_else(|_| Err(format!("{name}: its thread has ended early"))) {
            Ok(Published { frames, dropped, unreadable }) => {
                if unreadable > 0 {
                    output::warn(&format!(
                        "{topic}: {unreadable} messages are not of shm2 record, and were passed over"
                    ));
                }
                let replayed = Replayed { region: &name, recorded: &topic, frames, dropped };
                let text = format!("{name}: {frames} frames, {dropped} dropped for lack of space");
                output::print(&if arguments.json { serde_json::to_string(&replayed)? } else { text })?;
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}
