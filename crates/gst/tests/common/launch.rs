//! `gst-launch-1.0` with one of GStreamer's tracers.

use crate::common::{LIMIT, Name};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Runs a pipeline in a process of its own; `NAME` in it stands for the region.
pub fn launch(tracer: &str, name: &Name, pipeline: &str) -> Child {
    let here = std::env::current_exe().expect("this program");
    let target = here.parent().and_then(|deps| deps.parent()).expect("the build directory");
    let mut command = Command::new("gst-launch-1.0");
    command.env("GST_PLUGIN_PATH", target).env("GST_TRACERS", tracer).env("GST_DEBUG", "GST_TRACER:7");
    command.env("G_DEBUG", "fatal-criticals").env("GST_DEBUG_NO_COLOR", "1");
    command.args(pipeline.replace("NAME", name).split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("gst-launch-1.0")
}

/// What the tracer and the pipeline said, once it has ended.
pub fn end(child: Child) -> String {
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || child.wait_with_output().expect("its output"));
    while !waiting.is_finished() {
        assert!(begun.elapsed() < LIMIT, "a pipeline does not end");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let output = waiting.join().expect("no panic");
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}
