//! `shm2_zenoh`: regions of this host published over zenoh, and regions of other hosts opened here.
//!
//! Two halves that share the message format: [`publish`] attaches to a region while somebody on another host reads it, and
//! [`open`] subscribes while its local region has consumers. [`message`] is what goes over the network, [`names`] are the
//! keys, [`clock`] maps times. `docs/zenoh.md` describes all of it.

#![deny(clippy::unwrap_used)]

mod clock;
mod list;
mod message;
mod names;
mod open;
mod publish;
mod report;
mod session;

use clap::{CommandFactory, Parser, Subcommand};
use shm2_cli::stop::Stop;
use shm2_cli::{complain, print_man_page};
use std::process::ExitCode;
use std::time::Duration;

/// Regions over zenoh: published on one host, opened by name on others.
///
/// Exit codes: 0 ended by a signal, 1 the command failed, with the reason on standard error, 2 wrong options.
#[derive(Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    session: session::Options,
}

const PROGRAM: &str = "shm2_zenoh";

#[derive(Subcommand)]
enum Command {
    /// Publish regions of this host, also those that appear later
    Publish(publish::Arguments),
    /// Open a region of another host as a local region
    Open(open::Arguments),
    /// List the regions that hosts publish
    List(list::Arguments),
    /// Run a zenoh router, to which the bridges of many hosts connect
    Router,
}

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq(["--man"]) {
        return print_man_page(PROGRAM, Arguments::command());
    }
    zenoh::init_log_from_env_or("error");
    let Arguments { command, session } = Arguments::parse();
    let outcome = match command {
        Command::Publish(arguments) => publish::run(arguments, &session),
        Command::Open(arguments) => open::run(&arguments, &session),
        Command::List(arguments) => list::run(&arguments, &session),
        Command::Router => router(&session),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{PROGRAM}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Passes messages on until a signal.
fn router(session: &session::Options) -> Result<(), String> {
    let stop = Stop::on_signal(|| {}).map_err(|error| format!("cannot handle signals: {error}"))?;
    let _session = session.open(Some("router"))?;
    shm2_cli::say!("router is ready");
    while !stop.is_set() {
        stop.pause(Duration::from_secs(3600));
    }
    Ok(())
}
