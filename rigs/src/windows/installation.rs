//! The folder with the cross compiler, Wine, and GStreamer for Windows, and the steps that fill it.

use super::environment::{Environment, GNU, MSVC};
use super::wine::end_server;
use crate::commands::{absolute, rig_file};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use xtask::Outcome;
use xtask::run::{command, is_root, succeeds, target};

/// Version of GStreamer's wheels on PyPI.
const GSTREAMER: &str = "1.28.8";

/// The last five are dependencies, named so that they are unpacked also where they are installed.
const PACKAGES: &str = "gcc-mingw-w64-x86-64-posix mingw-w64-tools wine64 libz-mingw-w64 \
    binutils-mingw-w64-x86-64 gcc-mingw-w64-x86-64-posix-runtime mingw-w64-common mingw-w64-x86-64-dev libwine";

/// What the steps call, and the name under which it is reported when it is missing.
const TOOLS: &[(&str, &str)] = &[
    ("apt-get --version", "apt-get"),
    ("dpkg --version", "dpkg"),
    ("rustup --version", "rustup"),
    ("python3 -m pip --version", "pip for python3"),
    ("pkg-config --version", "pkg-config"),
    ("bash --version", "bash"),
    ("timeout --version", "timeout"),
];

/// A script that makes a part of the installation. It runs in the installation's folder.
struct Step {
    name: &'static str,
    limit_s: u32,
    script: &'static str,
}

const STEPS: &[Step] = &[
    Step { name: "packages of the cross compiler and of Wine", limit_s: 900, script: "windows/unpack.sh" },
    Step { name: "Rust with the standard library for Windows", limit_s: 600, script: "windows/toolchain.sh" },
    Step { name: "GStreamer for Windows", limit_s: 600, script: "windows/gstreamer.sh" },
    Step { name: "import libraries", limit_s: 300, script: "windows/imports.sh" },
    Step { name: "Wine's files", limit_s: 300, script: "windows/prefix.sh" },
];

/// Source of a library that Wine 8 lacks; `prefix.sh` builds it.
const RANDOM_NUMBERS: &str = "windows/bcryptprimitives.c";

/// A complete installation.
pub struct Installation {
    /// Absolute, without characters that a shell or cargo would interpret.
    pub folder: PathBuf,
}

/// The installation in the target directory, made when it is missing or out of date. An error is the reason why tests
/// are skipped.
pub fn prepare() -> Result<Installation, String> {
    let version = compiler_release()?;
    let folder = target().join("windows");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let folder = absolute(&folder)?;
    if folder.to_string_lossy().contains(|c: char| c.is_whitespace() || "'\"\\$`".contains(c)) {
        return Err(format!("blanks or quotes in the path {}", folder.display()));
    }
    let installation = Installation { folder };
    let marker = installation.folder.join("ready");
    let content = installation.marker_content(&version)?;
    if std::fs::read_to_string(&marker).is_ok_and(|ready| ready == content) {
        installation.link_wine()?;
        return Ok(installation);
    }
    check_tools()?;
    installation.set_up(&version)?;
    std::fs::write(&marker, content).map_err(|e| format!("{}: {e}", marker.display()))?;
    Ok(installation)
}

/// The version of the compiler in use: the tests for Windows take the same.
fn compiler_release() -> Result<String, String> {
    let output = command("rustc --version").output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    match version.contains(|c: char| !c.is_ascii_digit() && c != '.') || version.is_empty() {
        true => Err(format!("{:?} is not a release of Rust", text.trim())),
        false => Ok(version.into()),
    }
}

fn check_tools() -> Outcome {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("they need Linux on x86_64".into());
    }
    let missing = TOOLS.iter().filter(|(line, _)| !succeeds(line)).map(|(_, name)| *name).collect::<Vec<_>>();
    if !missing.is_empty() {
        return Err(format!("missing: {}", missing.join(", ")));
    }
    if is_root() { Ok(()) } else { Err("packages can be fetched by root only".into()) }
}

impl Installation {
    /// Everything that the result depends on: the installation is made anew when any of it changes.
    fn marker_content(&self, version: &str) -> Result<String, String> {
        let mut content = format!("{}\nRust {version}\nGStreamer {GSTREAMER}\n{PACKAGES}\n", self.folder.display());
        let scripts = STEPS.iter().map(|step| rig_file(step.script));
        for file in scripts.chain([rig_file(RANDOM_NUMBERS)]) {
            content += &std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        Ok(content)
    }

    /// Makes all of it anew.
    fn set_up(&self, version: &str) -> Outcome {
        println!("windows: setting up in {} (a minute or two, 2.5 GB)", self.folder.display());
        let begin = Instant::now();
        end_server(self);
        let failed = |e: std::io::Error| format!("{}: {e}", self.folder.display());
        std::fs::remove_dir_all(&self.folder).map_err(failed)?;
        std::fs::create_dir_all(self.folder.join("bin")).map_err(failed)?;
        self.link_wine()?;
        let outcome = STEPS.iter().try_for_each(|step| self.run_step(step, version)).and_then(|()| self.try_pipeline());
        end_server(self);
        outcome?;
        self.report_missing_parts();
        println!("windows: set up in {} s", begin.elapsed().as_secs());
        Ok(())
    }

    fn run_step(&self, Step { name, limit_s, script }: &Step, version: &str) -> Outcome {
        let begin = Instant::now();
        let log = self.folder.join("set-up.log");
        let failed = |e: std::io::Error| format!("{}: {e}", log.display());
        let open = || OpenOptions::new().create(true).append(true).open(&log).map_err(failed);
        // When this process ends, `timeout` is told to end, and ends the whole group of the shell.
        let mut shell = self.program("setpriv");
        shell.args(["--pdeathsig", "TERM", "timeout", "-k", "5", &limit_s.to_string(), "bash"]).arg(rig_file(script));
        shell.env("VERSION", version).env("GSTREAMER", GSTREAMER).env("PACKAGES", PACKAGES);
        shell.env("RANDOM_NUMBERS", rig_file(RANDOM_NUMBERS));
        shell.env("GNU", GNU).env("MSVC", MSVC).env("PATH", self.search_path());
        shell.env("DEBIAN_FRONTEND", "noninteractive").env_remove("RUSTUP_TOOLCHAIN").env_remove("TMPDIR");
        let status = shell.stdout(open()?).stderr(open()?).status().map_err(failed)?;
        match status.success() {
            true => println!("windows: {name}: {} s", begin.elapsed().as_secs()),
            false => return Err(format!("{name} cannot be had ({status}); see {}", log.display())),
        }
        Ok(())
    }

    /// Runs a pipeline, which also writes GStreamer's registry of plugins.
    fn try_pipeline(&self) -> Outcome {
        let begin = Instant::now();
        let mut launch = self.program(self.wine());
        Environment::new(self, &self.folder).apply(&mut launch);
        launch.arg("gst/bin/gst-launch-1.0.exe").args(["-q", "videotestsrc", "num-buffers=5", "!", "fakesink"]);
        let output = launch.output().map_err(|e| format!("wine: {e}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("gst-launch-1.0.exe does not run ({}): {}", output.status, text.trim()));
        }
        println!("windows: a pipeline under Wine: {} s", begin.elapsed().as_secs());
        Ok(())
    }

    fn report_missing_parts(&self) {
        if !self.folder.join("imp/pc/gstreamer-check-1.0.pc").exists() {
            println!("windows: GStreamer {GSTREAMER} comes without its library for tests (gstcheck)");
        }
        if !self.has_msvc() {
            println!("windows: no standard library for {MSVC}");
        }
    }

    /// Whether there is a standard library for [`MSVC`].
    pub fn has_msvc(&self) -> bool {
        self.folder.join("tc/lib/rustlib").join(MSVC).join("lib").exists()
    }

    /// The program that runs Windows programs.
    pub fn wine(&self) -> PathBuf {
        self.folder.join("bin/wine")
    }

    /// Links `bin/wine` to the script in this copy of the project: several copies may share a target directory.
    fn link_wine(&self) -> Outcome {
        let link = self.wine();
        // There is none in a new installation.
        let _ = std::fs::remove_file(&link);
        let script = absolute(&rig_file("windows/wine.sh"))?;
        std::os::unix::fs::symlink(script, &link).map_err(|e| format!("{}: {e}", link.display()))
    }

    /// A command that runs in this folder, and reads and shows nothing.
    pub fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let mut program = Command::new(name);
        program.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        program
    }

    /// `PATH` with the installation's tools before all others.
    pub fn search_path(&self) -> OsString {
        let mut folders = OsString::new();
        for folder in ["tc/bin", "sys/usr/bin", "bin"] {
            folders.push(self.folder.join(folder));
            folders.push(":");
        }
        folders.push(std::env::var_os("PATH").unwrap_or_default());
        folders
    }
}
