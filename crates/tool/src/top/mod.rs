//! `shm2 top`.

mod columns;
mod view;

use super::{Failure, rates, show};
use crate::folders;
use ratatui::crossterm::event::{self, Event};
use serde::Serialize;
use shm2_cli::seconds;
use shm2_cli::stop::Stop;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use view::{After, View};

/// Longest time until a signal is noticed.
const STEP: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub struct Arguments {
    /// Folders whose regions are shown
    #[arg(default_value = "/dev/shm")]
    folders: Vec<PathBuf>,
    /// Time between two looks, in seconds or as 500ms
    #[arg(long, value_parser = seconds, default_value = "1")]
    interval: Duration,
    /// Print rounds of plain text instead of a screen
    #[arg(long, short)]
    batch: bool,
    /// Rounds to print; without it until Ctrl+C
    #[arg(long, short = 'n', requires = "batch")]
    rounds: Option<u64>,
    /// Print one JSON object for each region on a line
    #[arg(long, requires = "batch")]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    folders::check(&arguments.folders)?;
    let interval = arguments.interval.max(Duration::from_millis(50));
    let stop = Stop::on_signal(|| {})?;
    if arguments.batch {
        return print_rounds(arguments, interval, &stop);
    }
    if !std::io::stdout().is_terminal() {
        return Err("standard output is no terminal: print rounds of text with -b".into());
    }
    show_screen(arguments, interval, &stop)
}

/// A region in one round. Times are in nanoseconds.
#[derive(Serialize)]
struct Line {
    /// Real time.
    time_ns: u64,
    rates: rates::Rates,
    state: show::RegionJson,
}

/// Each round is what an interval measured.
fn print_rounds(arguments: &Arguments, interval: Duration, stop: &Stop) -> Result<(), Failure> {
    let mut sampler = rates::Sampler::new(&arguments.folders);
    sampler.sample();
    for round in 0.. {
        if arguments.rounds.is_some_and(|rounds| round >= rounds) {
            break;
        }
        stop.pause(interval);
        if stop.is_set() {
            break;
        }
        let samples = sampler.sample();
        let time_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let text = if arguments.json { objects(&samples, time_ns)? } else { columns::text(&samples, time_ns) + "\n" };
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => written.map_err(|error| format!("cannot print the round: {error}"))?,
        }
    }
    Ok(())
}

fn objects(samples: &[rates::Sample], time_ns: u64) -> Result<String, Failure> {
    let line = |sample: &rates::Sample| Line { time_ns, rates: sample.rates, state: (&sample.region).into() };
    let lines: Result<String, _> = samples.iter().map(|s| Ok(serde_json::to_string(&line(s))? + "\n")).collect();
    lines
}

/// Restores the terminal at drop. A panic restores it as well, before its message.
struct Screen(ratatui::DefaultTerminal);

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn show_screen(arguments: &Arguments, interval: Duration, stop: &Stop) -> Result<(), Failure> {
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut view = View::new(interval, has_colour);
    let mut sampler = rates::Sampler::new(&arguments.folders);
    let failed = |error| format!("cannot use the terminal: {error}");
    let mut screen = Screen(ratatui::try_init().map_err(failed)?);
    while !stop.is_set() {
        view.set(sampler.sample());
        let next = Instant::now() + interval;
        screen.0.draw(|frame| view.draw(frame)).map_err(failed)?;
        while !stop.is_set() && Instant::now() < next {
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left.min(STEP)).map_err(failed)? {
                continue;
            }
            match event::read().map_err(failed)? {
                Event::Key(key) if view.key(key) == After::Quit => return Ok(()),
                _ => screen.0.draw(|frame| view.draw(frame)).map_err(failed)?,
            };
        }
    }
    Ok(())
}
