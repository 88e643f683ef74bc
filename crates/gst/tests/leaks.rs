//! GStreamer's own tracer sees no object left when a pipeline of either element has ended, and no critical warning
//! came.

mod common;
#[path = "common/launch.rs"]
mod launch;

use launch::{end, launch};
use shm2_testing::TempRegion;

fn leaked(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains("object-alive, ") && !line.contains("new format string")).collect()
}

#[test]
fn no_object_is_left_when_a_pipeline_ends() {
    let name = TempRegion::new();
    for media in [
        "videotestsrc is-live=true num-buffers=60 ! video/x-raw,format=NV12,width=320,height=240",
        "audiotestsrc is-live=true num-buffers=100 ! audio/x-raw,format=S16LE,rate=48000",
    ] {
        let consumer = launch("leaks", &name, "shm2src shm-path=NAME ! queue ! fakesink");
        let producer = launch("leaks", &name, &format!("{media} ! shm2sink wait-for-connection=true shm-path=NAME"));
        for text in [end(producer), end(consumer)] {
            assert!(text.contains("object-alive.class"), "the tracer does not run: {text}");
            assert_eq!(leaked(&text), Vec::<&str>::new());
        }
    }
}
