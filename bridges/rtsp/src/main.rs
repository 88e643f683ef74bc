//! `shm2_rtspd`: the command line of the RTSP server.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser};
use shm2_relay::command::{self, Common};
use shm2_relay::daemon::start_log;
use shm2_rtsp::server::{Reload, run};
use shm2_rtsp::settings::{Given, Settings, SettingsError};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves regions by RTSP, and encodes only while somebody plays.
///
/// A mount is a region, or several: video and sound. All clients of a mount share one encoder. Regions of H.264, H.265,
/// JPEG, Opus and such are passed through. A client plays rtsp://127.0.0.1:8554/camera.
#[derive(Debug, Clone, Parser)]
#[command(name = PROGRAM, version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    common: Common,
}

const PROGRAM: &str = "shm2_rtspd";

impl Arguments {
    fn given(&self) -> Result<Given, SettingsError> {
        Ok(self.given.clone().or(self.common.file()?))
    }

    fn settings(&self) -> Result<Settings, SettingsError> {
        self.given()?.settings()
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
        return shm2_relay::control::print_status(arguments.given()?.control_path().as_deref());
    }
    gst::init()?;
    // Elements of an installed plugin take precedence.
    gstshm2::plugin_register_static()?;
    let settings = arguments.settings()?;
    if arguments.common.check {
        return Ok(command::print_checked(PROGRAM, &settings.warnings)?);
    }
    start_log();
    let own = arguments.clone();
    let reload: Reload = Arc::new(move || match own.common.config {
        Some(_) => own.settings().map(Some),
        None => Ok(None),
    });
    Ok(run(settings, reload)?)
}
