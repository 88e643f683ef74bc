//! A pipeline of GStreamer that encodes a region into a second one, which is sent in its place.

use crate::clock::Pair;
use shm2::discovery;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// End of the names of the regions that encoders make.
const SUFFIX: &str = ".zenoh-encoded";
/// Time between the starts of a pipeline that ends by itself.
const AGAIN: Duration = Duration::from_secs(2);

/// Whether a region was made by an encoder.
pub fn is_ours(path: &Path) -> bool {
    path.to_string_lossy().ends_with(SUFFIX)
}

/// Whether there are elements, and the programs that run them.
///
/// # Errors
/// A sentence that names the one that is missing, and the remedy.
pub fn check(pipeline: &str) -> Result<(), String> {
    if pipeline.trim().is_empty() {
        return Err("--encode names no elements: write for example 'x264enc tune=zerolatency ! h264parse'".into());
    }
    let remedies = [
        (&["setpriv", "--version"][..], "install util-linux"),
        (&["gst-launch-1.0", "--version"], "install gstreamer1.0-tools"),
        (&["gst-inspect-1.0", "shm2src"], "install gstreamer1.0-shm2, or set GST_PLUGIN_PATH"),
    ];
    for (line, remedy) in remedies {
        let status = Command::new(line[0]).args(&line[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("--encode needs {}: {remedy}", line.last().unwrap_or(&"")));
        }
    }
    Ok(())
}

/// Removes what encoders that were killed have left, of this bridge or of others.
pub fn remove_leftovers(folder: &Path) {
    for leftover in discovery::leftovers(folder).unwrap_or_default() {
        if is_ours(&leftover.path) {
            // Another bridge may do the same.
            let _ = leftover.remove();
        }
    }
}

/// A pipeline and its region. Both end when it is dropped.
pub struct Encoder {
    source: PathBuf,
    region: PathBuf,
    pipeline: String,
    child: Option<Child>,
    started: Option<Instant>,
}

impl Encoder {
    /// The pipeline starts at the first [`keep_running`](Self::keep_running).
    pub fn new(source: &Path, folder: &Path, pipeline: &str) -> Self {
        let name = source.strip_prefix(folder).unwrap_or(source).to_string_lossy().replace('/', ".");
        // A time, which no other one shares: not that of a/b with a.b, nor that of another bridge.
        let region = folder.join(format!("{name}.{:x}{SUFFIX}", Pair::now().realtime));
        Self { source: source.into(), region, pipeline: pipeline.into(), child: None, started: None }
    }

    /// The region that it makes.
    pub fn region(&self) -> &PathBuf {
        &self.region
    }

    /// Starts the pipeline, again if it has ended.
    ///
    /// # Errors
    /// A sentence when it has ended or cannot be started.
    pub fn keep_running(&mut self) -> Result<(), String> {
        let ended = match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(None) => return Ok(()),
                Ok(Some(status)) => Some(status),
                Err(error) => return Err(format!("the encoder cannot be followed: {error}")),
            },
            None => None,
        };
        let is_late = self.started.is_none_or(|started| started.elapsed() >= AGAIN);
        if is_late {
            self.started = Some(Instant::now());
            self.child = Some(self.start()?);
        }
        match ended {
            Some(status) => Err(format!("the encoder ended ({status}) and is started again: {}", self.pipeline)),
            None => Ok(()),
        }
    }

    fn start(&self) -> Result<Child, String> {
        let mut command = Command::new("setpriv");
        // The encoder ends with this program, also when this is killed.
        command.args(["--pdeathsig", "TERM", "gst-launch-1.0", "-q"]);
        command.args(["shm2src", &format!("shm-path={}", quoted(&self.source)), "!", "videoconvert", "!"]);
        command.args(self.pipeline.split_whitespace());
        command.args(["!", "shm2sink", "sync=false", &format!("shm-path={}", quoted(&self.region))]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().map_err(|error| format!("the encoder cannot be started: {error}"))
    }
}

/// A path as gst-launch reads it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        // A killed producer leaves its file.
        remove_leftovers(self.region.parent().unwrap_or(Path::new("/")));
    }
}
