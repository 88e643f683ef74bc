//! What a reader of a camera gets: the bytes of the region's frames, their times and numbers.

mod common;

use common::{STEP_NS, Session, Source, gray, raw};
use shm2::{FrameInfo, Producer, monotonic_ns};
use shm2_testing::{TempRegion, until};
use std::process::Stdio;
use std::time::Duration;

/// The last of the first three pictures.
fn read(session: &Session, node: &str, wanted: &str) -> Vec<u8> {
    let mut bytes = session.pictures(node, 3, wanted);
    bytes.split_off(bytes.len() / 3 * 2)
}

/// Bytes that differ from place to place.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place * 7 + place / 251) as u8).collect()
}

#[test]
fn each_format_arrives_as_it_is_in_the_region() {
    let Some(session) = Session::start() else { return };
    let formats = [
        ("I420", 320 * 240 * 3 / 2),
        ("NV12", 320 * 240 * 3 / 2),
        ("YV12", 320 * 240 * 3 / 2),
        ("YUY2", 320 * 240 * 2),
        ("UYVY", 320 * 240 * 2),
        ("RGB", 320 * 240 * 3),
        ("BGR", 320 * 240 * 3),
        ("BGRx", 320 * 240 * 4),
        ("RGBA", 320 * 240 * 4),
        ("BGRA", 320 * 240 * 4),
        ("GRAY8", 320 * 240),
    ];
    let sources: Vec<_> = formats
        .into_iter()
        .map(|(format, bytes)| {
            let (region, sent) = (TempRegion::new(), pattern(bytes));
            let source = Source::start(&region, &raw(format, 320, 240), sent.clone());
            (format, region, sent, source)
        })
        .collect();
    let regions: Vec<_> = sources.iter().map(|(_, region, ..)| &**region).collect();
    let camera = session.camera(&regions);
    for ((format, _, sent, _), node) in sources.iter().zip(&camera.names) {
        let got = read(&session, node, &format!("video/x-raw,format={format}"));
        assert_eq!(got.len(), sent.len(), "{format}");
        assert!(got == *sent, "{format}: other bytes");
    }
}

#[test]
fn rows_of_odd_pictures_have_the_length_that_gstreamer_gives_them() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    // Rows of 324 and 164 bytes.
    let sent = pattern(324 * 242 + 2 * 164 * 121);
    let _source = Source::start(&region, &raw("I420", 321, 241), sent.clone());
    let camera = session.camera(&[&region]);
    assert!(read(&session, &camera.names[0], "video/x-raw") == sent);
}

#[test]
fn jpeg_arrives_as_it_is_and_what_browsers_do_not_take_as_i420_too() {
    let Some(session) = Session::start() else { return };
    let (jpeg, deep, screen) = (TempRegion::new(), TempRegion::new(), TempRegion::new());
    let picture = session.folder().join("picture.jpg");
    let mut encode = session.command("gst-launch-1.0");
    encode.args(["-q", "videotestsrc", "num-buffers=1", "!", "video/x-raw,width=320,height=240", "!", "jpegenc", "!"]);
    encode.arg("filesink").arg(format!("location={}", picture.display())).stderr(Stdio::null());
    assert!(encode.status().unwrap().success());
    let encoded = std::fs::read(picture).unwrap();
    let _jpeg = Source::start(&jpeg, "image/jpeg, width=320, height=240, framerate=30/1", encoded.clone());
    // Orange: red 255, green 128, blue 0.
    let plane = |value: u16| value.to_le_bytes().repeat(320 * 240);
    let orange = [plane(0x808), plane(0), plane(0xfff)].concat();
    let _deep = Source::start(&deep, &raw("GBR_12LE", 320, 240), orange);
    let _screen = Source::start(&screen, &raw("BGRx", 320, 240), [0, 128, 255, 0].repeat(320 * 240));
    let camera = session.camera(&[&jpeg, &deep, &screen]);
    assert!(read(&session, &camera.names[0], "image/jpeg") == encoded);
    for node in &camera.names[1..] {
        let got = read(&session, node, "video/x-raw,format=I420");
        let expected = [vec![146; 320 * 240], vec![53; 160 * 120], vec![193; 160 * 120]].concat();
        assert_eq!(got.len(), expected.len(), "{node}");
        let is_near = got.iter().zip(&expected).all(|(got, expected): (&u8, &u8)| got.abs_diff(*expected) <= 1);
        assert!(is_near, "{node}: {:?}", [0, 320 * 240, 320 * 300].map(|place| got[place]));
    }
}

#[test]
fn times_and_numbers_are_those_of_the_frames() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    let camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.advances(30);
    // The first ones may be older than the pipeline, whose times begin at 0.
    let seen = &reader.seen()[10..];
    for pair in seen.windows(2) {
        let (frames, time) = (pair[1].sequence - pair[0].sequence, pair[1].pts_ns - pair[0].pts_ns);
        assert!(frames >= 1 && time > 0 && time % STEP_NS == 0, "{pair:?}");
    }
    let whole = seen.windows(2).filter(|pair| pair[1].sequence == pair[0].sequence + 1).count();
    assert!(whole * 2 > seen.len(), "{seen:?}");
}

#[test]
fn times_grow_also_over_repeated_pictures_and_wrong_times() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let mut producer = Producer::builder(&region).unwrap().size(16 << 20).create().unwrap();
    producer.set_caps(raw("I420", 320, 240).as_bytes()).unwrap();
    let camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.receives(1);
    let begun = reader.count();
    let (old, hour) = (300_000_000, 3_600_000_000_000);
    for _ in 0..3 {
        // The third one of five comes from the future.
        for time in [monotonic_ns() - old, monotonic_ns() - old, monotonic_ns() + hour, 0, monotonic_ns() - old] {
            let mut info = FrameInfo::new();
            info.time = Some(time);
            producer.send(&gray(320, 240, 90), &info).unwrap();
            std::thread::sleep(Duration::from_millis(40));
        }
        // Longer than a picture takes to be repeated.
        reader.receives(2);
    }
    // The first ones may be older than the pipeline, whose times begin at 0.
    let seen: Vec<_> = reader.seen()[begun..].iter().copied().skip_while(|seen| seen.pts_ns == 0).collect();
    assert!(seen.windows(2).all(|pair| pair[0].pts_ns < pair[1].pts_ns), "{seen:?}");
    assert!(seen.iter().all(|seen| seen.pts_ns < hour), "{seen:?}");
}

/// The numbers of range, matrix, transfer function and primaries in the format that the reader has agreed on.
fn colors(session: &Session) -> Vec<u32> {
    let text = session.pw_cli("gst-launch-1.0", &["enum-params", "NODE", "Format"]);
    let number = |name: &str| {
        let value = text.split_once(name)?.1.lines().nth(1)?;
        value.split_whitespace().nth(1)?.parse().ok()
    };
    ["colorRange", "colorMatrix", "transferFunction", "colorPrimaries"].into_iter().filter_map(number).collect()
}

#[test]
fn colours_of_the_caps_reach_the_reader_also_when_only_they_change() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let caps = |colors: &str| format!("{}, colorimetry={colors}", raw("I420", 320, 240));
    let mut source = Some(Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90)));
    let camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.advances(1);
    // Without the field, as GStreamer has it for this size.
    assert_eq!(colors(&session), [2, 4, 16, 4]);
    for (text, numbers) in [("bt709", [2, 3, 5, 1]), ("1:4:7:1", [1, 4, 7, 1])] {
        drop(source.take());
        source = Some(Source::start(&region, &caps(text), gray(320, 240, 90)));
        until("the reader has agreed on the new colours", || colors(&session) == numbers);
        reader.advances(3);
    }
}
