//! `shm2 snapshot` of streams that GStreamer decodes.
#![cfg(feature = "gst")]

mod common;

use common::shm2;
use gst::prelude::*;
use shm2::{FrameInfo, Producer};
use shm2_testing::{TempPath, TempRegion, skip};
use std::path::PathBuf;

/// Publishes what a pipeline makes, as the elements do: caps, times and flags.
fn publish(name: &TempRegion, line: &str) -> Option<Producer> {
    gst::init().unwrap();
    let line = format!("{line} ! appsink name=out sync=false");
    let Ok(pipeline) = gst::parse::launch(&line) else {
        skip(&format!("GStreamer has no elements for {line}"));
        return None;
    };
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut producer = Producer::builder(name).unwrap().size(16 << 20).history(64).create().unwrap();
    while let Some(sample) = sink.emit_by_name::<Option<gst::Sample>>("pull-sample", &[]) {
        let buffer = sample.buffer().unwrap();
        producer.set_caps(sample.caps().unwrap().to_string().as_bytes()).unwrap();
        let mut info = FrameInfo::new().with_pts(buffer.pts().map_or(0, gst::ClockTime::nseconds));
        info.flags = buffer.flags().bits();
        producer.send(&buffer.map_readable().unwrap(), &info).unwrap();
    }
    pipeline.set_state(gst::State::Null).unwrap();
    Some(producer)
}

fn folder_for_picture() -> TempPath {
    let folder = TempPath::new("pictures");
    std::fs::create_dir(&*folder).unwrap();
    folder
}

fn picture(folder: &TempPath) -> PathBuf {
    folder.join("picture.png")
}

#[test]
fn a_snapshot_of_an_encoded_stream_is_its_picture() {
    // Red on the whole picture.
    let source = "videotestsrc num-buffers=12 pattern=red ! video/x-raw,format=I420,width=64,height=48,framerate=30/1";
    for stream in [
        "x264enc tune=zerolatency key-int-max=5",
        "vp8enc deadline=1",
        "jpegenc",
        "videoconvert ! video/x-raw,format=v210",
    ] {
        let (name, output) = (TempRegion::new(), folder_for_picture());
        let Some(_producer) = publish(&name, &format!("{source} ! {stream}")) else { continue };
        shm2(&["snapshot", &name, "--timeout", "30s", "-o", picture(&output).to_str().unwrap()]).succeeded();
        let mut reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(picture(&output)).unwrap()))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (64, 48), "{stream}");
        let is_red = |pixel: &&[u8]| pixel[0] > 230 && pixel[1] < 25 && pixel[2] < 25;
        assert_eq!(pixels.chunks(3).filter(is_red).count(), 64 * 48, "{stream}");
    }
}

#[test]
fn a_stream_that_cannot_be_decoded_is_named() {
    let (name, output) = (TempRegion::new(), folder_for_picture());
    for caps in
        ["video/x-h264, stream-format=byte-stream, alignment=au", "image/jpeg, width=4, height=4", "video/x-nothing"]
    {
        let _producer = common::producer(&name, caps, 3, &[7; 100]);
        let ended =
            shm2(&["snapshot", &name, "--timeout", "1s", "-o", picture(&output).to_str().unwrap()]).failed_with("");
        assert!(!picture(&output).exists(), "{caps}: {}", ended.error);
    }
}
