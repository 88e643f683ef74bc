//! The examples run for real: C, C++ and Rust on both sides, with kills and restarts.

#![cfg(target_os = "linux")]

mod support;

use shm2::{Access, Consumer, FrameInfo, Producer, layout};
use shm2_testing::{ChildGuard, Signal, TempPath, TempRegion};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::ChildStdout;
use std::time::Duration;
use support::{Prefix, errors_of, succeeded, text_of};

/// Frames of the example's producers, and a number of frames that no test lives to see.
const C_FORMAT: &str = "NV12 320x180";
const CPP_FORMAT: &str = "RGBx 320x180";
const FOREVER: &str = "1000000";
const LONG: Option<Duration> = Some(Duration::from_secs(30));

fn lines(child: &mut ChildGuard) -> std::io::Lines<BufReader<ChildStdout>> {
    BufReader::new(child.take_stdout().unwrap()).lines()
}

/// A producer in this process, of pictures of 4x2 pixels in RGB.
fn producer(name: &str) -> Producer {
    let mut producer = Producer::builder(name).unwrap().size(layout::MIN_REGION * 2).create().unwrap();
    producer.set_caps(b"video/x-raw,format=RGB,width=4,height=2,framerate=30/1").unwrap();
    producer
}

fn is_ok(output: &std::process::Output) -> bool {
    output.status.success() && output.stderr.is_empty()
}

#[test]
fn frames_flow_between_c_and_cpp_in_both_directions() {
    let prefix = Prefix::new();
    let [c_out, cpp_out] = ["examples/producer.c", "examples/producer.cpp"].map(|source| prefix.compile_by_gcc(source));
    let [c_in, cpp_in] = ["examples/consumer.c", "examples/consumer.cpp"].map(|source| prefix.compile_by_gcc(source));
    for (out, format) in [(&c_out, C_FORMAT), (&cpp_out, CPP_FORMAT)] {
        let Some(out) = out else { continue };
        for consumer in [&c_in, &cpp_in].into_iter().flatten() {
            let region = TempRegion::new();
            let receiving = consumer.start(&[&region, "5"]);
            let sending = out.start(&[&region, FOREVER]);
            let received = receiving.output();
            assert!(received.status.success(), "{received:?}");
            let text = text_of(&received);
            assert_eq!(text.lines().filter(|line| line.contains(format)).count(), 5, "{text}");
            sending.kill();
        }
        // Without a consumer it ends as well, and removes its region.
        let region = TempRegion::new();
        let sent = out.start(&[&region, "2"]).output();
        assert!(is_ok(&sent) && !region.exists(), "{sent:?}");
    }
}

#[test]
fn frames_of_a_rust_producer_are_read_in_c_and_cpp() {
    let prefix = Prefix::new();
    for source in ["examples/consumer.c", "examples/consumer.cpp"] {
        let Some(consumer) = prefix.compile_by_gcc(source) else { continue };
        let region = TempRegion::new();
        let mut producer = producer(&region);
        producer.send(&[50; 24], &FrameInfo::new().with_pts(1_500_000_000)).unwrap();
        producer.end_of_stream().unwrap();
        let output = consumer.start(&[&region]).output();
        assert!(is_ok(&output), "{output:?}");
        let text = text_of(&output);
        assert!(text.starts_with("1: 24 bytes, 0 missed before it") && text.contains("RGB 4x2"), "{text}");
        assert!(text.trim_end().ends_with("mean of plane 0 50.0") || text.trim_end().ends_with("mean of plane 0 50"));
    }
}

#[test]
fn frames_of_a_c_producer_are_read_in_rust() {
    let Some(program) = Prefix::new().compile_by_gcc("examples/producer.c") else { return };
    let region = TempRegion::new();
    let sending = program.start(&[&region, FOREVER]);
    for access in [Access::Lease, Access::Snapshot] {
        let mut consumer = Consumer::builder(&region).unwrap().access(access).build();
        let frame = consumer.next(LONG).unwrap();
        let (_, caps) = frame.caps().unwrap();
        assert_eq!(caps, b"video/x-raw,format=NV12,width=320,height=180,framerate=25/1");
        assert_eq!((frame.len(), frame.info().duration), (320 * 180 * 3 / 2, Some(40_000_000)));
    }
    sending.kill();
}

#[test]
fn a_snapshot_is_written_as_a_picture() {
    let Some(snapshot) = Prefix::new().compile_by_gcc("examples/snapshot.c") else { return };
    let (region, picture) = (TempRegion::new(), TempPath::new("picture"));
    let mut producer = producer(&region);
    let pixels: Vec<u8> = (0..24).collect();
    producer.send(&pixels, &FrameInfo::new()).unwrap();
    succeeded(&mut snapshot.command(&[&region, picture.text()]));
    assert_eq!(std::fs::read(&picture).unwrap(), [b"P6\n4 2\n255\n", &pixels[..]].concat());

    producer.set_caps(b"text/plain").unwrap();
    producer.send(b"no picture", &FrameInfo::new()).unwrap();
    let output = snapshot.start(&[&region, picture.text()]).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors_of(&output).contains("the frame is text/plain, not raw video (SHM2_MEDIA)"), "{output:?}");
}

#[test]
fn a_poll_loop_reports_the_frames_of_several_regions() {
    let Some(poll) = Prefix::new().compile_by_gcc("examples/poll.c") else { return };
    let regions = [TempRegion::new(), TempRegion::new(), TempRegion::new()];
    let mut child = poll.start(&regions.each_ref().map(|region| &**region));
    let mut lines = lines(&mut child);
    let mut producers: Vec<_> = regions.iter().map(|region| producer(region)).collect();
    for producer in &mut producers {
        producer.send(&[1; 24], &FrameInfo::new()).unwrap();
    }
    let mut missing: BTreeSet<_> = regions.iter().map(|region| first_frame(region)).collect();
    while !missing.is_empty() {
        missing.remove(&lines.next().unwrap().unwrap());
    }
    drop(producers);
    let mut again = producer(&regions[1]);
    again.send(&[1; 24], &FrameInfo::new()).unwrap();
    assert!(lines.any(|line| line.unwrap() == first_frame(&regions[1])));
    child.signal(Signal::INT);
    assert_eq!(child.wait().code(), Some(0));
}

fn first_frame(region: &str) -> String {
    format!("{region}: frame 1, 24 bytes")
}

#[test]
fn a_consumer_in_c_goes_on_when_its_producer_is_killed_and_restarted() {
    let prefix = Prefix::new();
    let sources = ["examples/producer.c", "examples/producer.cpp", "examples/consumer.c"];
    let [Some(c), Some(cpp), Some(receiving)] = sources.map(|source| prefix.compile_by_gcc(source)) else { return };
    let region = TempRegion::new();
    let mut consumer = receiving.start(&[&region]);
    let mut lines = lines(&mut consumer);
    // The format tells whose frames they are.
    for (sending, format) in [(&c, C_FORMAT), (&cpp, CPP_FORMAT), (&c, C_FORMAT)] {
        let producer = sending.start(&[&region, FOREVER]);
        let mut of_this = || lines.any(|line| line.is_ok_and(|line| line.contains(format)));
        assert!(of_this() && of_this(), "the consumer has ended");
        producer.kill();
    }
    assert!(consumer.is_running());
    consumer.kill();
}

#[test]
fn a_producer_in_c_goes_on_when_its_consumers_are_killed() {
    let prefix = Prefix::new();
    let sources = ["examples/producer.c", "examples/consumer.c"].map(|source| prefix.compile_by_gcc(source));
    let [Some(sending), Some(receiving)] = sources else { return };
    let region = TempRegion::new();
    let mut producer = sending.start(&[&region, FOREVER]);
    for _ in 0..3 {
        let mut consumer = receiving.start(&[&region]);
        lines(&mut consumer).next().unwrap().unwrap();
        consumer.kill();
    }
    assert!(producer.is_running());
    producer.kill();
}

#[test]
fn errors_of_the_examples_name_the_value_and_the_remedy() {
    let prefix = Prefix::new();
    let other = TempPath::new("other");
    std::fs::write(&other, [b'x'; 8192]).unwrap();
    let table = [
        ("examples/consumer.c", "relative", "\"relative\" is not an absolute path: write shm:///dev/shm/NAME"),
        ("examples/consumer.cpp", "relative", "\"relative\" is not an absolute path: write shm:///dev/shm/NAME"),
        ("examples/consumer.c", other.text(), "is not an shm2 region: it begins with 0x"),
        ("examples/producer.c", "/dev/shm/no/such/folder", "does not exist: make it, or use a name below /dev/shm"),
        ("examples/producer.cpp", "/dev/null", "choose another name"),
    ];
    for (source, name, part) in table {
        let Some(program) = prefix.compile_by_gcc(source) else { continue };
        let output = program.start(&[name]).output();
        assert_eq!(output.status.code(), Some(1), "{source} {name}: {output:?}");
        assert!(errors_of(&output).contains(part), "{source} {name}: {output:?}");
    }
}

#[test]
fn the_example_of_the_readme_reads_frames_of_rust() {
    let readme = support::read("README.md");
    let (code, _) = readme.split_once("```c\n").and_then(|(_, rest)| rest.split_once("```")).unwrap();
    let folder = TempPath::new("readme");
    std::fs::create_dir(&folder).unwrap();
    let source = folder.join("watch.c");
    std::fs::write(&source, code).unwrap();
    let Some(program) = Prefix::new().compile_by_gcc(source.to_str().unwrap()) else { return };
    let region = TempRegion::new();
    let mut producer = producer(&region);
    producer.send(&[50; 24], &FrameInfo::new()).unwrap();
    producer.end_of_stream().unwrap();
    let output = program.start(&[&region]).output();
    assert!(is_ok(&output) && text_of(&output) == "2 rows of 12 bytes\n", "{output:?}");
}
