//! `shm2`: which regions there are, who uses them, and how their frames come.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod bench;
mod camera;
mod cat;
mod completions;
#[cfg(feature = "gst")]
mod decoder;
mod doctor;
mod folders;
mod gc;
mod hz;
mod inspect;
mod list;
mod man;
mod metrics;
mod output;
mod picture;
mod rates;
mod recording;
mod serve;
mod show;
mod snapshot;
mod top;
mod web;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Look at shared-memory regions without disturbing them.
///
/// Exit codes: 0 all is well, 1 the command failed, with the reason on standard error, 2 wrong options.
#[derive(Parser)]
#[command(name = "shm2", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the regions that have a live producer
    List(list::Arguments),
    /// Show everything that is known of a region and its consumers
    Inspect(inspect::Arguments),
    /// Show the rate, the jitter and the age of a region's frames
    Hz(hz::Arguments),
    /// Show all regions over time: rates, ages, consumers and drops
    Top(top::Arguments),
    /// Write the stream to standard output: raw video as y4m, raw audio as wav, the rest as it is
    Cat(cat::Arguments),
    /// Write the newest frame to a file, raw video as a picture
    Snapshot(snapshot::Arguments),
    /// Record the streams of regions to an MCAP file
    Record(recording::record::Arguments),
    /// Publish the streams of an MCAP file again, at their pace
    Replay(recording::replay::Arguments),
    /// Show regions as cameras to browsers, OBS and other programs of PipeWire, until a signal ends it
    Camera(shm2_cli::camera::Arguments),
    /// List files that dead producers have left, and remove them if told so
    Gc(gc::Arguments),
    /// Print figures of all regions for Prometheus, or serve them
    Metrics(metrics::Arguments),
    /// Show all regions in a browser: pictures, rates, ages, consumers and drops
    Serve(serve::Arguments),
    /// Check what prevents frames from passing on this machine
    Doctor(doctor::Arguments),
    /// Measure latency and throughput on this machine
    Bench(bench::Arguments),
    /// Write a script that completes the options of this command in a shell
    Completions(completions::Arguments),
    /// Write the manual pages of this command
    Man(man::Arguments),
}

/// Why a command ended early.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::List(arguments) => list::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Cat(arguments) => cat::run(&arguments),
        Command::Snapshot(arguments) => snapshot::run(&arguments),
        Command::Record(arguments) => recording::record::run(&arguments),
        Command::Replay(arguments) => recording::replay::run(&arguments),
        Command::Camera(_) => camera::run(),
        Command::Gc(arguments) => gc::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Metrics(arguments) => metrics::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, Arguments::command()),
        Command::Man(arguments) => man::run(&arguments, Arguments::command()),
        Command::Hz(arguments) => hz::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::warn(&format!("shm2: {error}"));
            ExitCode::FAILURE
        }
    }
}
