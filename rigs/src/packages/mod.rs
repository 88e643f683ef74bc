//! The packages for Debian, on clean systems of Debian 12 and 13: installed by apt, used, upgraded, run by systemd, and
//! purged. `cargo xtask packages` makes them before.
//!
//! The scripts are in `rigs/packages`. Each system is a fresh layer above a tree that is kept, see `root.sh` there.

use crate::commands::{absolute, bounded, rig_file};
use crate::debian::{BOOKWORM, Release, TRIXIE, bare_tree};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Instant;
use xtask::run::{command, is_root, root, run_command, succeeds, target};
use xtask::{Outcome, setup};

/// A version before that of the packages.
const OLDER: &str = "0.0.9-1";

/// Runs all checks but those of OBS, those of systemd only, or all, on both releases beside each other.
pub fn packages(options: &[&str]) -> Outcome {
    let part = match options {
        [] => "most",
        ["systemd"] => "systemd",
        ["obs"] => "all",
        other => return Err(format!("{:?}: the options are systemd and obs", other.join(" "))),
    };
    if part == "most" {
        println!("skipped: obs-shm2 on clean systems: it takes minutes: cargo xtask packages quick obs");
    }
    if let Err(why) = prepare() {
        println!("skipped: packages on clean systems: {why}");
        return Ok(());
    }
    let folder = folder()?;
    let mut trees = Vec::new();
    for release in [&BOOKWORM, &TRIXIE] {
        match bare_tree(release)? {
            Ok(tree) => trees.push((release, tree)),
            Err(why) => println!("skipped: packages on Debian {}: {why}", release.name),
        }
    }
    std::thread::scope(|scope| {
        let folder = &folder;
        let run = |tree| scope.spawn(move || run_on(tree, folder, part));
        let running: Vec<_> = trees.iter().map(|(release, tree)| (release, run(tree))).collect();
        running.into_iter().map(|(release, thread)| report(release, thread.join())).fold(Ok(()), Outcome::and)
    })
}

/// Installs the programs that the rig calls. An error is the reason why it is skipped.
fn prepare() -> Outcome {
    if !is_root() {
        return Err("a clean system can be made and entered by root only".into());
    }
    if !succeeds("systemd-nspawn --version") && setup::install(&["systemd-container"]).is_err() {
        return Err("no systemd-nspawn, and systemd-container cannot be installed".into());
    }
    Ok(())
}

/// A folder with the packages in `new`, those of an older version in `old`, and the plugin for OBS in `obs`: that one
/// needs OBS with some hundred packages.
fn folder() -> Result<PathBuf, String> {
    let (made, folder) = (target().join("packages/deb"), target().join("packages"));
    let new = folder.join("new");
    let obs = folder.join("obs");
    for folder in [&new, &obs] {
        // Of the last run; there may be none.
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let files = std::fs::read_dir(&made).map_err(|e| format!("{}: {e}", made.display()))?;
    for file in files.flatten() {
        let is_obs = file.file_name().as_encoded_bytes().starts_with(b"obs-shm2_");
        std::fs::copy(file.path(), if is_obs { &obs } else { &new }.join(file.file_name()))
            .map_err(|e| format!("{}: {e}", file.path().display()))?;
    }
    let mut older = command("sh");
    older.arg(rig_file("packages/older.sh")).arg(&new).arg(folder.join("old")).arg(OLDER);
    run_command(older, &format!("rigs/packages/older.sh: packages of version {OLDER}"))?;
    absolute(&folder)
}

/// How long it took, and what came out.
type Ended = std::io::Result<(u64, Output)>;

fn run_on(tree: &Path, folder: &Path, part: &str) -> Ended {
    let begun = Instant::now();
    let mut run = bounded(900, "unshare");
    run.args(["--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "sh"])
        .arg(rig_file("packages/root.sh"))
        .arg(tree)
        .arg(folder)
        .arg(root());
    run.arg("sh").arg(rig_file("packages/phases.sh")).arg(part);
    let output = run.stdin(Stdio::null()).output()?;
    Ok((begun.elapsed().as_secs(), output))
}

/// Prints what the scripts printed.
fn report(release: &Release, ended: std::thread::Result<Ended>) -> Outcome {
    let name = format!("packages on Debian {}", release.name);
    let (seconds, output) =
        ended.map_err(|_| format!("{name}: panicked"))?.map_err(|e| format!("cannot run {name}: {e}"))?;
    println!("\n==> {name}: {seconds} s");
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(format!("{name} failed: {}", output.status)) }
}
