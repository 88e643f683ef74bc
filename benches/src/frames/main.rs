//! Frames from one process to another: the core of shm2, iceoryx2, and the limits of the machine.
//!
//! This program starts itself as the receiving process. `frames --help` has the options, [`case::CASES`] the cases.
//! The ways alternate in rounds; the result is the median of the rounds.

mod case;
mod iceoryx2_way;
mod raw;
mod receiver;
mod scale;
mod sender;
mod shm2_way;
mod way;

use case::{CASES, Case};
use figures::{Record, Recorder, group, median};
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "\
frames [--case NAME]... [--way NAME]... [--rounds N] [--seconds S] [--arena BYTES] [--json FILE]

  --case NAME     only this case; may be repeated; scale-... only if named
  --way NAME      only shm2, iceoryx2 or raw; may be repeated
  --rounds N      alternating rounds (7)
  --seconds S     length of each run (0.5; cases at 60/s 1.0)
  --arena BYTES   arena of the region of shm2 (8 frames of 3 MB, 64 of the others)
  --json FILE     append each run to FILE
";

/// What was asked for.
pub(crate) struct Options {
    cases: Vec<String>,
    ways: Vec<String>,
    rounds: usize,
    pub(crate) seconds: Option<f64>,
    pub(crate) arena: Option<u64>,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["receive", way, case, name] => receiver::run(way, case, name),
        _ => parse(&words).and_then(|options| measure(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frames: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options =
        Options { cases: Vec::new(), ways: Vec::new(), rounds: 7, seconds: None, arena: None, json: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{HELP}"));
        match *word {
            "--case" => options.cases.push(value()?.to_string()),
            "--way" => options.ways.push(value()?.to_string()),
            "--rounds" => options.rounds = value()?.parse()?,
            "--seconds" => options.seconds = Some(value()?.parse()?),
            "--arena" => options.arena = Some(value()?.parse()?),
            "--json" => options.json = Some(value()?.into()),
            _ => return Err(HELP.into()),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<()> {
    let is_wanted = |case: &&Case| options.cases.is_empty() || options.cases.iter().any(|name| name == case.name);
    let cases: Vec<_> = CASES.iter().filter(is_wanted).collect();
    let scale = scale::CASES.iter().filter(|(name, ..)| options.cases.iter().any(|wanted| wanted == name));
    let scale: Vec<_> = scale.collect();
    if cases.is_empty() && scale.is_empty() {
        let names = CASES.iter().map(|case| case.name).chain(scale::CASES.iter().map(|(name, ..)| *name));
        return Err(format!("no such case; there are {}", names.collect::<Vec<_>>().join(", ")).into());
    }
    let mut recorder = Recorder::append(options.json.as_deref())?;
    for case in cases {
        let ways =
            case.ways().into_iter().filter(|way| options.ways.is_empty() || options.ways.iter().any(|w| w == way));
        let ways: Vec<_> = ways.collect();
        let mut records = Vec::new();
        for round in 1..=options.rounds {
            for way in &ways {
                eprint!("\r{}: round {round} of {}, {way}    ", case.name, options.rounds);
                let mut record = sender::run(way, case, options)?;
                for _ in 0..RETRIES {
                    if is_undisturbed(&record) {
                        break;
                    }
                    eprint!("(the machine was busy: again) ");
                    record = sender::run(way, case, options)?;
                }
                recorder.write(&record)?;
                records.push(record);
            }
        }
        eprintln!();
        show(case, &records);
    }
    for (name, text, measure) in scale {
        println!("{name}: {text}");
        measure(&mut scale::Output::new(&mut recorder, options.rounds))?;
    }
    Ok(())
}

/// A run is repeated so often when another program took processor time from it.
const RETRIES: usize = 3;

/// Whether both sides always had a processor. Two sides that poll share one as soon as a third program is busy.
fn is_undisturbed(record: &Record) -> bool {
    let waited = |side: &str| record.figures.get(&format!("{side} waited for a CPU %")).copied().unwrap_or(0.0);
    waited("sender") + waited("receiver") < 5.0
}

/// Prints medians, and the ratio of shm2 to each other way: the median of the ratios of the rounds.
fn show(case: &Case, records: &[Record]) {
    println!("{}: {}", case.name, case.text);
    let main = case.main_figure();
    let of = |way: &str| -> Vec<f64> {
        records.iter().filter(|record| record.way == way).map(|record| record.figures[main]).collect()
    };
    let ours = of("shm2");
    for record in group(records) {
        print!("  {:<10}", record.way);
        for name in SHOWN.iter().filter(|name| record.figures.contains_key(**name)) {
            print!(" {name} {:<8.3}", record.figures[*name]);
        }
        if record.way != "shm2" && !ours.is_empty() {
            let ratio = median(ours.iter().zip(of(&record.way)).map(|(ours, theirs)| ours / theirs).collect());
            print!("   (shm2: {ratio:.2} x in {main})");
        }
        println!();
    }
}

/// Figures that are printed; the records have more.
const SHOWN: [&str; 6] = ["M/s", "p50 us", "p90 us", "p99 us", "sender CPU us", "receiver CPU us"];
