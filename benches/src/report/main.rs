//! The report on all measurements: tables with targets, the figures as JSON, and charts.
//!
//! `report RECORDS.jsonl DIRECTORY COMMAND` reads the records that the other programs appended, and writes `report.md`,
//! `report.json` and the charts. COMMAND is named as the way to repeat the measurement.

#![forbid(unsafe_code)]

mod charts;
mod machine;
mod tables;
mod targets;

use figures::{Record, group};
use std::error::Error;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [records, directory, command] = &arguments[..] else {
        return Err("usage: report RECORDS.jsonl DIRECTORY COMMAND".into());
    };
    let runs = read(records)?;
    let medians = group(&runs);
    let directory = Path::new(directory);
    let machine = machine::describe(command);
    let outcomes = targets::judge(&runs);
    let charts = charts::draw(&medians, directory)?;
    std::fs::write(directory.join("report.md"), tables::page(&machine, &outcomes, &medians, &charts))?;
    let all = serde_json::json!({ "machine": machine, "targets": outcomes, "medians": medians, "runs": runs });
    std::fs::write(directory.join("report.json"), serde_json::to_string_pretty(&all)?)?;
    let measured: Vec<_> = outcomes.into_iter().filter(|outcome| outcome.is_met.is_some()).collect();
    print!("{}", tables::targets(&measured));
    println!("\n{}", directory.join("report.md").display());
    Ok(())
}

fn read(path: &str) -> Result<Vec<Record>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    Ok(text.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?)
}
