//! `shm2_relayd`: the command line of the relay.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser};
use shm2_relay::command::{self, Common};
use shm2_relay::daemon::{run, start_log};
use shm2_relay::demand::Listener;
use shm2_relay::relay::{Reload, check_settings};
use shm2_relay::settings::{Given, Settings, SettingsError};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs a camera only while there is demand.
///
/// The output pipeline always runs. The input pipeline runs while clients are connected (or consumers attached to the
/// output's region, with --activate consumers), the splash pipeline while the input does not. A client is any
/// connection that stays open: nc 127.0.0.1 5555.
#[derive(Debug, Clone, Parser)]
#[command(name = PROGRAM, version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    common: Common,
}

const PROGRAM: &str = "shm2_relayd";

impl Arguments {
    fn given(&self) -> Result<Given, SettingsError> {
        Ok(self.given.clone().or(self.common.file()?))
    }

    fn settings(&self, has_sockets: bool) -> Result<Settings, SettingsError> {
        self.given()?.settings(has_sockets)
    }
}

fn main() -> ExitCode {
    command::end::<SettingsError>(PROGRAM, act(&Arguments::parse()))
}

fn act(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.common.man {
        return Ok(command::print_manual(Arguments::command())?);
    }
    if arguments.common.status {
        return show_status(arguments);
    }
    gst::init()?;
    // Elements of an installed plugin take precedence.
    gstshm2::plugin_register_static()?;
    #[cfg(unix)]
    let sockets = Listener::from_service_manager()?;
    #[cfg(not(unix))]
    let sockets = Vec::<Listener>::new();
    let has_sockets = !sockets.is_empty();
    let settings = arguments.settings(has_sockets)?;
    if arguments.common.check {
        check_settings(&settings)?;
        return Ok(command::print_checked(PROGRAM, &settings.warnings)?);
    }
    start_log();
    let own = arguments.clone();
    let reload: Reload = Arc::new(move || match own.common.config {
        Some(_) => own.settings(has_sockets).map(Some),
        None => Ok(None),
    });
    Ok(run(settings, sockets, &reload)?)
}

#[cfg(unix)]
fn show_status(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    shm2_relay::control::print_status(arguments.given()?.control_path().as_deref())
}

#[cfg(not(unix))]
fn show_status(_: &Arguments) -> Result<(), Box<dyn Error>> {
    Err("--status needs Unix sockets; use --metrics here".into())
}
