//! A session of its own: a bus, PipeWire and WirePlumber in a folder of theirs; regions, cameras and readers in it.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod portal;

use shm2::{FrameInfo, Overview, Producer, monotonic_ns};
use shm2_testing::{ChildGuard, TempPath, TempRegion, is_installed, skip, until};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=FOLDER/bus</listen><servicedir>FOLDER/services</servicedir>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>"#;

/// What a desktop session has of PipeWire.
pub struct Session {
    pub wireplumber: Option<ChildGuard>,
    pub pipewire: Option<ChildGuard>,
    _bus: ChildGuard,
    folder: TempPath,
}

impl Session {
    /// `None`, after a line that says so, without the programs.
    pub fn start() -> Option<Self> {
        let programs = ["dbus-daemon", "pipewire", "wireplumber", "pw-cli", "gst-launch-1.0", "gst-inspect-1.0"];
        if let Some(missing) = programs.into_iter().find(|name| !is_installed(name)) {
            skip(&format!("no {missing}: no camera of PipeWire is tried"));
            return None;
        }
        let element = Command::new("gst-inspect-1.0").arg("pipewiresrc").stdout(Stdio::null()).status();
        if !element.unwrap().success() {
            skip("no pipewiresrc (gstreamer1.0-pipewire): no camera of PipeWire is tried");
            return None;
        }
        let folder = TempPath::new("camera");
        std::fs::create_dir_all(folder.join("services")).unwrap();
        std::fs::write(folder.join("bus.conf"), BUS.replace("FOLDER", folder.text())).unwrap();
        let mut bus = Command::new("dbus-daemon");
        bus.args(["--nofork", "--nopidfile", "--config-file"]).arg(folder.join("bus.conf"));
        let bus = ChildGuard::spawn(bus.stderr(Stdio::null())).unwrap();
        until("the bus is there", || folder.join("bus").exists());
        let mut session = Self { wireplumber: None, pipewire: None, _bus: bus, folder };
        session.start_pipewire();
        session.start_wireplumber();
        Some(session)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command in the session.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let target = target();
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
            command.env(name, self.folder.join(name));
        }
        command.env("XDG_RUNTIME_DIR", &*self.folder);
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}/bus", self.folder.text()));
        for name in ["PIPEWIRE_RUNTIME_DIR", "PIPEWIRE_REMOTE", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(name);
        }
        command.env("PIPEWIRE_DEBUG", "0").env("GST_PLUGIN_PATH", &target);
        command.env("GST_REGISTRY", Path::new(env!("CARGO_TARGET_TMPDIR")).join("registry.bin"));
        command.stdin(Stdio::null());
        command
    }

    pub fn start_pipewire(&mut self) {
        let mut command = self.command("pipewire");
        self.pipewire = Some(ChildGuard::spawn(command.stderr(Stdio::null())).unwrap());
        until("PipeWire answers", || {
            self.command("pw-cli").args(["info", "0"]).stdout(Stdio::null()).status().unwrap().success()
        });
    }

    pub fn start_wireplumber(&mut self) {
        let mut command = self.command("wireplumber");
        self.wireplumber = Some(ChildGuard::spawn(command.stderr(Stdio::null())).unwrap());
    }

    /// What `pw-cli` prints with these arguments; `NODE` stands for the number of the node with a name.
    pub fn pw_cli(&self, node: &str, arguments: &[&str]) -> String {
        let run = |arguments: &[&str]| {
            let output = self.command("pw-cli").args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let nodes = run(&["ls", "Node"]);
        let place = nodes.find(&format!("node.name = {node:?}")).unwrap_or_default();
        let number = nodes[..place].rsplit("\tid ").next().and_then(|rest| rest.split(',').next());
        let number = number.unwrap_or_default();
        run(&arguments.iter().map(|&word| if word == "NODE" { number } else { word }).collect::<Vec<_>>())
    }

    /// `shm2-camera` with these arguments, as soon as its cameras are there.
    pub fn camera(&self, arguments: &[&str]) -> Camera {
        let mut command = self.command(env!("CARGO_BIN_EXE_shm2-camera"));
        let mut child =
            ChildGuard::spawn(command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
        let output = lines(child.take_stdout().unwrap());
        let errors = lines(child.take_stderr().unwrap());
        let regions = arguments.iter().filter(|argument| argument.starts_with("/dev/shm/")).count();
        until("the cameras are named", || {
            assert!(child.is_running(), "{:?}", errors.lock().unwrap());
            output.lock().unwrap().len() == regions
        });
        let names = output.lock().unwrap().iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
        Camera { child, names, errors }
    }

    /// The command as it ends by itself: its exit code, and standard error.
    pub fn fails(&self, command: &mut Command) -> (Option<i32>, String) {
        let child = ChildGuard::spawn(command.stdout(Stdio::null()).stderr(Stdio::piped())).unwrap();
        let output = child.output();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Reads a camera with `pipewiresrc`; `rest` is the pipeline behind it.
    pub fn read(&self, node: &str, properties: &str, rest: &str) -> Reader {
        let mut command = self.command("gst-launch-1.0");
        command.args(["-v", "pipewiresrc"]).arg(format!("target-object={node}"));
        command.args(properties.split_whitespace()).args("! ".split_whitespace()).args(rest.split_whitespace());
        let mut child = ChildGuard::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null())).unwrap();
        let lines = lines(child.take_stdout().unwrap());
        Reader { child, lines }
    }

    /// The bytes of the first `count` pictures that a reader who comes now gets in `wanted` caps. Tests look at the last
    /// one: the first may be that of an earlier reader, or dark. There are none if the reader fails.
    pub fn pictures(&self, node: &str, count: usize, wanted: &str) -> Vec<u8> {
        let file = self.folder.join(format!("{node}.raw"));
        let rest = format!("{wanted} ! filesink location={}", file.display());
        let mut reader = self.read(node, &format!("num-buffers={count}"), &rest);
        let is_complete = reader.child.wait().success();
        let bytes = std::fs::read(&file).unwrap_or_default();
        let _ = std::fs::remove_file(file);
        if is_complete { bytes } else { Vec::new() }
    }

    /// Reads a camera until the reader is dropped, and reports each buffer.
    pub fn watch(&self, node: &str) -> Reader {
        self.read(node, "", "video/x-raw ! fakesink silent=false sync=false")
    }
}

/// The folder with the programs of the workspace.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_shm2-camera")).parent().unwrap().to_owned()
}

fn lines(pipe: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = lines.clone();
    std::thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| to.lock().unwrap().push(line));
    });
    lines
}

/// A running `shm2-camera`.
pub struct Camera {
    pub child: ChildGuard,
    /// Nodes in PipeWire.
    pub names: Vec<String>,
    pub errors: Arc<Mutex<Vec<String>>>,
}

/// A buffer as a reader got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub bytes: u64,
    pub sequence: u64,
    pub pts_ns: u64,
}

/// A running pipeline.
pub struct Reader {
    pub child: ChildGuard,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Reader {
    /// The buffers that came to its `fakesink`.
    pub fn seen(&self) -> Vec<Seen> {
        self.lines.lock().unwrap().iter().filter_map(|line| parse(line)).collect()
    }

    pub fn count(&self) -> usize {
        self.seen().len()
    }

    /// Waits for this many further buffers: frames, or repeated and dark pictures, which come twice a second.
    pub fn receives(&self, buffers: usize) {
        let before = self.count();
        until("further pictures come", || self.count() >= before + buffers);
    }

    /// Waits for this many further frames of the region: a picture that is repeated has the number of the one before it.
    pub fn advances(&self, frames: usize) {
        let count = || self.seen().windows(2).filter(|pair| pair[0].sequence != pair[1].sequence).count();
        let before = count();
        until("further frames come", || count() >= before + frames);
    }
}

/// `... chain ... (460800 bytes, dts: ..., pts: 0:00:00.032795626, duration: none, offset: 67, ...`
fn parse(line: &str) -> Option<Seen> {
    let (_, rest) = line.split_once("chain ")?;
    let bytes = rest.split_once(" bytes")?.0.rsplit('(').next()?.parse().ok()?;
    let field = |name: &str| rest.split_once(name).and_then(|(_, rest)| rest.split(',').next());
    let (hours, minutes, seconds) = {
        let mut parts = field(", pts: ")?.split(':');
        (parts.next()?, parts.next()?, parts.next()?)
    };
    let (seconds, fraction) = seconds.split_once('.')?;
    let number = |text: &str| text.parse::<u64>().ok();
    let pts_ns = (number(hours)? * 3600 + number(minutes)? * 60 + number(seconds)?) * 1_000_000_000 + number(fraction)?;
    Some(Seen { bytes, sequence: number(field(" offset: ")?)?, pts_ns })
}

/// A producer in a thread, with thirty frames a second.
pub struct Source {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Time between two frames of a [`Source`]: their times are multiples of it.
pub const STEP_NS: u64 = 33_333_333;

impl Source {
    pub fn start(region: &TempRegion, caps: &str, bytes: Vec<u8>) -> Self {
        let mut producer = Producer::builder(region).unwrap().size(16 << 20).create().unwrap();
        producer.set_caps(caps.as_bytes()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let work = move || {
            while !ended.load(Ordering::Relaxed) {
                let mut info = FrameInfo::new();
                info.time = Some(monotonic_ns() / STEP_NS * STEP_NS);
                producer.send(&bytes, &info).unwrap();
                std::thread::sleep(Duration::from_nanos(STEP_NS - monotonic_ns() % STEP_NS));
            }
        };
        Self { stop, thread: Some(std::thread::spawn(work)) }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Caps of raw video.
pub fn raw(format: &str, width: u32, height: u32) -> String {
    format!("video/x-raw, format={format}, width={width}, height={height}, framerate=30/1")
}

/// I420 of one luma.
pub fn gray(width: usize, height: usize, luma: u8) -> Vec<u8> {
    [vec![luma; width * height], vec![128; width * height / 2]].concat()
}

/// Consumers that are attached.
pub fn consumers(region: &TempRegion) -> usize {
    Overview::of(region).map_or(0, |overview| overview.consumers.len())
}
