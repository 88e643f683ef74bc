//! `shm2_rtspd`: the command line of the RTSP server.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser};
use shm2_relay::daemon::start_log;
use shm2_rtsp::server::{Reload, run};
use shm2_rtsp::settings::{Given, Settings, SettingsError};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves regions by RTSP, and encodes only while somebody plays.
///
/// A mount is a region, or several: video and sound. All clients of a mount share one encoder. Regions of H.264, H.265,
/// JPEG, Opus and such are passed through. A client plays rtsp://127.0.0.1:8554/camera.
#[derive(Debug, Clone, Parser)]
#[command(name = "shm2_rtspd", version, max_term_width = 100)]
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
    #[arg(long)]
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

    fn settings(&self) -> Result<Settings, SettingsError> {
        self.given()?.settings()
    }
}

fn main() -> ExitCode {
    match act(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed pipe must not cause another failure.
            let _ = writeln!(std::io::stderr(), "shm2_rtspd: {error}");
            if error.is::<SettingsError>() { ExitCode::from(WRONG_SETTINGS) } else { ExitCode::FAILURE }
        }
    }
}

fn act(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.man {
        return Ok(clap_mangen::Man::new(Arguments::command()).render(&mut std::io::stdout())?);
    }
    if arguments.status {
        return shm2_relay::control::print_status(arguments.given()?.control_path().as_deref());
    }
    gst::init()?;
    // Elements of an installed plugin take precedence.
    gstshm2::plugin_register_static()?;
    let settings = arguments.settings()?;
    if arguments.check {
        for warning in &settings.warnings {
            writeln!(std::io::stderr(), "shm2_rtspd: {warning}")?;
        }
        writeln!(std::io::stdout(), "all settings are good")?;
        return Ok(());
    }
    start_log();
    let own = arguments.clone();
    let reload: Reload = Arc::new(move || match own.config {
        Some(_) => own.settings().map(Some),
        None => Ok(None),
    });
    Ok(run(settings, reload)?)
}
