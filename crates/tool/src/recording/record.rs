//! `shm2 record`.

use super::file::McapFile;
use super::layout::Kind;
use super::queue::{Popped, Queue};
use super::real_time_offset;
use super::receiver::{Message, Received, Receiver, What};
use crate::output;
use crate::{Failure, show};
use indicatif::ProgressBar;
use serde::Serialize;
use shm2::consumer::Canceller;
use shm2::{Consumer, Spec};
use shm2_cli::{bytes, seconds, stop::Stop};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time between two updates of the line of progress.
const STEP: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub struct Arguments {
    /// Regions, for example shm:///dev/shm/camera
    #[arg(required = true, value_parser = shm2_cli::region())]
    regions: Vec<String>,
    /// MCAP file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
    /// Frames to record of each region; without it until the streams end
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Time to record, in seconds or as 500ms; without it until the streams end
    #[arg(long, value_parser = seconds)]
    duration: Option<Duration>,
    /// Bytes of memory for frames that wait for the disk, with K, M or G
    #[arg(long, value_parser = bytes, default_value = "256M")]
    buffer: u64,
    /// Print one JSON object for each region on a line at the end
    #[arg(long)]
    json: bool,
}

/// What came of a region.
#[derive(Serialize)]
struct Recorded {
    region: String,
    frames: u64,
    events: u64,
    bytes: u64,
    missed: u64,
    failure: Option<String>,
    #[serde(skip)]
    has_ended: bool,
    #[serde(skip)]
    has_begun: bool,
    /// Frames and bytes that are in the file.
    #[serde(skip)]
    written: (u64, u64),
}

struct Recording {
    file: McapFile,
    regions: Vec<Recorded>,
    cancellers: Vec<Canceller>,
    begun: Instant,
    progress: ProgressBar,
}

/// Records until all streams have ended, or the user, the time or the number of frames ends it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let names = names(&arguments.regions)?;
    let consumers: Vec<_> = names
        .iter()
        .map(|name| Ok(Consumer::builder(name)?.events(true).build()))
        .collect::<Result<_, shm2::SpecError>>()?;
    let cancellers: Vec<_> = consumers.iter().map(Consumer::canceller).collect();
    let file = McapFile::create(&arguments.output, arguments.overwrite, names.len())?;
    let to_cancel = cancellers.clone();
    let _stop = Stop::on_signal(move || to_cancel.iter().for_each(|canceller| canceller.set(true)))?;
    let mut recording = Recording {
        file,
        regions: names.iter().map(|name| Recorded::of(name)).collect(),
        cancellers,
        begun: Instant::now(),
        progress: ProgressBar::new_spinner(),
    };
    let outcome = recording.receive_all(arguments, &names, consumers);
    recording.progress.finish_and_clear();
    recording.report(arguments, outcome)
}

/// The regions by their whole names, each once.
fn names(regions: &[String]) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Vec::new();
    for region in regions {
        let name = region.parse::<Spec>()?.to_string();
        if names.contains(&name) {
            return Err(format!("{name} is given twice: a file holds a region once").into());
        }
        names.push(name);
    }
    Ok(names)
}

impl Recorded {
    fn of(name: &str) -> Self {
        let region = name.to_owned();
        Self {
            region,
            frames: 0,
            events: 0,
            bytes: 0,
            missed: 0,
            failure: None,
            has_ended: false,
            has_begun: false,
            written: (0, 0),
        }
    }
}

impl Recording {
    /// Receives in a thread for each region, and writes in this one, until the recording ends.
    fn receive_all(&mut self, arguments: &Arguments, names: &[String], consumers: Vec<Consumer>) -> Result<(), String> {
        let limit = usize::try_from(arguments.buffer).unwrap_or(usize::MAX);
        let queue = Queue::new(limit, names.len());
        let (offset, count) = (real_time_offset(), arguments.count);
        std::thread::scope(|scope| {
            let start = |(region, consumer): (usize, Consumer)| {
                let (receiver, queue) = (Receiver::new(region, &names[region], consumer, offset), &queue);
                let thread = std::thread::Builder::new().name(format!("region {region}"));
                let begun = thread.spawn_scoped(scope, move || receiver.run(queue, count));
                begun.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
            };
            let begun = consumers.into_iter().enumerate().try_for_each(start);
            let outcome = begun.and_then(|()| self.write_all(&queue, arguments.duration));
            if outcome.is_err() {
                self.cancel();
                queue.close();
            }
            outcome
        })
    }

    fn cancel(&self) {
        self.cancellers.iter().for_each(|canceller| canceller.set(true));
    }

    fn write_all(&mut self, queue: &Queue<Received>, duration: Option<Duration>) -> Result<(), String> {
        let mut has_said_what_it_awaits = false;
        loop {
            match queue.pop(self.file.flush_is_due_in().min(STEP)) {
                Popped::Item(Received { region, what: What::Message(message) }) => self.write(region, &message)?,
                Popped::Item(Received { region, what: What::Ended { missed, failure } }) => {
                    self.end(region, missed, failure);
                }
                Popped::Nothing => {}
                Popped::Ended => return self.file.finish(),
            }
            if self.file.flush_is_due_in().is_zero() {
                self.file.flush()?;
            }
            if !self.file.has_unwritten() {
                self.regions.iter_mut().for_each(|region| region.written = (region.frames, region.bytes));
            }
            let elapsed = self.begun.elapsed();
            let is_late = duration.is_some_and(|duration| elapsed >= duration);
            if is_late || self.regions.iter().all(|region| region.has_ended) {
                self.cancel();
            }
            if !has_said_what_it_awaits && elapsed > Duration::from_secs(1) {
                has_said_what_it_awaits = true;
                let waiting = self.regions.iter().filter(|region| !region.has_begun && !region.has_ended);
                waiting.for_each(|region| output::warn(&format!("waiting for frames of {}", region.region)));
            }
            self.show_progress();
        }
    }

    fn write(&mut self, region: usize, message: &Message) -> Result<(), String> {
        let recorded = &mut self.regions[region];
        self.file.write(region, &recorded.region, message)?;
        (recorded.has_begun, recorded.has_ended) = (true, message.kind == Kind::End);
        match message.kind {
            Kind::Frame => {
                recorded.frames += 1;
                recorded.bytes += message.data.len() as u64;
            }
            Kind::Event => recorded.events += 1,
            Kind::End => {}
        }
        Ok(())
    }

    /// A receiver has ended. The others go on.
    fn end(&mut self, region: usize, missed: u64, failure: Option<String>) {
        let recorded = &mut self.regions[region];
        recorded.has_ended = true;
        recorded.missed = missed;
        if let Some(failure) = &failure
            && self.cancellers.len() > 1
        {
            output::warn(&format!("shm2: {} is no longer recorded: {failure}", recorded.region));
        }
        recorded.failure = failure;
    }

    fn show_progress(&self) {
        if self.progress.is_hidden() {
            return;
        }
        let (frames, size) = (self.regions.iter().map(|r| r.frames).sum::<u64>(), self.file.bytes());
        let elapsed = self.begun.elapsed();
        let rate = (size as f64 / elapsed.as_secs_f64().max(0.1)) as u64;
        let (size, rate, time) = (show::bytes(size), show::bytes(rate), show::time(elapsed));
        self.progress.set_message(format!("{time}  {frames} frames  {size}  {rate}/s"));
        self.progress.tick();
    }

    fn report(mut self, arguments: &Arguments, outcome: Result<(), String>) -> Result<(), Failure> {
        if outcome.is_err() {
            self.regions.iter_mut().for_each(|region| (region.frames, region.bytes) = region.written);
        }
        for region in &self.regions {
            output::print(&if arguments.json { serde_json::to_string(region)? } else { region.text() })?;
        }
        if let Err(error) = outcome {
            let good = show::bytes(self.file.bytes());
            self.file.cut();
            return Err(format!("{error}; the file is good up to its last chunk ({good})").into());
        }
        if self.regions.iter().all(|region| region.failure.is_some() && !region.has_begun) {
            // Nothing was recorded, and the next attempt is to find no file.
            let _ = std::fs::remove_file(&arguments.output);
        }
        match self.regions.iter().find_map(|region| Some((&region.region, region.failure.as_ref()?))) {
            Some((region, failure)) => Err(format!("{region} was not recorded to its end: {failure}").into()),
            None => Ok(()),
        }
    }
}

impl Recorded {
    fn text(&self) -> String {
        let Self { region, frames, bytes, missed, .. } = self;
        format!("{region}: {frames} frames, {}, {missed} missed", show::bytes(*bytes))
    }
}
