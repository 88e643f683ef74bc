//! GStreamer's own tracer sees no object left when a pipeline of either element has ended, and no critical warning came.

#![allow(clippy::unwrap_used)]

mod common;

use common::{LIMIT, Name};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

fn launch(name: &Name, pipeline: &str) -> Command {
    let here = std::env::current_exe().unwrap();
    let target = here.parent().and_then(|deps| deps.parent()).unwrap();
    let mut command = Command::new("gst-launch-1.0");
    command.env("GST_PLUGIN_PATH", target).env("GST_TRACERS", "leaks").env("GST_DEBUG", "GST_TRACER:7");
    command.env("G_DEBUG", "fatal-criticals").env("GST_DEBUG_NO_COLOR", "1");
    command.args(pipeline.replace("NAME", name).split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the tracer and the pipeline said, once it has ended.
fn end(child: Child) -> String {
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !waiting.is_finished() {
        assert!(begun.elapsed() < LIMIT, "a pipeline does not end");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let output = waiting.join().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}

fn leaked(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains("object-alive, ") && !line.contains("new format string")).collect()
}

#[test]
fn no_object_is_left_when_a_pipeline_ends() {
    let name = Name::new();
    for media in [
        "videotestsrc is-live=true num-buffers=60 ! video/x-raw,format=NV12,width=320,height=240",
        "audiotestsrc is-live=true num-buffers=100 ! audio/x-raw,format=S16LE,rate=48000",
    ] {
        let consumer = launch(&name, "shm2src shm-path=NAME ! queue ! fakesink").spawn().unwrap();
        let producer =
            launch(&name, &format!("{media} ! shm2sink wait-for-connection=true shm-path=NAME")).spawn().unwrap();
        for text in [end(producer), end(consumer)] {
            assert!(text.contains("object-alive.class"), "the tracer does not run: {text}");
            assert_eq!(leaked(&text), Vec::<&str>::new());
        }
    }
}
