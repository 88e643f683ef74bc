//! Frames pass without a copy, by the counts of both elements, also when the arena is small and full.

mod common;

use common::{Pipeline, have};
use gst::prelude::*;
use shm2_testing::{LIMIT, TempRegion};

/// Runs a producer pipeline to its end; `SINK` stands for the sink. Returns zero-copied and copied frames.
fn counts(pipeline: &str, sink: &str) -> (u64, u64) {
    let name = TempRegion::new();
    let sink = format!("shm2sink name=sink sync=false shm-path={} {sink}", &*name);
    let pipeline = Pipeline::playing(&pipeline.replace("SINK", &sink));
    pipeline.run_to_end();
    let dropped = pipeline.stat("sink", "dropped-newest");
    assert_eq!(dropped, 0, "dropped");
    (pipeline.stat("sink", "zero-copied"), pipeline.stat("sink", "copied"))
}

const SMALL: &str = "video/x-raw,format=I420,width=320,height=240";

#[test]
fn videotestsrc_writes_into_the_arena() {
    assert_eq!(counts(&format!("videotestsrc num-buffers=30 ! {SMALL} ! SINK"), ""), (30, 0));
}

#[test]
fn ten_thousand_frames_through_a_small_arena() {
    // 13 frames fit.
    let sink = "shm-size=6291456";
    assert_eq!(counts(&format!("videotestsrc num-buffers=10000 ! {SMALL} ! SINK"), sink), (10_000, 0));
}

#[test]
fn converters_and_filters_write_into_the_arena() {
    for filter in ["videoconvert", "videocrop top=8", "videobalance brightness=0.2"] {
        if !have(&[filter.split(' ').next().unwrap()]) {
            continue;
        }
        let source = "videotestsrc num-buffers=30 ! video/x-raw,format=RGB,width=320,height=240";
        let output = if filter == "videoconvert" { "video/x-raw,format=NV12 !" } else { "" };
        let (zero, copied) = counts(&format!("{source} ! {filter} ! {output} SINK"), "");
        assert_eq!((zero, copied), (30, 0), "{filter}");
    }
}

#[test]
fn a_decoder_writes_into_the_arena() {
    if !have(&["openh264enc", "h264parse", "openh264dec"]) {
        return;
    }
    for sink in ["", "shm-size=6291456"] {
        let pipeline = format!("videotestsrc num-buffers=300 ! {SMALL} ! openh264enc ! h264parse ! openh264dec ! SINK");
        assert_eq!(counts(&pipeline, sink), (300, 0), "{sink}");
    }
}

#[test]
fn decoded_audio_writes_into_the_arena() {
    if !have(&["opusenc", "opusdec"]) {
        return;
    }
    let pipeline = "audiotestsrc num-buffers=500 ! opusenc ! opusdec ! SINK";
    for sink in ["", "shm-size=4849664"] {
        let (zero, copied) = counts(pipeline, sink);
        assert!(zero >= 500, "{zero}");
        assert_eq!(copied, 0);
    }
}

#[test]
fn a_consumer_reads_in_place_and_a_holding_one_does_not_end_zero_copy() {
    let name = TempRegion::new();
    let path = &*name;
    let source =
        "videotestsrc is-live=true num-buffers=240 ! video/x-raw,format=I420,width=320,height=240,framerate=120/1";
    let producer = Pipeline::playing(&format!("{source} ! shm2sink name=sink shm-size=6291456 shm-path={path}"));
    let reader = Pipeline::playing(&format!("shm2src name=src shm-path={path} ! fakesink sync=false"));
    // Holds some frames until the end.
    let mut holder = shm2::Consumer::new(path).unwrap();
    let held: Vec<_> = (0..4).map(|_| holder.next(Some(LIMIT)).unwrap()).collect();
    producer.run_to_end();
    reader.run_to_end();
    assert_eq!(producer.stat("sink", "copied"), 0);
    assert_eq!(producer.stat("sink", "zero-copied") + producer.stat("sink", "dropped-newest"), 240);
    assert_eq!(reader.stat("src", "copied"), 0);
    assert!(reader.stat("src", "zero-copied") > 20);
    drop(held);
}

#[test]
fn duplicates_of_one_frame_are_published_without_a_copy() {
    let pipeline =
        format!("videotestsrc num-buffers=50 ! {SMALL},framerate=10/1 ! videorate ! video/x-raw,framerate=40/1 ! SINK");
    let (zero, copied) = counts(&pipeline, "");
    assert!(zero >= 190 && copied == 0, "{zero} {copied}");
}

#[test]
fn an_exhausted_arena_gives_fallback_memory_and_recovers() {
    let name = TempRegion::new();
    let source = format!("videotestsrc num-buffers=400 ! {SMALL}");
    let producer =
        Pipeline::new(&format!("{source} ! shm2sink name=sink sync=false shm-size=5300000 shm-path={}", &*name));
    // Four frames fit; a consumer holds three and then releases them.
    let mut consumer = shm2::Consumer::new(&name).unwrap();
    let held = std::sync::Mutex::new(Vec::new());
    producer.0.set_state(gst::State::Playing).unwrap();
    for _ in 0..3 {
        if let Ok(frame) = consumer.next(Some(std::time::Duration::from_secs(5))) {
            held.lock().unwrap().push(frame);
        }
    }
    producer.run_to_end();
    let (zero, copied, dropped) = (
        producer.stat("sink", "zero-copied"),
        producer.stat("sink", "copied"),
        producer.stat("sink", "dropped-newest"),
    );
    println!("zero-copied {zero}, copied {copied}, dropped {dropped}");
    assert_eq!(zero + copied + dropped, 400);
    drop(held);
    assert!(zero > 0);
}

#[test]
fn one_still_picture_is_published_over_and_over_without_a_copy() {
    if !have(&["imagefreeze"]) {
        return;
    }
    let pipeline = format!("videotestsrc num-buffers=1 ! {SMALL} ! imagefreeze num-buffers=50 ! SINK");
    assert_eq!(counts(&pipeline, ""), (50, 0));
}

#[test]
fn decoders_with_padding_and_odd_sizes_write_into_the_arena_and_the_picture_is_right() {
    let cases =
        [("openh264enc ! h264parse", "openh264dec"), ("vp8enc deadline=1", "vp8dec"), ("theoraenc", "theoradec")];
    for (encoder, decoder) in cases {
        if !have(&[encoder.split(' ').next().unwrap(), decoder]) {
            continue;
        }
        let name = TempRegion::new();
        // Encoded once: not every encoder is deterministic.
        let source = "videotestsrc num-buffers=30 ! video/x-raw,format=I420,width=322,height=242";
        let file = common::record(&format!("{source} ! {encoder} ! matroskamux ! filesink location=FILE"));
        let line = |decoder: &str, sink: &str| {
            let parser = if decoder == "openh264dec" { "h264parse !" } else { "" };
            format!("filesrc location={} ! matroskademux ! {parser} {decoder} ! {sink}", file.text())
        };
        let direct = Pipeline::new(&line(decoder, "fakesink name=out"));
        let expected = common::pictures(&direct.element("out"), "sink");
        direct.0.set_state(gst::State::Playing).unwrap();
        direct.run_to_end();
        let consumer = Pipeline::new(&format!("shm2src name=src shm-path={} ! fakesink sync=false", &*name));
        let received = common::pictures(&consumer.element("src"), "src");
        consumer.0.set_state(gst::State::Playing).unwrap();
        let sink =
            format!("shm2sink name=sink sync=false full-policy=block wait-for-connection=true shm-path={}", &*name);
        let producer = Pipeline::playing(&line(decoder, &sink));
        producer.run_to_end();
        consumer.run_to_end();
        assert_eq!((producer.stat("sink", "zero-copied"), producer.stat("sink", "copied")), (30, 0), "{decoder}");
        assert_eq!(*received.lock().unwrap(), *expected.lock().unwrap(), "{decoder}");
    }
}

#[test]
fn an_encoder_that_holds_more_frames_than_its_leases_gets_copies_and_loses_none() {
    if !have(&["x264enc"]) {
        return;
    }
    let name = TempRegion::new();
    let consumer = Pipeline::playing(&format!(
        "shm2src name=src max-leases=4 shm-path={} ! x264enc rc-lookahead=30 ! fakesink sync=false",
        &*name
    ));
    let sink = format!("shm2sink name=sink full-policy=block wait-for-connection=true shm-path={}", &*name);
    let source =
        "videotestsrc is-live=true num-buffers=90 ! video/x-raw,format=I420,width=320,height=240,framerate=60/1";
    let producer = Pipeline::playing(&format!("{source} ! {sink}"));
    producer.run_to_end();
    consumer.run_to_end();
    let (leased, copied) = (consumer.stat("src", "zero-copied"), consumer.stat("src", "copied"));
    println!("the encoder had {leased} frames in place and {copied} as copies");
    assert_eq!((leased + copied, consumer.stat("src", "missed")), (90, 0));
    assert!(leased > 0 && copied > 0 && producer.stat("sink", "copied") == 0);
}

#[test]
fn behind_a_tee_each_sink_copies_once() {
    let (first, second) = (TempRegion::new(), TempRegion::new());
    let sink = |name: &str, path: &str| format!("queue ! shm2sink name={name} sync=false shm-path={path}");
    let source = format!("videotestsrc num-buffers=30 ! {SMALL} ! tee name=t");
    let pipeline = Pipeline::playing(&format!("{source} t. ! {} t. ! {}", sink("a", &first), sink("b", &second)));
    pipeline.run_to_end();
    // GStreamer's tee drops allocators and pools.
    for name in ["a", "b"] {
        assert_eq!((pipeline.stat(name, "zero-copied"), pipeline.stat(name, "copied")), (0, 30));
    }
}

#[test]
fn a_transform_in_place_behind_the_source_writes_into_its_own_copy() {
    let name = TempRegion::new();
    let sink = format!("shm2sink name=sink full-policy=block wait-for-connection=true shm-path={}", &*name);
    let grey = "videotestsrc is-live=true num-buffers=60 pattern=solid-color foreground-color=0xff404040";
    let mut witness = shm2::Consumer::builder(&name).unwrap().build();
    let brighter = Pipeline::playing(&format!(
        "shm2src name=src shm-path={} ! videobalance brightness=0.5 ! fakesink name=out sync=false",
        &*name
    ));
    let producer = Pipeline::playing(&format!("{grey} ! {SMALL},framerate=60/1 ! {sink}"));
    let mut seen = 0;
    while let Ok(frame) = witness.next(Some(LIMIT)) {
        let bytes = frame.to_vec();
        let level = bytes[0];
        assert!(bytes[..320 * 240].iter().all(|byte| *byte == level) && level < 0x60, "{level}");
        seen += 1;
    }
    producer.run_to_end();
    brighter.run_to_end();
    assert!(seen > 30);
    let sample = brighter.element("out").property::<Option<gst::Sample>>("last-sample").unwrap();
    assert!(sample.buffer().unwrap().map_readable().unwrap()[0] > 0x90);
    assert_eq!(brighter.stat("src", "copied"), 0);
}

/// Frames in memory that was cleared reach no consumer, whether pools or elements that keep one picture send them, and
/// pools allocate new memory in the arena.
#[cfg(unix)]
#[test]
fn no_cleared_frame_is_published_and_pools_recover() {
    use shm2::{Access, Consumer, ReceiveError, Start};
    use std::time::Duration;
    const BYTES: usize = 16 << 20;
    let caps = "video/x-raw,format=GRAY8,width=64,height=64,framerate=100/1";
    let live = format!("videotestsrc is-live=true pattern=white ! {caps}");
    let still = format!("videotestsrc num-buffers=1 pattern=white ! {caps} ! imagefreeze is-live=true");
    for (source, is_pool) in [(live, true), (still, false)] {
        if !have(&["imagefreeze"]) {
            continue;
        }
        let name = TempRegion::new();
        std::fs::write(&*name, vec![0; BYTES]).unwrap();
        let sink =
            format!("shm2sink name=sink sync=false wait-for-connection=false keep-region=true shm-path={}", &*name);
        let pipeline = Pipeline::playing(&format!("{source} ! {sink}"));
        let builder = Consumer::builder(&name).unwrap().access(Access::Snapshot).start(Start::Oldest);
        let mut consumer = builder.build();
        let mut take = |frames, limit| {
            for _ in 0..frames {
                let frame = consumer.next(Some(limit))?;
                assert!(frame.to_vec().iter().all(|byte| *byte == 235), "a cleared frame");
            }
            Ok::<_, ReceiveError>(())
        };
        for _ in 0..3 {
            take(50, LIMIT).unwrap();
            let sent = pipeline.stat("sink", "zero-copied");
            let file = std::fs::OpenOptions::new().write(true).open(&*name).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; BYTES], 0).unwrap();
            if !is_pool {
                // Frames that were published before the clear was detected may still arrive.
                assert!(matches!(take(1000, Duration::from_secs(2)), Err(ReceiveError::TimedOut)));
                assert!(pipeline.stat("sink", "dropped-newest") > 10);
                break;
            }
            shm2_testing::until("zero-copied frames", || pipeline.stat("sink", "zero-copied") > sent + 50);
            // During recovery the pool got fallback memory.
            let copied = pipeline.stat("sink", "copied");
            take(50, LIMIT).unwrap();
            assert_eq!(pipeline.stat("sink", "copied"), copied);
        }
    }
}

/// A still picture stays in memory of the region: it is not mistaken for cleared memory.
#[cfg(target_os = "linux")]
#[test]
fn a_superseded_sink_posts_an_error_whatever_it_sends() {
    let caps = "video/x-raw,format=GRAY8,width=64,height=64,framerate=100/1";
    let live = format!("videotestsrc is-live=true ! {caps}");
    let still = format!("videotestsrc num-buffers=1 ! {caps} ! imagefreeze is-live=true");
    for source in [live, still] {
        if !have(&["imagefreeze"]) {
            continue;
        }
        let name = TempRegion::new();
        std::fs::write(&*name, vec![0; 16 << 20]).unwrap();
        let path = format!("ivshmem://{}", &*name);
        let pipeline = Pipeline::playing(&format!("{source} ! shm2sink name=sink sync=false shm-path={path}"));
        shm2_testing::until("frames", || pipeline.stat("sink", "zero-copied") > 20);
        // The generation of another producer.
        let file = std::fs::OpenOptions::new().write(true).open(&*name).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &77u64.to_le_bytes(), 24).unwrap();
        let error = pipeline.error().unwrap_or_default();
        assert!(error.contains("another producer has taken over"), "{error}");
    }
}
