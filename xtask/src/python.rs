//! The Python package of `bindings/python`: its build, tests and lints, and its wheels.
//!
//! It is installed as users do, from a wheel, into an environment below the build directory, with the tools of
//! `requirements.txt`. What is missing on a system is skipped with a line that says so.

use crate::run::{BUILD, command, root, run, run_command, succeeds, target};
use crate::{Outcome, setup};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROJECT: &str = "bindings/python";
const CLIPPY: &str = "cargo clippy --manifest-path bindings/python/Cargo.toml -- -D warnings";
const FORMAT: &str = "cargo fmt --manifest-path bindings/python/Cargo.toml -- --check";
/// Targets of wheels, with the machine in their file names.
const TARGETS: &[(&str, &str)] = &[("x86_64-unknown-linux-gnu", "x86_64"), ("aarch64-unknown-linux-gnu", "aarch64")];
/// Interpreters without a global lock. Their binaries have an ABI of their own.
const FREE_THREADED: &[&str] = &["python3.14t", "python3.15t"];

/// Sends and takes one frame.
const SDIST_WORKS: &str = "\
import os, shm2
name = f'/dev/shm/shm2-test-sdist-{os.getpid()}'
with shm2.Producer(name, format='RGB', size=(4, 2), rate=30) as producer:
    with producer.frame() as frame:
        frame.array[...] = 7
    taken = shm2.Consumer(name, timeout=5).next()
    assert taken.size == (4, 2) and bytes(taken) == bytes([7]) * 24, taken
";

/// Builds the package, installs it, and runs its tests and lints.
pub fn python() -> Outcome {
    opencv();
    let venv = Venv::new("python-venv", "python3")?;
    venv.require(&["requirements.txt"])?;
    run_command(cargo(FORMAT), FORMAT)?;
    run_command(cargo(CLIPPY), CLIPPY)?;
    let wheel = venv.build("wheels", &["--profile", "dev"])?;
    venv.install(&wheel)?;
    venv.run("ruff check .")?;
    venv.run("ruff format --check .")?;
    venv.run("mypy")?;
    venv.run("python -m mypy.stubtest shm2 --concise --allowlist stubs-allowed.txt --ignore-unused-allowlist")?;
    build_plugin()?;
    venv.test()?;
    pages()
}

/// The tutorials that need the package. `cargo xtask test` runs them as well, if the package is there by then.
fn pages() -> Outcome {
    match target().join("debug/libgstshm2.so").exists() {
        true => run("cargo test --workspace --test pages detector"),
        false => Ok(()),
    }
}

/// Builds release wheels and checks them.
pub fn wheels() -> Outcome {
    let venv = Venv::new("python-venv", "python3")?;
    if venv.require(&["requirements.txt", "requirements-wheels.txt"]).is_err() {
        println!("skipped: wheels: the tools of requirements-wheels.txt cannot be installed");
        return Ok(());
    }
    for (triple, machine) in TARGETS {
        if !succeeds(&format!("rustup target add {triple}")) {
            println!("skipped: a wheel for {machine}: rustup cannot add the target {triple}");
            continue;
        }
        let options = ["--release", "--zig", "--compatibility", "manylinux2014", "--target", triple];
        let wheel = venv.build(&format!("wheels-{machine}"), &options)?;
        venv.run_on("auditwheel show", &wheel)?;
        venv.run_on("abi3audit --strict --report", &wheel)?;
        println!("{}", wheel.display());
    }
    sdist(&venv)?;
    free_threaded()
}

/// Makes the source package, and installs it as a user does: into a new environment, from the archive alone.
fn sdist(tools: &Venv) -> Outcome {
    let folder = target().join("python/sdist");
    // Of the last run; there may be none.
    let _ = fs::remove_dir_all(&folder);
    tools.run_on("maturin sdist --out", &folder)?;
    let files = fs::read_dir(&folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let archive = files.flatten().map(|file| file.path()).next();
    let archive = archive.ok_or_else(|| format!("maturin left no archive in {}", folder.display()))?;
    let listed = command("tar -tzf").arg(&archive).output().map_err(|e| format!("cannot run tar: {e}"))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for wanted in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "PKG-INFO", "crates/shm2/src/lib.rs"] {
        if !listed.lines().any(|line| line.split_once('/').is_some_and(|(_, inner)| inner == wanted)) {
            return Err(format!("{wanted} is missing in {}", archive.display()));
        }
    }
    let venv = Venv::new("python-venv-sdist", "python3")?;
    let mut install = venv.command("pip");
    install.args(["install", "--quiet", "--disable-pip-version-check", "--force-reinstall"]).arg(&archive);
    // Dependencies of the main build are used again. pip unpacks the archive outside of the project.
    install.env("MATURIN_PEP517_ARGS", "--profile dev").current_dir(std::env::temp_dir());
    run_command(install, &format!("pip install {}", archive.display()))?;
    let mut import = venv.command("python");
    import.args(["-c", SDIST_WORKS]).current_dir(std::env::temp_dir());
    run_command(import, "a frame by the package that was built from the source package")
}

/// Builds a wheel for this machine's distribution, or says why there is none.
pub fn system_wheel(is_release: bool) -> Result<Option<PathBuf>, String> {
    let venv = Venv::new("python-venv", "python3")?;
    if venv.require(&["requirements.txt"]).is_err() {
        println!("skipped: the Python package: maturin cannot be installed");
        return Ok(None);
    }
    let profile = if is_release { "release" } else { "dev" };
    venv.build("wheels-system", &["--profile", profile, "--compatibility", "linux"]).map(Some)
}

/// Builds for an interpreter without a global lock and runs the tests on it, if there is one. Else only compiles for it.
fn free_threaded() -> Outcome {
    let found = FREE_THREADED.iter().find(|python| succeeds(&format!("{python} --version")));
    let Some(python) = found else {
        println!("skipped: tests without the global lock: none of {} is here", FREE_THREADED.join(", "));
        return check_free_threaded();
    };
    let venv = Venv::new("python-venv-free", python)?;
    venv.require(&["requirements.txt"])?;
    let wheel = venv.build("wheels-free", &["--profile", "dev", "--no-default-features"])?;
    venv.install(&wheel)?;
    venv.test()
}

/// Compiles for an interpreter without a global lock that is not here.
fn check_free_threaded() -> Outcome {
    let config = target().join("python/free-threaded.txt");
    let lines = "implementation=CPython\nversion=3.14\nshared=true\ntarget_abi=CPython-free_threaded-3.14\n\
                 pointer_width=64\nbuild_flags=Py_GIL_DISABLED\nsuppress_build_script_link_lines=true\n";
    fs::create_dir_all(target().join("python")).map_err(|e| e.to_string())?;
    fs::write(&config, lines).map_err(|e| format!("cannot write {}: {e}", config.display()))?;
    let line = "cargo check --manifest-path bindings/python/Cargo.toml --no-default-features";
    let mut check = cargo(line);
    check.env("PYO3_CONFIG_FILE", config).env("CARGO_TARGET_DIR", target().join("python/free-threaded"));
    run_command(check, &format!("{line} (without the global lock)"))
}

/// OpenCV of the system, for an example.
fn opencv() {
    // Split at blanks: a program without one.
    if !succeeds("/usr/bin/python3 -c __import__('cv2')") && setup::install(&["python3-opencv"]).is_err() {
        println!("skipped: the example with OpenCV: python3-opencv cannot be installed here");
    }
}

/// GStreamer's elements, for tests that exchange frames with them.
fn build_plugin() -> Outcome {
    match target().join("debug/libgstshm2.so").exists() || !succeeds("pkg-config gstreamer-1.0") {
        true => Ok(()),
        false => run(BUILD),
    }
}

/// A cargo command for the package's workspace.
fn cargo(line: &str) -> Command {
    let mut cargo = command(line);
    cargo.env("CARGO_TARGET_DIR", target().join("python"));
    cargo
}

/// An environment of Python below the build directory.
struct Venv(PathBuf);

impl Venv {
    fn new(name: &str, python: &str) -> Result<Self, String> {
        let venv = Self(target().join(name));
        if !venv.program("python").exists() {
            let mut make = command(&format!("{python} -m venv --clear"));
            make.arg(&venv.0);
            run_command(make, &format!("{python} -m venv {}", venv.0.display())).map_err(|error| {
                format!(
                    "{error}: install Python 3.11 or newer with its module venv (Debian: apt-get install python3-venv)"
                )
            })?;
        }
        Ok(venv)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }

    /// Installs the tools of these files, unless the last call did.
    fn require(&self, files: &[&str]) -> Outcome {
        for file in files {
            let path = root().join(PROJECT).join(file);
            let wanted = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            let stamp = self.0.join(file);
            if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
                continue;
            }
            self.run(&format!("pip install --quiet --disable-pip-version-check -r {file}"))?;
            fs::write(&stamp, wanted).map_err(|e| format!("cannot write {}: {e}", stamp.display()))?;
        }
        Ok(())
    }

    /// Builds one wheel into a folder of its own.
    fn build(&self, folder: &str, options: &[&str]) -> Result<PathBuf, String> {
        let folder = target().join("python").join(folder);
        // Of the last run; there may be none.
        let _ = fs::remove_dir_all(&folder);
        let mut maturin = self.command("maturin");
        maturin.args(["build", "--quiet", "--interpreter"]).arg(self.program("python"));
        maturin.args(options).arg("--out").arg(&folder);
        run_command(maturin, &format!("maturin build {}", options.join(" ")))?;
        let files = fs::read_dir(&folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
        let mut wheels = files.flatten().map(|file| file.path()).filter(|path| is_wheel(path));
        wheels.next().ok_or_else(|| format!("maturin left no wheel in {}", folder.display()))
    }

    fn install(&self, wheel: &Path) -> Outcome {
        self.run_on("pip install --quiet --disable-pip-version-check --no-deps --force-reinstall", wheel)
    }

    fn test(&self) -> Outcome {
        let mut tests = self.command("python");
        // Most tests wait most of the time.
        tests.args(["-m", "pytest", "-n", "4"]);
        tests.env("GST_PLUGIN_PATH", target().join("debug")).env("GST_REGISTRY", target().join("python/registry.bin"));
        run_command(tests, "pytest -n 4")
    }

    /// Runs a program of the environment in the package's folder.
    fn run(&self, line: &str) -> Outcome {
        let mut words = line.split_whitespace();
        let mut program = self.command(words.next().unwrap_or("python"));
        program.args(words);
        run_command(program, line)
    }

    /// As `run`, with a path, which may have blanks, as the last argument.
    fn run_on(&self, line: &str, path: &Path) -> Outcome {
        let mut words = line.split_whitespace();
        let mut program = self.command(words.next().unwrap_or("python"));
        program.args(words).arg(path);
        run_command(program, &format!("{line} {}", path.display()))
    }

    fn command(&self, name: &str) -> Command {
        let mut command = cargo("env");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = [self.0.join("bin")].into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(paths).unwrap_or(path.clone())).env("VIRTUAL_ENV", &self.0);
        command.env("PYO3_PYTHON", self.program("python")).current_dir(root().join(PROJECT));
        command.arg(self.program(name));
        command
    }
}

fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "whl")
}
