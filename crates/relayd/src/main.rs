//! `shm2_relayd`: the command line of the relay.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser};
use shm2_relay::daemon::{run, start_log};
use shm2_relay::demand::Listener;
use shm2_relay::relay::{Reload, check_settings};
use shm2_relay::settings::{Given, Settings, SettingsError};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs a camera only while there is demand.
///
/// The output pipeline always runs. The input pipeline runs while clients are connected (or consumers attached to the
/// output's region, with --activate consumers), the splash pipeline while the input does not. A client is any
/// connection that stays open: nc 127.0.0.1 5555.
#[derive(Debug, Clone, Parser)]
#[command(name = "shm2_relayd", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    given: Given,
    /// File with the same settings (TOML); the command line overrides it. It is read again at SIGHUP
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check all settings and exit
    #[arg(long)]
    check: bool,
    /// Print the state of the running daemon as JSON and exit
    #[arg(long, hide = cfg!(not(unix)))]
    status: bool,
    /// Print the manual page and exit
    #[arg(long, hide = true)]
    man: bool,
}

/// Exit code when a setting is wrong, which only a person can mend: a service manager need not start the daemon again.
const WRONG_SETTINGS: u8 = 78;

impl Arguments {
    fn given(&self) -> Result<Given, SettingsError> {
        let file = self.config.as_deref().map(Given::from_file).transpose()?;
        Ok(self.given.clone().or(file.unwrap_or_default()))
    }

    fn settings(&self, has_sockets: bool) -> Result<Settings, SettingsError> {
        self.given()?.settings(has_sockets)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match act(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed pipe must not cause another failure.
            let _ = writeln!(std::io::stderr(), "shm2_relayd: {error}");
            if error.is::<SettingsError>() { ExitCode::from(WRONG_SETTINGS) } else { ExitCode::FAILURE }
        }
    }
}

fn act(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.man {
        return Ok(clap_mangen::Man::new(Arguments::command()).render(&mut std::io::stdout())?);
    }
    if arguments.status {
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
    if arguments.check {
        check_settings(&settings)?;
        for warning in &settings.warnings {
            writeln!(std::io::stderr(), "shm2_relayd: {warning}")?;
        }
        writeln!(std::io::stdout(), "all settings are good")?;
        return Ok(());
    }
    start_log();
    let own = arguments.clone();
    let reload: Reload = Arc::new(move || match own.config {
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
