//! `shm2-camera`: regions as cameras of PipeWire, for browsers, OBS and every other program that takes cameras.
//!
//! Each frame is copied once, into a buffer of PipeWire: those belong to PipeWire and its readers, and cannot be memory
//! of the region.

#![deny(clippy::unwrap_used)]

mod buffer;
mod camera;
mod entered;
mod format;
mod node;
mod pauses;
mod pixels;
mod pods;
mod session;

use camera::Camera;
use clap::{CommandFactory, Parser};
use session::Session;
use shm2_cli::camera::{Arguments, PROGRAM};
use shm2_cli::stop::Stop;
use shm2_cli::{complain, say};
use std::process::ExitCode;

/// Show shared-memory regions as cameras of PipeWire.
///
/// Browsers, OBS and other programs then have the regions in their lists of cameras. A region is attached only while a
/// program uses its camera. Raw video and JPEG are shown as they are, with one copy of each frame; raw formats that
/// browsers do not take are also offered as I420.
///
/// Exit codes: 0 ended by a signal, 1 the command failed, with the reason on standard error, 2 wrong options.
#[derive(Parser)]
#[command(name = PROGRAM, version)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq(["--man"]) {
        return shm2_cli::print_man_page(PROGRAM, Program::command());
    }
    match run(&Program::parse().arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{PROGRAM}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut cameras = cameras(arguments)?;
    let stopped = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
    let stopped = stopped.map_err(|error| format!("cannot make an event descriptor: {error}"))?;
    let wake = stopped.try_clone().map_err(|error| format!("cannot copy a descriptor: {error}"))?;
    let then = move || {
        // Only a full counter is refused, and then it is readable.
        let _ = rustix::io::write(&wake, &1_u64.to_ne_bytes());
    };
    let stop = Stop::on_signal(then).map_err(|error| format!("cannot listen for signals: {error}"))?;
    pipewire::init();
    let session = Session::connect()?;
    session.name(&mut cameras, arguments.node_name.as_deref())?;
    for camera in &cameras {
        say!("{} is the camera {:?}, node {}", camera.region, camera.description, camera.name);
    }
    session::serve(session, &mut cameras, &stop, &stopped);
    Ok(())
}

fn cameras(arguments: &Arguments) -> Result<Vec<Camera>, String> {
    let Arguments { regions, description, node_name, .. } = arguments;
    if description.len() > regions.len() {
        return Err(format!("{} descriptions are for {} regions: give one for each", description.len(), regions.len()));
    }
    if node_name.is_some() && regions.len() > 1 {
        return Err(format!("--node-name is for one region, not for {}: run a command for each", regions.len()));
    }
    let descriptions = description.iter().map(Some).chain(std::iter::repeat(None));
    let camera = |(region, description): (&String, Option<&String>)| {
        let description = description.cloned().unwrap_or_else(|| session::short_name(region).to_owned());
        Camera::new(region.clone(), description, arguments.without_producer)
    };
    regions.iter().zip(descriptions).map(camera).collect()
}
