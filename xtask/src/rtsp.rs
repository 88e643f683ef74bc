//! The RTSP server with other programs: scripts in `rigs/rtsp`.

use crate::run::{BUILD, command, run, run_command, target};
use crate::{Outcome, setup};

/// Readers, and what makes a certificate.
const PACKAGES: &[&str] = &["mpv", "glib-networking", "openssl"];

/// Readers and kills: some minutes, in the quick form one. Pictures are kept in `target/rtsp`.
pub fn test(is_quick: bool) -> Outcome {
    prepare()?;
    let pictures = target().join("rtsp");
    std::fs::create_dir_all(&pictures).map_err(|e| format!("{}: {e}", pictures.display()))?;
    let pictures = pictures.display().to_string();
    let (readers, kills): (&[&str], &[&str]) = match is_quick {
        true => (&[&pictures, "quick"], &["2", "quick"]),
        false => (&[&pictures], &["10"]),
    };
    script("readers.sh", readers)?;
    script("kills.sh", kills)
}

/// Processor time of one decode for three readers, beside three clients.
pub fn bench() -> Outcome {
    prepare()?;
    script("bench.sh", &["5"])
}

fn prepare() -> Outcome {
    setup::setup()?;
    setup::ensure(PACKAGES)?;
    run(BUILD)
}

fn script(name: &str, arguments: &[&str]) -> Outcome {
    let line = format!("bash rigs/rtsp/{name}");
    let mut script = command(&line);
    script.args(arguments).env("SHM2_BUILT", target().join("debug"));
    run_command(script, &format!("{line} {}", arguments.join(" ")))
}
