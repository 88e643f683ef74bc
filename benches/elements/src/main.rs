//! Buffers from one process to another: `shm2sink` and `shm2src` beside `shmsink` and `unixfdsink` of GStreamer.
//!
//! This program starts itself as the sending process and as each receiving one. The sender pushes buffers into the sink
//! and the receiver has a pad behind the source: no other element takes part. The latency runs from a stamp that is
//! written into the buffer before the push to the moment at which the buffer reaches the receiver's pad.
//! `elements --help` has the options.

#![forbid(unsafe_code)]

mod case;
mod feed;
mod peers;
mod receiver;
mod run;
mod sender;
mod stamp;
mod syscalls;

use case::Case;
use figures::{Recorder, group, median};
use peers::PEERS;
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "\
elements [--set quick|complete] [--case CASE]... [--way NAME]... [--rounds N] [--seconds S] [--bench NAME]
         [--syscalls] [--json FILE]

  --set SET       the cases of a report; quick if there is no --case
  --case CASE     SIZE:FEED:PIXELS:RATE:CONSUMERS, such as M:pool:untouched:60:1; may be repeated
                    SIZE      S (320x240 I420), M (1920x1080 NV12), L (3840x2160 BGRx), 8K (7680x4320 BGRx)
                    FEED      pool (buffers of the sink's pool), fresh (the sink's allocator), heap (system memory)
                    PIXELS    untouched, or touched (all bytes are written, and read)
                    RATE      frames a second, 0 for as fast as possible without a loss
  --way NAME      only shm2, shmsink or unixfdsink; may be repeated
  --rounds N      alternating rounds (5)
  --seconds S     length of each run (0.5 without a limit of the rate, otherwise 1.5)
  --bench NAME    name of the group in the records (elements)
  --syscalls      count system calls by strace, in runs of their own
  --json FILE     append each run to FILE
";

/// What was asked for.
pub(crate) struct Options {
    cases: Vec<Case>,
    ways: Vec<String>,
    rounds: usize,
    seconds: Option<f64>,
    bench: String,
    syscalls: bool,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["send", way, case, seconds, path] => sender::run(way, case, seconds, path),
        ["receive", way, case, path] => receiver::run(way, case, path),
        _ => parse(&words).and_then(|options| measure(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("elements: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options {
        cases: Vec::new(),
        ways: Vec::new(),
        rounds: 5,
        seconds: None,
        bench: "elements".into(),
        syscalls: false,
        json: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{HELP}"));
        match *word {
            "--set" => options.cases.extend(case::set(value()?)?),
            "--case" => options.cases.push(value()?.parse()?),
            "--way" => options.ways.push(value()?.to_string()),
            "--rounds" => options.rounds = value()?.parse()?,
            "--seconds" => options.seconds = Some(value()?.parse()?),
            "--bench" => options.bench = value()?.to_string(),
            "--syscalls" => options.syscalls = true,
            "--json" => options.json = Some(value()?.into()),
            _ => return Err(HELP.into()),
        }
    }
    if options.cases.is_empty() {
        options.cases = case::set("quick")?;
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<()> {
    gst::init()?;
    let mut recorder = Recorder::append(options.json.as_deref())?;
    let ways: Vec<_> = PEERS.iter().map(|peer| peer.name).filter(|name| wanted(options, name)).collect();
    for (number, case) in options.cases.iter().enumerate() {
        if let Some(why) = case.obstacle() {
            println!("skipped: {case}: {why}");
            continue;
        }
        let mut records = Vec::new();
        for round in 1..=options.rounds {
            for way in &ways {
                eprintln!(
                    "case {} of {}: {case}, round {round} of {}, {way}",
                    number + 1,
                    options.cases.len(),
                    options.rounds
                );
                match run::run(way, case, options.seconds, options.syscalls) {
                    Ok(mut record) => {
                        record.bench.clone_from(&options.bench);
                        recorder.write(&record)?;
                        records.push(record);
                    }
                    Err(error) => println!("skipped: {case}: {way}: {error}"),
                }
            }
        }
        show(case, &records);
    }
    Ok(())
}

/// Whether a way is to be measured: it was asked for, and its elements are there.
fn wanted(options: &Options, name: &str) -> bool {
    let is_usual = options.ways.is_empty() && name != peers::AHEAD;
    let is_chosen = is_usual || options.ways.iter().any(|way| way == name);
    let missing = peers::missing(name);
    if let Some(element) = missing.as_ref().filter(|_| is_chosen) {
        println!("skipped: {name}: {} has no element {element}", gst::version_string());
    }
    is_chosen && missing.is_none()
}

/// Prints medians, and the ratio of shm2 to each other way: the median of the ratios of the rounds.
fn show(case: &Case, records: &[figures::Record]) {
    println!("{case}");
    let main = case.main_figure();
    let of = |way: &str| -> Vec<f64> {
        let own = records.iter().filter(|record| record.way == way);
        own.filter_map(|record| record.figures.get(main).copied()).collect()
    };
    let ours = of("shm2");
    for record in group(records) {
        print!("  {:<11}", record.way);
        for (name, figure) in record.figures.iter().filter(|(name, _)| *name != "runs") {
            print!(" {name} {figure:.2},");
        }
        if record.way != "shm2" && !ours.is_empty() {
            let ratio = median(ours.iter().zip(of(&record.way)).map(|(ours, theirs)| ours / theirs).collect());
            print!(" (shm2: {ratio:.2} x in {main})");
        }
        println!();
    }
}
