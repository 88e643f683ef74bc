//! What a release consists of, in `target/dist`: packages for Debian, wheels, the sources, lists of what is inside, and
//! check sums. docs/packages.md describes it.

use crate::run::{command, root, run, run_command, succeeds, target};
use crate::{Outcome, camera, obs, python, setup, zenoh};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What making packages takes, beside what building takes.
const PACKAGES: &[&str] = &["dpkg-dev", "binutils", "xz-utils", "lintian"];
const CARGO_DEB: &str = "cargo install --locked cargo-deb --version 3.8.0";
const CARGO_CYCLONEDX: &str = "cargo install --locked cargo-cyclonedx --version 0.5.9";
/// All that is shipped, by one build: parts of it would have dependencies with other features.
const BUILD: &str =
    "cargo build --locked -p gst-plugin-shm2 -p shm2-cli -p shm2-tool -p shm2-relayd -p shm2-rtspd -p shm2-capi";
/// The crates that packages are made of, with options of cargo-deb. Multi-arch "same" puts libraries into the folder of
/// the machine's architecture.
const DEBS: &[(&str, &[&str])] = &[
    ("gst-plugin-shm2", &["--multiarch", "same"]),
    ("shm2-tool", &["--multiarch", "foreign"]),
    ("shm2-relayd", &[]),
    ("shm2-rtspd", &[]),
    ("shm2-capi", &["--multiarch", "same"]),
    ("shm2-capi", &["--multiarch", "same", "--variant", "dev"]),
];
/// Is made where OBS's headers are.
const OBS: (&str, &[&str]) = ("shm2-capi", &["--multiarch", "same", "--variant", "obs"]);
/// The crates of which a list of dependencies is made, with the name of its file.
const BILLS: &[(&str, &str)] = &[
    ("crates/gst", "gstreamer1.0-shm2"),
    ("crates/tool", "shm2-tools"),
    ("crates/relayd", "shm2-relayd"),
    ("bridges/rtsp", "shm2-rtspd"),
    ("crates/capi", "libshm2"),
    ("bindings/python", "python3-shm2"),
    ("bridges/camera", "shm2-camera"),
    ("bridges/zenoh", "shm2-zenoh"),
];

/// How what is packed is built.
#[derive(Clone, Copy)]
pub enum Build {
    /// As it is shipped.
    Release,
    /// For tests of the packages: the dependencies, and the Python package, with little optimization.
    Quick,
}

impl Build {
    /// Cargo's profile, and the folder below the target directory.
    fn profile(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "counts",
        }
    }
}

/// Makes everything.
pub fn dist() -> Outcome {
    // One folder for all files, as on the page of a release: SHA256SUMS has only names.
    packages(Build::Release, &target().join("dist"))?;
    step("wheels and the Python package's sources");
    wheels()?;
    step("sources");
    sources()?;
    step("dependencies (CycloneDX)");
    bills()?;
    step("check sums");
    sums()
}

/// Makes the packages for Debian in a folder of their own, and checks them with lintian.
pub fn packages(build: Build, folder: &Path) -> Outcome {
    step("tools");
    setup::setup()?;
    setup::ensure(PACKAGES)?;
    if !succeeds("cargo deb --version") {
        run(CARGO_DEB)?;
    }
    let profile = build.profile();
    step("programs and libraries");
    run(&format!("{BUILD} --profile {profile}"))?;
    camera::build(profile)?;
    zenoh::build(profile, matches!(build, Build::Quick))?;
    step("the Python package");
    let wheel = python::system_wheel(matches!(build, Build::Release))?;
    step("packages for Debian");
    stage(profile, wheel.as_deref())?;
    let built = target().join(profile);
    let has_obs = obs::stage(&built, &built.join("packaging/obs-shm2"))?;
    // Of the last run; there may be none.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for (name, options) in DEBS.iter().chain(has_obs.then_some(&OBS)) {
        deb(folder, &["--profile", profile, "-p", name], options, &target())?;
    }
    for manifest in ["bridges/camera/Cargo.toml", "bridges/zenoh/Cargo.toml"] {
        deb(folder, &["--profile", profile, "--manifest-path", manifest], &[], &target())?;
    }
    if wheel.is_some() {
        deb(folder, &["--manifest-path", "bindings/python/Cargo.toml"], &[], &target().join("python"))?;
    }
    lintian(folder)
}

fn step(what: &str) {
    println!("\n=== dist: {what}");
}

/// Makes the files that cargo does not build.
fn stage(profile: &str, wheel: Option<&Path>) -> Outcome {
    let mut stage = command("sh packaging/debian/stage.sh");
    stage.arg(target().join(profile)).arg(env!("CARGO_PKG_VERSION"));
    if let Some(wheel) = wheel {
        stage.arg(wheel).arg(target().join("python/release"));
    }
    run_command(stage, "packaging/debian/stage.sh")
}

/// Makes one package of what is built already. finish.sh compresses it once more, so here it is done fast.
fn deb(folder: &Path, which: &[&str], options: &[&str], built: &Path) -> Outcome {
    let mut deb = command("cargo deb --no-build --strip --quiet --fast --output");
    deb.arg(folder).args(which).args(options).env("CARGO_TARGET_DIR", built);
    let known = files(folder, "deb")?;
    run_command(deb, &format!("cargo deb {} {}", which.join(" "), options.join(" ")))?;
    let made = files(folder, "deb")?.into_iter().find(|path| !known.contains(path));
    let made = made.ok_or_else(|| format!("cargo deb {} made no package", which.join(" ")))?;
    let mut finish = command("sh packaging/debian/finish.sh");
    finish.arg(&made);
    run_command(finish, &format!("packaging/debian/finish.sh {}", made.display()))
}

/// The files of a folder with this extension, in order.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    paths.sort();
    Ok(paths)
}

fn lintian(folder: &Path) -> Outcome {
    // The suppressed tag asks for the number of a bug in Debian's tracker, where these packages are not.
    let line = "lintian --allow-root --profile debian --fail-on error,warning \
        --suppress-tags initial-upload-closes-no-bugs";
    let mut lintian = command(line);
    lintian.args(files(folder, "deb")?);
    run_command(lintian, &format!("{line} {}/*.deb", folder.display()))
}

fn wheels() -> Outcome {
    python::wheels()?;
    for (folder, extension) in [("wheels-x86_64", "whl"), ("wheels-aarch64", "whl"), ("sdist", "gz")] {
        let folder = target().join("python").join(folder);
        // What could not be built was reported as skipped.
        for file in files(&folder, extension).unwrap_or_default() {
            keep(&file)?;
        }
    }
    Ok(())
}

/// Copies a file into the folder of the release.
fn keep(file: &Path) -> Outcome {
    let name = file.file_name().unwrap_or_default();
    let copied = fs::copy(file, target().join("dist").join(name));
    copied.map(drop).map_err(|e| format!("{}: {e}", file.display()))
}

/// The files of the last commit.
fn sources() -> Outcome {
    let name = format!("shm2-{}", env!("CARGO_PKG_VERSION"));
    if !succeeds("git rev-parse HEAD") {
        println!("skipped: the archive of the sources: this is no git repository");
        return Ok(());
    }
    // The Python package's sources have the name without this word.
    let file = target().join(format!("dist/{name}-source.tar.gz"));
    let mut archive = command("git archive --format=tar.gz HEAD");
    archive.arg(format!("--prefix={name}/")).arg("-o").arg(&file);
    run_command(archive, &format!("git archive HEAD -o {}", file.display()))
}

/// Lists the dependencies of what is shipped.
fn bills() -> Outcome {
    if !succeeds("cargo cyclonedx --version") {
        run(CARGO_CYCLONEDX)?;
    }
    let outcome = list_dependencies();
    // Each member of the workspace has got one, also when it failed in the middle.
    run("find . -name dist-bill.json -not -path ./target/* -delete")?;
    outcome
}

fn list_dependencies() -> Outcome {
    for manifest in
        ["Cargo.toml", "bindings/python/Cargo.toml", "bridges/camera/Cargo.toml", "bridges/zenoh/Cargo.toml"]
    {
        let line = "cargo cyclonedx --quiet --format json --spec-version 1.5 --override-filename dist-bill";
        let mut list = command(line);
        list.arg("--manifest-path").arg(root().join(manifest));
        run_command(list, &format!("{line} --manifest-path {manifest}"))?;
    }
    BILLS.iter().try_for_each(|(folder, name)| keep_bill(folder, name))
}

/// Copies a list, without the path of this machine's folder.
fn keep_bill(folder: &str, name: &str) -> Outcome {
    let made = root().join(folder).join("dist-bill.json");
    let text = fs::read_to_string(&made).map_err(|e| format!("{}: {e}", made.display()))?;
    let file = target().join(format!("dist/{name}.cdx.json"));
    let text = text.replace(&root().display().to_string(), "");
    fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))
}

/// `sha256sum --check SHA256SUMS` in the folder checks all files.
fn sums() -> Outcome {
    let folder = target().join("dist");
    let line = "find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%f\\0' | LC_ALL=C sort -z | xargs -0 sha256sum";
    let mut find = command("sh -c");
    let output = find.arg(line).current_dir(&folder).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| format!("cannot run {line:?}: {e}"))?;
    let file = folder.join("SHA256SUMS");
    if !output.status.success() {
        return Err(format!("{line:?} failed"));
    }
    fs::write(&file, &output.stdout).map_err(|e| format!("{}: {e}", file.display()))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
