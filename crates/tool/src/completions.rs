//! `shm2 completions`.

use super::Failure;
use clap_complete::Shell;
use std::io::{self, Write};

#[derive(clap::Args)]
pub struct Arguments {
    /// Shell to write the script for
    shell: Shell,
}

/// Writes a script that completes the command's options.
pub fn run(arguments: &Arguments, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "shm2", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
