//! `shm2 camera`: the program shm2-camera, which alone needs PipeWire's library.

use super::Failure;
use shm2_cli::camera::PROGRAM;

/// Continues as shm2-camera, with the same options.
#[cfg(target_os = "linux")]
pub fn run() -> Result<(), Failure> {
    use std::io::ErrorKind;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM)).filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PROGRAM.into());
    let error = Command::new(&program).args(std::env::args_os().skip(2)).exec();
    Err(match error.kind() {
        ErrorKind::NotFound => format!(
            "{PROGRAM} is neither beside this program nor in PATH: install the package {PROGRAM}, or build it from the \
             sources with `cargo build --release --manifest-path bridges/camera/Cargo.toml`"
        ),
        _ => format!("cannot run {}: {error}", program.display()),
    }
    .into())
}

/// There is no PipeWire.
#[cfg(not(target_os = "linux"))]
pub fn run() -> Result<(), Failure> {
    Err(format!("{PROGRAM} needs PipeWire, which runs on Linux only: run it where the region is read on Linux").into())
}
