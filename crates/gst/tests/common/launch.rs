//! `gst-launch-1.0` with one of GStreamer's tracers.

use shm2_testing::{ChildGuard, TempRegion};
use std::process::{Command, Stdio};

/// Runs a pipeline in a process of its own; `NAME` in it stands for the region.
pub fn launch(tracer: &str, name: &TempRegion, pipeline: &str) -> ChildGuard {
    let here = std::env::current_exe().expect("this program");
    let target = here.parent().and_then(|deps| deps.parent()).expect("the build directory");
    let mut command = Command::new("gst-launch-1.0");
    command.env("GST_PLUGIN_PATH", target).env("GST_TRACERS", tracer).env("GST_DEBUG", "GST_TRACER:7");
    command.env("G_DEBUG", "fatal-criticals").env("GST_DEBUG_NO_COLOR", "1");
    command.args(pipeline.replace("NAME", name).split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ChildGuard::spawn(&mut command).expect("gst-launch-1.0")
}

/// Output of the tracer and the pipeline, after a successful end.
pub fn end(child: ChildGuard) -> String {
    let output = child.output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}
