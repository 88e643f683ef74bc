//! Programs for aarch64 on this machine: the compiler that builds them, and QEMU, which runs them.
//!
//! The kernel is told to start such programs with QEMU (`binfmt_misc`), so that tests can start other programs as they
//! do elsewhere. It is told so in a namespace, which ends with the command that runs there.

use crate::commands::{quietly, rig_file};
use crate::debian::MIRROR;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::run::{command, run_command, succeeds, target};
use xtask::{Outcome, setup};

/// The target that is built and run.
pub const TRIPLE: &str = "aarch64-unknown-linux-gnu";

const PACKAGES: &[&str] = &["gcc-aarch64-linux-gnu", "g++-aarch64-linux-gnu", "qemu-user-static"];
const QEMU: &str = "/usr/bin/qemu-aarch64-static";
/// What is unpacked for aarch64: to link with, and to run.
const ROOT_PACKAGES: &str = "libc6-dev libstdc++6 libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev \
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3 python3-numpy python3-pytest \
    python3-pytest-timeout";
/// What the tests call, and what it is for this target.
const COMPILERS: &[(&str, &str)] = &[("gcc", "aarch64-linux-gnu-gcc"), ("g++", "aarch64-linux-gnu-g++")];

/// All that it takes to build and run for aarch64.
pub struct Emulation {
    /// Whether the kernel keeps the entry for QEMU in a user namespace.
    is_private: bool,
    /// A folder whose `gcc` compiles for aarch64.
    compilers: PathBuf,
    /// The target's libraries and programs.
    pub root: PathBuf,
}

/// Installs what is missing. An error is the reason why it cannot be had.
pub fn prepare() -> Result<Emulation, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("QEMU and the cross compiler are taken on Linux on x86_64 only".into());
    }
    if !succeeds("aarch64-linux-gnu-g++ --version") || !Path::new(QEMU).exists() {
        setup::install(PACKAGES)?;
    }
    add_target(TRIPLE)?;
    let compilers = std::path::absolute(target().join("cross/bin")).map_err(|e| e.to_string())?;
    link_compilers(&compilers)?;
    let root = system_root()?;
    let mut emulation = Emulation { is_private: true, compilers, root };
    if !emulation.works() {
        emulation.is_private = false;
        if !emulation.works() {
            return Err("the kernel starts no programs for aarch64 by binfmt_misc".into());
        }
    }
    Ok(emulation)
}

/// Installs the standard library for a target.
pub fn add_target(triple: &str) -> Outcome {
    match succeeds(&format!("rustup target add {triple}")) {
        true => Ok(()),
        false => Err(format!("`rustup target add {triple}` fails here")),
    }
}

/// Debian packages for aarch64, unpacked below the target directory, once.
fn system_root() -> Result<PathBuf, String> {
    let root = std::path::absolute(target().join("trees/arm64")).map_err(|e| e.to_string())?;
    // The cross compiler comes with the C library of this release; what it links must find no older one.
    let release = release()?;
    let wanted = format!("{release} {ROOT_PACKAGES}\n");
    if fs::read_to_string(root.join("complete")).is_ok_and(|complete| complete == wanted) {
        return Ok(root);
    }
    println!("cross: unpacking Debian {release} for arm64 into {} (a minute, 400 MB)", root.display());
    let mut unpack = command("bash");
    unpack.arg(rig_file("cross/sysroot.sh")).arg(&root).env("MIRROR", MIRROR).env("RELEASE", release);
    unpack.env("ARCHITECTURE", "arm64").env("PACKAGES", ROOT_PACKAGES);
    if !quietly(unpack) {
        return Err("Debian's packages for arm64 cannot be fetched and unpacked".into());
    }
    fs::write(root.join("complete"), wanted).map_err(|e| format!("{}: {e}", root.display()))?;
    Ok(root)
}

/// The name of this machine's release of Debian.
fn release() -> Result<String, String> {
    let text = fs::read_to_string("/etc/os-release").map_err(|e| format!("/etc/os-release: {e}"))?;
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_matches('"'));
    match (value("ID="), value("VERSION_CODENAME=")) {
        (Some("debian"), Some(release)) => Ok(release.to_owned()),
        _ => Err("this is not a release of Debian".into()),
    }
}

fn link_compilers(folder: &Path) -> Outcome {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    for (name, compiler) in COMPILERS {
        // Of the last run; there may be none.
        let _ = fs::remove_file(folder.join(name));
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(compiler), folder.join(name)).map_err(failed)?;
    }
    Ok(())
}

impl Emulation {
    /// Cargo for aarch64, as it builds.
    pub fn cargo(&self, line: &str) -> Command {
        let mut cargo = command(line);
        self.set_variables(&mut cargo);
        cargo
    }

    /// A program where those for aarch64 can be started, with the variables of [`cargo`](Self::cargo).
    pub fn enter(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter_with("", program)
    }

    /// As [`enter`](Self::enter), with process ids of its own: no process that it starts outlives it. QEMU's forked
    /// processes may hang.
    pub fn enter_alone(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter_with("--pid --mount-proc", program)
    }

    fn enter_with(&self, options: &str, program: impl AsRef<OsStr>) -> Command {
        let form = if self.is_private { "private" } else { "shared" };
        let user = if self.is_private { "--user --map-root-user" } else { "" };
        let mut enter = command(&format!("unshare {user} {options} --mount --fork --kill-child sh"));
        enter.arg(rig_file("cross/enter.sh")).args([form, QEMU]).arg(program);
        self.set_variables(&mut enter);
        enter.env("QEMU_LD_PREFIX", &self.root);
        enter
    }

    fn set_variables(&self, command: &mut Command) {
        let libraries = self.libraries();
        command.env("CARGO_BUILD_TARGET", TRIPLE);
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
        command.env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = [self.compilers.clone()].into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(paths).unwrap_or(path.clone()));
        let flags = format!("-Clink-arg=--sysroot={}", self.root.display());
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
        command.env("PKG_CONFIG_ALLOW_CROSS", "1").env("PKG_CONFIG_SYSROOT_DIR_aarch64_unknown_linux_gnu", &self.root);
        let places = [libraries.join("pkgconfig"), self.root.join("usr/share/pkgconfig")];
        let places = std::env::join_paths(places).unwrap_or_default();
        command.env("PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu", places);
        // Otherwise the user's variable for this machine would count.
        command.env("PKG_CONFIG_PATH_aarch64_unknown_linux_gnu", "");
    }

    /// The target's folder of libraries.
    pub fn libraries(&self) -> PathBuf {
        self.root.join("usr/lib/aarch64-linux-gnu")
    }

    /// Compiles a program that asks for `futex_waitv`, runs it, and prints its answer.
    fn works(&self) -> bool {
        let program = target().join("cross/futex_waitv");
        let mut compile = command("aarch64-linux-gnu-gcc -static -o");
        compile.arg(&program).arg(format!("--sysroot={}", self.root.display())).arg(rig_file("cross/futex_waitv.c"));
        let Ok(program) = std::path::absolute(program).map_err(|_| ()) else { return false };
        let output = quietly(compile).then(|| self.enter(program).output());
        let Some(Ok(output)) = output else { return false };
        let answer = String::from_utf8_lossy(&output.stdout);
        println!("cross: futex_waitv under QEMU: {}", answer.trim());
        output.status.success()
    }
}

/// Runs a command with its time.
pub fn timed(command: Command, name: &str) -> Outcome {
    let begin = std::time::Instant::now();
    let outcome = run_command(command, name);
    super::RAN.fetch_add(usize::from(outcome.is_ok()), std::sync::atomic::Ordering::Relaxed);
    println!("cross: {name}: {} s", begin.elapsed().as_secs());
    outcome
}
