//! The tests for Windows on Linux: a cross compiler, Wine, and the GStreamer that the project itself publishes for Windows.
//!
//! Nothing is installed in the system. All of it is unpacked into `target/windows`, once; the marker `ready` says what was.
//! Wine is not Windows: access lists, sessions, the privilege that `Global\` takes, and drivers are not shown by it.

mod scripts;

use crate::Outcome;
use crate::newer::absolute;
use crate::run::{command, run_command, succeeds, target, test_threads};
use scripts::{IMPORTS, PREFIX, TOOLCHAIN, UNPACK, WHEELS, WRAPPER};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is run, in this order, up to the first that fails. A line with [`MSVC`] in it needs the standard library for it, and is
/// skipped without.
const SUITE: &[&str] = &[
    // One line, so that all have the same features of their dependencies, which are then built once. Under Wine clocks are read
    // too coarsely for what is skipped.
    "cargo test -p shm2 -p shm2-ring -p shm2-cli -p gst-plugin-shm2 -p shm2-relayd --lib --test ring --test sections \
     --test backends --test transport --test events --test model --test heap --test processes --test windows --test harness \
     --test behaviour --test zero_copy --test time -- --skip sound_and_picture",
    "cargo clippy -p shm2 -p shm2-ring -p shm2-cli -p gst-plugin-shm2 -p shm2-relayd -- -D warnings",
    "cargo clippy -p shm2 -p shm2-ring -p shm2-cli -p gst-plugin-shm2 -p shm2-relayd --target x86_64-pc-windows-msvc \
     -- -D warnings",
];

/// Version of GStreamer's wheels on PyPI.
const GSTREAMER: &str = "1.28.8";

/// Built and run.
const GNU: &str = "x86_64-pc-windows-gnu";

/// Checked by clippy only: linking for it takes Microsoft's tools.
const MSVC: &str = "x86_64-pc-windows-msvc";

/// The last five are dependencies, named so that they are unpacked also where they are installed.
const PACKAGES: &str = "gcc-mingw-w64-x86-64-posix mingw-w64-tools wine64 libz-mingw-w64 \
    binutils-mingw-w64-x86-64 gcc-mingw-w64-x86-64-posix-runtime mingw-w64-common mingw-w64-x86-64-dev libwine";

/// What the set-up calls, and what to say if it is not there.
const TOOLS: &[(&str, &str)] = &[
    ("apt-get --version", "apt-get"),
    ("dpkg --version", "dpkg"),
    ("rustup --version", "rustup"),
    ("python3 -m pip --version", "pip for python3"),
    ("pkg-config --version", "pkg-config"),
    ("bash --version", "bash"),
    ("timeout --version", "timeout"),
];

/// Name, time limit in seconds, and script of each step of the set-up. They run in the place.
const STEPS: &[(&str, u32, &str)] = &[
    ("packages of the cross compiler and of Wine", 900, UNPACK),
    ("Rust with the standard library for Windows", 600, TOOLCHAIN),
    ("GStreamer for Windows", 600, WHEELS),
    ("import libraries", 300, IMPORTS),
    ("Wine's files", 300, PREFIX),
];

/// Wine's own processes, which stay as long as its server.
const HELPERS: &[&str] = &[
    "wineserver",
    "services.exe",
    "explorer.exe",
    "winedevice.exe",
    "plugplay.exe",
    "svchost.exe",
    "rpcss.exe",
    "conhost.exe",
];

/// Sets up and runs the suite, where that is possible.
pub fn windows() -> Outcome {
    match prepare() {
        Err(why) => {
            println!("skipped: the tests for Windows: {why}");
            Ok(())
        }
        Ok(place) => test(&place),
    }
}

/// Runs cargo for Windows with these arguments: `cargo xtask windows run --bin shm2_consumer -- winshm://Local/x 100`.
pub fn cargo(arguments: &[&str]) -> Outcome {
    let place = prepare()?;
    let mut cargo = command("cargo");
    cargo.args(arguments);
    Environment::new(&place, &absolute(&target())?.join("win")).apply(&mut cargo);
    run_command(cargo, &format!("cargo {}", arguments.join(" ")))
}

/// The set-up in the target directory. Errors are reasons to go without.
fn prepare() -> Result<Place, String> {
    prepare_in(&target().join("windows"))
}

fn prepare_in(path: &Path) -> Result<Place, String> {
    let version = release()?;
    std::fs::create_dir_all(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let place = Place { path: absolute(path)? };
    if place.path.to_string_lossy().contains(|c: char| c.is_whitespace() || "'\"\\$`".contains(c)) {
        return Err(format!("blanks or quotes in the path {}", place.path.display()));
    }
    let content = place.content(&version);
    if std::fs::read_to_string(place.path.join("ready")).is_ok_and(|ready| ready == content) {
        place.write_wrapper()?;
        return Ok(place);
    }
    check_tools()?;
    place.set_up(&version)?;
    std::fs::write(place.path.join("ready"), content).map_err(|e| format!("{}: {e}", place.path.display()))?;
    Ok(place)
}

/// The version of the compiler in use: the tests for Windows take the same.
fn release() -> Result<String, String> {
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
    match command("id -u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0") {
        true => Ok(()),
        false => Err("packages can be fetched by root only".into()),
    }
}

/// A folder with all that it takes.
struct Place {
    /// Absolute, and plain enough for shell scripts.
    path: PathBuf,
}

impl Place {
    /// What the marker says when this set-up is complete: everything that went into it.
    fn content(&self, version: &str) -> String {
        let scripts = STEPS.iter().map(|(_, _, script)| *script).collect::<String>();
        format!("{}\nRust {version}\nGStreamer {GSTREAMER}\n{PACKAGES}\n{scripts}", self.path.display())
    }

    /// Makes all of it anew.
    fn set_up(&self, version: &str) -> Outcome {
        println!("windows: setting up in {} (a minute or two, 2.5 GB)", self.path.display());
        let begin = Instant::now();
        self.end_server();
        let failed = |e: std::io::Error| format!("{}: {e}", self.path.display());
        std::fs::remove_dir_all(&self.path).map_err(failed)?;
        std::fs::create_dir_all(self.path.join("bin")).map_err(failed)?;
        self.write_wrapper()?;
        let outcome = STEPS.iter().try_for_each(|step| self.step(step, version)).and_then(|()| self.try_out());
        self.end_server();
        outcome?;
        self.say_what_is_missing();
        println!("windows: set up in {} s", begin.elapsed().as_secs());
        Ok(())
    }

    fn step(&self, (name, limit_s, script): &(&str, u32, &str), version: &str) -> Outcome {
        let begin = Instant::now();
        let log = self.path.join("set-up.log");
        let failed = |e: std::io::Error| format!("{}: {e}", log.display());
        let open = || OpenOptions::new().create(true).append(true).open(&log).map_err(failed);
        let mut shell = self.program("timeout");
        shell.args(["-k", "5", &limit_s.to_string(), "bash", "-xeuo", "pipefail", "-c", script]);
        shell.env("PLACE", &self.path).env("VERSION", version).env("GSTREAMER", GSTREAMER).env("PACKAGES", PACKAGES);
        shell.env("GNU", GNU).env("MSVC", MSVC).env("PATH", self.search_path());
        shell.env("DEBIAN_FRONTEND", "noninteractive").env_remove("RUSTUP_TOOLCHAIN").env_remove("TMPDIR");
        let status = shell.stdout(open()?).stderr(open()?).status().map_err(failed)?;
        match status.success() {
            true => println!("windows: {name}: {} s", begin.elapsed().as_secs()),
            false => return Err(format!("{name} cannot be had ({status}); see {}", log.display())),
        }
        Ok(())
    }

    /// A pipeline, which also leaves the registry of plugins for later.
    fn try_out(&self) -> Outcome {
        let begin = Instant::now();
        let mut launch = self.program(self.path.join("bin/wine"));
        Environment::new(self, &self.path).apply(&mut launch);
        launch.arg("gst/bin/gst-launch-1.0.exe").args(["-q", "videotestsrc", "num-buffers=5", "!", "fakesink"]);
        let output = launch.output().map_err(|e| format!("wine: {e}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("gst-launch-1.0.exe does not run ({}): {}", output.status, text.trim()));
        }
        println!("windows: a pipeline under Wine: {} s", begin.elapsed().as_secs());
        Ok(())
    }

    fn say_what_is_missing(&self) {
        if !self.path.join("imp/pc/gstreamer-check-1.0.pc").exists() {
            println!("windows: GStreamer {GSTREAMER} comes without its library for tests (gstcheck)");
        }
        if !self.has_msvc() {
            println!("windows: no standard library for {MSVC}");
        }
    }

    fn has_msvc(&self) -> bool {
        self.path.join("tc/lib/rustlib").join(MSVC).join("lib").exists()
    }

    /// On every run, for it costs nothing.
    fn write_wrapper(&self) -> Outcome {
        let wrapper = self.path.join("bin/wine");
        let text =
            WRAPPER.replace("@PLACE@", &self.path.display().to_string()).replace("@DRIVE@", &on_drive(&self.path));
        let failed = |e: std::io::Error| format!("{}: {e}", wrapper.display());
        std::fs::write(&wrapper, text).map_err(failed)?;
        match command("chmod +x").arg(&wrapper).status().map_err(failed)?.success() {
            true => Ok(()),
            false => Err(format!("{} cannot be made a program", wrapper.display())),
        }
    }

    /// A command that runs in this folder, and reads and shows nothing.
    fn program(&self, name: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut program = Command::new(name);
        program.current_dir(&self.path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        program
    }

    /// The tools of the set-up before all others.
    fn search_path(&self) -> OsString {
        let mut folders = OsString::new();
        for folder in ["tc/bin", "sys/usr/bin", "bin"] {
            folders.push(self.path.join(folder));
            folders.push(":");
        }
        folders.push(std::env::var_os("PATH").unwrap_or_default());
        folders
    }

    /// Calls Wine's server; false also if there was nothing to do for it.
    fn server(&self, option: &str) -> bool {
        let mut server = self.program("timeout");
        server.arg("20").arg(self.path.join("sys/usr/lib/wine/wineserver")).arg(option);
        server.env("WINEPREFIX", self.path.join("prefix"));
        server.env("LD_LIBRARY_PATH", self.path.join("sys/usr/lib/x86_64-linux-gnu"));
        server.status().is_ok_and(|status| status.success())
    }

    fn end_server(&self) {
        if self.path.join("prefix").exists() && self.server("-k") {
            let _ = self.server("-w");
        }
    }

    /// Processes that run under this Wine, without the `except`ed: names and ids.
    fn processes(&self, except: &[&str]) -> Vec<String> {
        let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let named = ids.filter_map(|id| Some((id, self.name_under_wine(id)?)));
        named.filter(|(_, name)| !except.contains(&name.as_str())).map(|(id, name)| format!("{name} ({id})")).collect()
    }

    /// The name of the program in a process, if files of this Wine are mapped there.
    fn name_under_wine(&self, id: u32) -> Option<String> {
        let wine = self.path.join("sys/usr/lib").display().to_string();
        let maps = std::fs::read_to_string(format!("/proc/{id}/maps")).ok()?;
        if !maps.lines().any(|line| line.contains(&wine) && line.contains("/wine/")) {
            return None;
        }
        let line = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let program = String::from_utf8_lossy(line.split(|byte| *byte == 0).next()?).into_owned();
        Some(program.rsplit(['/', '\\']).next()?.to_owned())
    }
}

/// The variables under which cargo builds for Windows and runs what it built.
struct Environment(Vec<(String, OsString)>);

impl Environment {
    /// `built` is where cargo puts what it builds.
    fn new(place: &Place, built: &Path) -> Self {
        let at = |inner: &str| place.path.join(inner);
        let mut variables: Vec<(String, OsString)> = Vec::new();
        let mut set = |name: &str, value: OsString| variables.push((name.to_owned(), value));
        set("PATH", place.search_path());
        set("CARGO_BUILD_TARGET", GNU.into());
        set("CARGO_TARGET_DIR", built.into());
        set("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", "x86_64-w64-mingw32-gcc-posix".into());
        set("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", at("bin/wine").into());
        set("CC_x86_64_pc_windows_gnu", "x86_64-w64-mingw32-gcc-posix".into());
        set("AR_x86_64_pc_windows_gnu", "x86_64-w64-mingw32-ar".into());
        set("PKG_CONFIG_ALLOW_CROSS", "1".into());
        for target in [GNU, MSVC] {
            let target = target.replace('-', "_");
            set(&format!("PKG_CONFIG_LIBDIR_{target}"), at("imp/pc").into());
            // Else the user's for this machine would count.
            set(&format!("PKG_CONFIG_PATH_{target}"), "".into());
        }
        set("GST_PLUGIN_SYSTEM_PATH_1_0", on_drive(&at("gst/lib/gstreamer-1.0")).into());
        set("GST_PLUGIN_SCANNER_1_0", on_drive(&at("gst/libexec/gstreamer-1.0/gst-plugin-scanner.exe")).into());
        set("GST_REGISTRY_1_0", on_drive(&at("registry.bin")).into());
        set("LANG", "C.UTF-8".into());
        set("LC_ALL", "C.UTF-8".into());
        Self(variables)
    }

    fn apply(&self, command: &mut Command) {
        // What rustup and cargo set for this program: with these, the compiler would take itself for the user's, which has no
        // standard library for Windows.
        command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}

/// How a Windows program under Wine names a file of this machine.
fn on_drive(path: &Path) -> String {
    format!("Z:{}", path.display().to_string().replace('/', "\\"))
}

/// Wine's server with its helpers, up between the programs too. It ends with this value, and by itself ten minutes after the
/// last program if this process was killed.
struct Server<'a>(&'a Place);

impl<'a> Server<'a> {
    fn start(place: &'a Place) -> Result<Self, String> {
        // Of a job that was killed.
        place.end_server();
        place.server("-p600");
        let server = Self(place);
        // The helpers come with the first program and stay in its process group: not in that of a test, whose group is killed
        // when its time is over.
        let mut first = place.program("setsid");
        first.arg(place.path.join("bin/wine")).args(["cmd", "/c", "exit 0"]).env("WINE_LIMIT", "60");
        match first.status() {
            Ok(status) if status.success() => Ok(server),
            Ok(status) => Err(format!("Wine does not start: {status}")),
            Err(e) => Err(format!("setsid: {e}")),
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.0.end_server();
    }
}

/// The suite, the skips of its tests, and what it left running.
fn test(place: &Place) -> Outcome {
    let begin = Instant::now();
    let built = absolute(&target())?;
    let skipped = built.join("skipped-windows.txt");
    File::create(&skipped).map_err(|e| format!("{}: {e}", skipped.display()))?;
    let mut environment = Environment::new(place, &built.join("win"));
    environment.0.push(("SHM2_SKIPPED".into(), on_drive(&skipped).into()));
    environment.0.push(("RUST_TEST_THREADS".into(), test_threads().into()));
    let server = Server::start(place)?;
    let outcome = run_suite(place, &environment);
    print!("{}", std::fs::read_to_string(&skipped).unwrap_or_default());
    outcome?;
    wait_for_end(place, HELPERS)?;
    drop(server);
    wait_for_end(place, &[])?;
    println!("windows: all green, {} s", begin.elapsed().as_secs());
    Ok(())
}

fn run_suite(place: &Place, environment: &Environment) -> Outcome {
    for line in SUITE {
        if line.contains(MSVC) && !place.has_msvc() {
            println!("skipped: {line}: no standard library for {MSVC}");
            continue;
        }
        let begin = Instant::now();
        let mut cargo = command(line);
        environment.apply(&mut cargo);
        let outcome = run_command(cargo, line);
        println!("windows: {line}: {} s", begin.elapsed().as_secs());
        outcome?;
    }
    Ok(())
}

/// Programs that were told to end may take a moment.
fn wait_for_end(place: &Place, except: &[&str]) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = place.processes(except);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("still running under Wine: {}", left.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
