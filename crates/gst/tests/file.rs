//! A real file, H.264 and AAC in MP4, decoded by one program and shown by another: every picture and every sample as a
//! direct decode has them, sound and picture in sync.

mod common;

use common::{Pipeline, have, pictures, record};
use gst::prelude::*;
use shm2_testing::{LIMIT, TempPath, TempRegion, skip};
use std::sync::{Arc, Mutex};

const FRAMES: usize = 90;

fn recording() -> Option<TempPath> {
    let h264 = ["x264enc", "openh264enc"].into_iter().find(|encoder| gst::ElementFactory::find(encoder).is_some());
    let aac = ["avenc_aac", "voaacenc", "fdkaacenc"];
    let aac = aac.into_iter().find(|encoder| gst::ElementFactory::find(encoder).is_some());
    let (Some(h264), Some(aac)) = (h264, aac) else {
        skip("no encoder for H.264 or AAC on this machine");
        return None;
    };
    let video =
        format!("videotestsrc num-buffers={FRAMES} pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1");
    let audio = "audiotestsrc num-buffers=141 samplesperbuffer=1024 wave=ticks ! audio/x-raw,rate=48000,channels=2";
    Some(record(&format!(
        "mp4mux name=m ! filesink location=FILE \
         {video} ! {h264} ! h264parse ! queue ! m. {audio} ! audioconvert ! {aac} ! aacparse ! queue ! m."
    )))
}

/// All bytes of the pad's buffers, regardless of their sizes.
fn samples(element: &gst::Element, pad: &str) -> Arc<Mutex<Vec<u8>>> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let list = bytes.clone();
    element.static_pad(pad).unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        list.lock().unwrap().extend(info.buffer().unwrap().map_readable().unwrap().as_slice());
        gst::PadProbeReturn::Ok
    });
    bytes
}

/// Running times at which buffers are due, in nanoseconds.
fn times(element: &gst::Element) -> Arc<Mutex<Vec<i64>>> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let list = times.clone();
    element.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let segment = pad.sticky_event::<gst::event::Segment>(0).unwrap();
        let segment = segment.segment().downcast_ref::<gst::ClockTime>().unwrap().clone();
        let due = segment.to_running_time(info.buffer().unwrap().pts()).unwrap();
        list.lock().unwrap().push(due.nseconds() as i64);
        gst::PadProbeReturn::Ok
    });
    times
}

fn decode(file: &str, video_sink: &str, audio_sink: &str) -> String {
    format!(
        "filesrc location={file} ! decodebin name=d \
         d. ! queue ! video/x-raw ! {video_sink} d. ! queue ! audio/x-raw ! {audio_sink}"
    )
}

#[test]
fn a_file_with_sound_and_picture_arrives_bit_by_bit_and_in_sync() {
    if !have(&["mp4mux", "qtdemux", "h264parse", "aacparse"]) {
        return;
    }
    let Some(file) = recording() else { return };
    let direct = Pipeline::new(&decode(file.text(), "fakesink name=v", "fakesink name=a"));
    let (video, audio) = (direct.element("v"), direct.element("a"));
    let expected = (pictures(&video, "sink"), samples(&audio, "sink"), times(&video), times(&audio));
    direct.0.set_state(gst::State::Playing).unwrap();
    direct.run_to_end();
    assert_eq!(expected.0.lock().unwrap().len(), FRAMES);

    let (picture, sound) = (TempRegion::new(), TempRegion::new());
    let player = Pipeline::new(&format!(
        "shm2src name=vs shm-path={} ! queue ! fakesink name=v sync=true \
         shm2src name=as shm-path={} ! queue ! fakesink name=a sync=true",
        &*picture, &*sound
    ));
    let (video, audio) = (player.element("v"), player.element("a"));
    let received = (pictures(&video, "sink"), samples(&audio, "sink"), times(&video), times(&audio));
    player.0.set_state(gst::State::Playing).unwrap();
    let sink = |name: &str, path: &str| {
        format!("shm2sink name={name} full-policy=block wait-for-connection=true shm-path={path}")
    };
    let producer = Pipeline::new(&decode(file.text(), &sink("v", &picture), &sink("a", &sound)));
    // The sources are attached before the first frame is due.
    producer.0.set_state(gst::State::Paused).unwrap();
    producer.0.state(gst::ClockTime::try_from(LIMIT).ok()).0.unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    producer.0.set_state(gst::State::Playing).unwrap();
    producer.run_to_end();
    player.run_to_end();

    assert_eq!(*received.0.lock().unwrap(), *expected.0.lock().unwrap(), "pictures");
    assert_eq!(*received.1.lock().unwrap(), *expected.1.lock().unwrap(), "samples");
    for source in ["vs", "as"] {
        // On a busy machine so many frames may wait that a consumer's leases are used up and the next frame is copied.
        println!("{source}: {} frames copied", player.stat(source, "copied"));
        assert_eq!(player.stat(source, "missed"), 0, "{source}");
    }
    let shift = |received: &Arc<Mutex<Vec<i64>>>, expected: &Arc<Mutex<Vec<i64>>>| -> Vec<i64> {
        received.lock().unwrap().iter().zip(expected.lock().unwrap().iter()).map(|(r, e)| r - e).collect()
    };
    let shifts = [shift(&received.2, &expected.2), shift(&received.3, &expected.3)].concat();
    let skew = shifts.iter().max().unwrap() - shifts.iter().min().unwrap();
    let bytes = received.1.lock().unwrap().len();
    println!("{FRAMES} pictures and {bytes} bytes of sound are equal; skew at most {skew} ns");
    assert!(skew < 1_000_000);
}
