//! Running other programs.

use crate::Outcome;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The workspace's root.
pub fn root() -> PathBuf {
    // At run time: the same target directory may serve several copies of the project.
    let here =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds all programs that tests and demonstrations start. It is always the whole workspace: for a part of it cargo
/// would choose other features of the dependencies, and build them once more.
pub const BUILD: &str = "cargo build --workspace --bins --lib --examples";

/// Number of tests that run at a time: more than processors, as most tests wait most of the time.
pub fn test_threads() -> String {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    (2 * processors).to_string()
}

/// A command that runs in the workspace's root. `line` is split at blanks, so a path must not be part of
/// it: that goes by `arg`, or to [`program`].
pub fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = program(words.next().unwrap_or("true"));
    command.args(words);
    command
}

/// A command that runs in the workspace's root: the program at a path, which may have blanks.
pub fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    command.current_dir(root());
    command
}

/// Runs a command and shows it; an exit code other than 0 is an error.
pub fn run(line: &str) -> Outcome {
    run_command(command(line), line)
}

/// As [`run`], for a command that `line` cannot express; `name` is shown in its place.
pub fn run_command(mut command: Command, name: &str) -> Outcome {
    println!("\n==> {name}");
    let status = command.status().map_err(|e| format!("cannot run {name:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name:?} failed: {status}")) }
}

/// Whether a command can be run and succeeds; its output is not shown.
pub fn succeeds(line: &str) -> bool {
    succeeds_as(command(line))
}

/// As [`succeeds`], for a command that `line` cannot express.
pub fn succeeds_as(mut command: Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    // The second number is the effective user. Systems without /proc have the program `id`.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)) {
        Some(user) => user == "0",
        None => command("id -u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Rust files of a folder.
    fn sources(folder: PathBuf) -> Vec<PathBuf> {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
        files.into_iter().chain(folders.into_iter().flat_map(sources)).collect()
    }

    #[test]
    fn no_path_is_part_of_a_line_that_is_split() {
        let files: Vec<_> = ["xtask/src", "rigs/src"].into_iter().flat_map(|it| sources(root().join(it))).collect();
        assert!(files.len() > 30, "{files:?}");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for call in ["command(&", "run(&", "succeeds(&", "cargo(&", "cargo_fuzz(&"] {
                // The first argument ends where a bracket closes that it did not open.
                for rest in text.split(call).skip(1).filter(|rest| !rest.starts_with('"')) {
                    let mut depth = 1;
                    let argument: String = rest
                        .chars()
                        .take_while(|c| {
                            depth += i32::from(*c == '(') - i32::from(*c == ')');
                            depth > 0
                        })
                        .collect();
                    assert!(!argument.contains(".display()"), "{}: {call}{argument})", file.display());
                }
            }
        }
    }

    #[test]
    fn root_is_told_from_other_users() {
        let folder = std::env::temp_dir().join(format!("shm2-test-user-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&folder).unwrap());
        std::fs::remove_dir(&folder).unwrap();
        assert_eq!(is_root(), owner == 0);
    }

    #[test]
    fn a_program_may_have_blanks_in_its_path() {
        let folder = std::env::temp_dir().join(format!("shm2-test-blank {}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/bin/true", folder.join("a program")).unwrap();
        let status = program(folder.join("a program")).status();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(status.unwrap().success());
    }
}
