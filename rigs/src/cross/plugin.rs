//! The GStreamer plugin for aarch64: real pipelines, and regions that programs for aarch64 and programs of this machine
//! share.

use super::emulation::{Emulation, TRIPLE};
use crate::commands::absolute;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use xtask::Outcome;
use xtask::run::{BUILD, run, target};

const FRAMES: &str = "50";
const SIZE: &str = "video/x-raw,format=I420,width=320,height=240,framerate=25/1";
const TIME_LIMIT: Duration = Duration::from_secs(90);

/// One machine's programs.
struct Machine<'a> {
    name: &'static str,
    /// Where cargo built them.
    built: PathBuf,
    /// A folder with the plugin and nothing else that GStreamer would look at.
    plugins: PathBuf,
    /// `None` for this machine.
    emulation: Option<&'a Emulation>,
}

/// Builds for this machine, and sends frames between all pairs of the two machines.
pub fn exchange(emulation: &Emulation) -> Outcome {
    run(BUILD)?;
    let built = absolute(&target())?;
    let native = Machine::new("x86-64", built.join("debug"), None)?;
    let foreign = Machine::new("aarch64", built.join(TRIPLE).join("debug"), Some(emulation))?;
    inspect(&foreign)?;
    for (from, to) in [(&foreign, &foreign), (&native, &foreign), (&foreign, &native)] {
        let begin = Instant::now();
        programs(from, to)?;
        pipelines(from, to)?;
        println!("cross: frames from {} to {}: equal, {} s", from.name, to.name, begin.elapsed().as_secs());
    }
    Ok(())
}

impl<'a> Machine<'a> {
    fn new(name: &'static str, built: PathBuf, emulation: Option<&'a Emulation>) -> Result<Self, String> {
        let plugins = absolute(&target())?.join("cross/plugins").join(name);
        let failed = |e: std::io::Error| format!("{}: {e}", plugins.display());
        fs::create_dir_all(&plugins).map_err(failed)?;
        let link = plugins.join("libgstshm2.so");
        // Of the last run; there may be none.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(built.join("deps/libgstshm2.so"), &link).map_err(failed)?;
        Ok(Self { name, built, plugins, emulation })
    }

    /// A program of the project.
    fn own(&self, name: &str) -> Command {
        self.program(&self.built.join(name))
    }

    /// A program of GStreamer.
    fn gstreamer(&self, name: &str) -> Command {
        let folder = self.emulation.map_or(PathBuf::from("/usr/bin"), |emulation| emulation.root.join("usr/bin"));
        let mut program = self.program(&folder.join(name));
        program.env("GST_PLUGIN_PATH", &self.plugins).env("GST_REGISTRY", self.plugins.join("registry.bin"));
        if let Some(emulation) = self.emulation {
            program.env("GST_PLUGIN_SYSTEM_PATH_1_0", emulation.libraries().join("gstreamer-1.0"));
            let scanner = "gstreamer1.0/gstreamer-1.0/gst-plugin-scanner";
            program.env("GST_PLUGIN_SCANNER_1_0", emulation.libraries().join(scanner));
        }
        program
    }

    fn program(&self, path: &Path) -> Command {
        match self.emulation {
            Some(emulation) => emulation.enter(path),
            None => Command::new(path),
        }
    }
}

/// The elements are found and described.
fn inspect(machine: &Machine) -> Outcome {
    for element in ["shm2sink", "shm2src"] {
        let output = machine.gstreamer("gst-inspect-1.0").arg(element).output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !text.contains("Factory Details") {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("gst-inspect-1.0 {element} ({}): {}\n{text}{errors}", machine.name, output.status));
        }
        println!("cross: gst-inspect-1.0 {element} ({}): {} lines", machine.name, text.lines().count());
    }
    Ok(())
}

/// Numbered frames; the consumer checks every byte.
fn programs(from: &Machine, to: &Machine) -> Outcome {
    let region = Region::new("programs");
    let mut producer = from.own("shm2_producer");
    producer.arg(&region.0).args([FRAMES, "--frame-size", "64K", "--size", "8M"]);
    let mut consumer = to.own("shm2_consumer");
    consumer.arg(&region.0).arg(FRAMES);
    both(producer, consumer, &format!("shm2_producer ({}), shm2_consumer ({})", from.name, to.name))
}

/// A picture that changes, which must be the same on both sides.
fn pipelines(from: &Machine, to: &Machine) -> Outcome {
    let region = Region::new("pipelines");
    let folder = absolute(&target())?.join("cross");
    let (sent, received) = (folder.join("sent.raw"), folder.join("received.raw"));
    let mut sink = from.gstreamer("gst-launch-1.0");
    let sending = format!(
        "-q videotestsrc pattern=ball num-buffers={FRAMES} ! {SIZE} ! tee name=t t. ! queue ! filesink location={} \
         t. ! queue ! shm2sink shm-path={} wait-for-connection=true full-policy=block sync=false",
        sent.display(),
        region.0
    );
    sink.args(sending.split_whitespace());
    let mut source = to.gstreamer("gst-launch-1.0");
    let receiving =
        format!("-q shm2src shm-path={} live-only=false ! filesink location={}", region.0, received.display());
    source.args(receiving.split_whitespace());
    both(sink, source, &format!("gst-launch-1.0 ({}), gst-launch-1.0 ({})", from.name, to.name))?;
    let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let (sent, received) = (read(&sent)?, read(&received)?);
    match sent == received && !sent.is_empty() {
        true => Ok(()),
        false => Err(format!("{} bytes were sent, {} received, and they differ", sent.len(), received.len())),
    }
}

/// Runs two programs at the same time, for a bounded time.
fn both(mut first: Command, mut second: Command, name: &str) -> Outcome {
    println!("\n==> {name}");
    let mut first = Guard(first.spawn().map_err(|e| format!("{name}: {e}"))?);
    let mut second = Guard(second.spawn().map_err(|e| format!("{name}: {e}"))?);
    let end = Instant::now() + TIME_LIMIT;
    second.wait(end, name)?;
    first.wait(end, name)
}

/// A process that does not outlive this value.
struct Guard(Child);

impl Guard {
    fn wait(&mut self, end: Instant, name: &str) -> Outcome {
        loop {
            match self.0.try_wait().map_err(|e| format!("{name}: {e}"))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("{name}: {status}")),
                None if Instant::now() > end => return Err(format!("{name}: not within {} s", TIME_LIMIT.as_secs())),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A region's name; the file is removed at the end.
struct Region(String);

impl Region {
    fn new(use_of: &str) -> Self {
        Self(format!("/dev/shm/shm2-test-cross-{use_of}-{}", std::process::id()))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // It is there only after a failure.
        let _ = fs::remove_file(&self.0);
    }
}
