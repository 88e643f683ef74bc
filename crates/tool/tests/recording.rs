//! `shm2 record` and `shm2 replay`: what comes out is what went in, also after a kill or on a full disk.

#![cfg(unix)]

mod common;

use common::{begin, shm2};
use shm2::{Consumer, FrameInfo, Producer, ReceiveError};
use shm2_testing::{ChildGuard, TempPath, TempRegion, until};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const VIDEO: &str = "video/x-raw, format=(string)GRAY8, width=(int)16, height=(int)9, framerate=(fraction)25/1";
const AUDIO: &str = "audio/x-raw, format=(string)S16LE, rate=(int)48000, channels=(int)2, layout=(string)interleaved";
const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

fn region(name: &str) -> Producer {
    Producer::builder(name).unwrap().size(16 << 20).create().unwrap()
}

/// `shm2 record`, attached to all of `producers`.
fn record(arguments: &[&str], producers: &[&Producer]) -> ChildGuard {
    let recorder = begin(&[&["record"], arguments].concat());
    until("the recorder is attached", || producers.iter().all(|producer| producer.consumers() == 1));
    recorder
}

fn succeeded(child: ChildGuard) -> String {
    let output = child.output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

/// Everything that a consumer learns of an item.
#[derive(Debug, PartialEq)]
struct Item {
    is_event: bool,
    bytes: Vec<u8>,
    meta: Vec<u8>,
    caps: Option<Vec<u8>>,
    blob: Vec<u8>,
    info: FrameInfo,
}

/// The items up to the end of the stream, and the times of their publication.
fn items(consumer: &mut Consumer) -> (Vec<Item>, Vec<u64>) {
    let (mut items, mut times) = (Vec::new(), Vec::new());
    loop {
        match consumer.next(LIMIT) {
            Err(ReceiveError::EndOfStream) => return (items, times),
            Err(error) => panic!("{error} after {} items", items.len()),
            Ok(frame) => {
                let mut info = frame.info();
                // Refers to the time of publication.
                info.time = info.time.zip(frame.published_ns()).map(|(time, published)| time.wrapping_sub(published));
                times.push(frame.published_ns().unwrap());
                items.push(Item {
                    is_event: frame.is_event(),
                    bytes: frame.to_vec(),
                    meta: frame.meta().into(),
                    caps: frame.caps().map(|(_, caps)| caps.into()),
                    blob: frame.stream_blob().into(),
                    info,
                });
            }
        }
    }
}

fn consumer(name: &str) -> Consumer {
    Consumer::builder(name).unwrap().events(true).start(shm2::Start::Oldest).attach(LIMIT).unwrap()
}

/// `shm2 replay`, and what a consumer of each of `names` gets.
fn replay(arguments: &[&str], names: &[&str]) -> Vec<(Vec<Item>, Vec<u64>)> {
    let player = begin(&[&["replay", "--wait", "--block"], arguments].concat());
    let mut consumers: Vec<_> = names.iter().map(|name| consumer(name)).collect();
    let all = consumers.iter_mut().map(items).collect();
    drop(consumers);
    succeeded(player);
    all
}

#[test]
fn a_stream_is_replayed_with_its_bytes_times_caps_metas_and_events() {
    let (name, file) = (TempRegion::new(), TempPath::new("mcap"));
    let mut producer = region(&name);
    let mut original = consumer(&name);
    let recorder = begin(&["record", "-o", file.text(), &name]);
    until("the recorder is attached", || producer.consumers() == 2);
    let mut info = FrameInfo::new().with_pts(1);
    (info.dts, info.duration, info.offset, info.offset_end) = (Some(-40), Some(3), Some(4), Some(5));
    (info.flags, info.latency) = (0x8000_0001, 7);
    producer.send(b"no caps", &FrameInfo::new()).unwrap();
    producer.set_caps(VIDEO.as_bytes()).unwrap();
    let begun = Instant::now();
    for number in 0..5_u8 {
        let mut slot = producer.reserve(144).unwrap();
        slot.write_at(0, &[number; 144]).unwrap();
        producer.publish_with_meta(slot, &info, &vec![number; 300 * usize::from(number)]).unwrap();
        info.time = Some(shm2::monotonic_ns());
        std::thread::sleep(Duration::from_millis(30));
    }
    producer.send_event(&FrameInfo::new().with_pts(9), b"event").unwrap();
    producer.set_stream(b"caps \xff that are not UTF-8", b"blob \x00\xff").unwrap();
    producer.send(&[], &FrameInfo::new()).unwrap();
    producer.set_caps(VIDEO.as_bytes()).unwrap();
    producer.send(&vec![3; 3_000_000], &info).unwrap();
    let lasted = begun.elapsed();
    producer.end_of_stream().unwrap();
    assert!(succeeded(recorder).contains("8 frames, 2.9 MiB, 0 missed"));
    let (expected, times) = items(&mut original);
    assert_eq!(expected.len(), 9);
    drop((producer, original));

    let begun = Instant::now();
    let [(again, times_again)] = &replay(&[file.text()], &[&name])[..] else { panic!() };
    assert!(begun.elapsed() >= lasted, "the pace is the recorded one");
    for (number, (expected, item)) in expected.iter().zip(again).enumerate() {
        let (mut expected_info, mut info) = (expected.info, item.info);
        let distance = |time: u64| time as i64;
        let (time, time_again) = (expected_info.time.take().map(distance), info.time.take().map(distance));
        assert_eq!(time.is_some(), time_again.is_some());
        // It is published some time after it is due.
        let is_near = time.zip(time_again).is_none_or(|(time, again)| (time - again).abs() < 10_000_000_000);
        assert!(is_near, "{time:?} {time_again:?}");
        assert_eq!(info, expected_info, "{number}");
        let same = |item: &Item| (item.is_event, item.bytes.clone(), item.meta.clone(), item.caps.clone());
        assert!(same(item) == same(expected) && item.blob == expected.blob, "item {number}");
    }
    assert_eq!((again.len(), times_again.len()), (9, times.len()));
    let distances = |times: &[u64]| times.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect::<Vec<_>>();
    println!("distances in ms: {:?}, again {:?}", distances(&times), distances(times_again));

    let begun = Instant::now();
    let [(fast, _)] = &replay(&[file.text(), "--unpaced"], &[&name])[..] else { panic!() };
    println!("unpaced in {:?}", begun.elapsed());
    assert_eq!(fast.len(), 9);
    assert!(!name.exists(), "the replay leaves no file");
}

#[test]
fn two_regions_are_recorded_into_one_file_and_replayed_under_other_names() {
    let (video, audio, file) = (TempRegion::new(), TempRegion::new(), TempPath::new("mcap"));
    let (mut pictures, mut samples) = (region(&video), region(&audio));
    let recorder = record(&["-o", file.text(), &video, &audio, "--json"], &[&pictures, &samples]);
    pictures.set_caps(VIDEO.as_bytes()).unwrap();
    samples.set_caps(AUDIO.as_bytes()).unwrap();
    for number in 0..6_u8 {
        pictures.send(&[number; 144], &FrameInfo::new().with_pts(u64::from(number) * 40)).unwrap();
        for part in 0..2 {
            samples.send(&[100 + 2 * number + part; 1920], &FrameInfo::new()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    pictures.end_of_stream().unwrap();
    samples.end_of_stream().unwrap();
    let text = succeeded(recorder);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let figures: Vec<_> = lines.iter().map(|line| (line["frames"].as_u64(), line["missed"].as_u64())).collect();
    assert_eq!(figures, [(Some(6), Some(0)), (Some(12), Some(0))], "{text}");

    // The first is still in use, and goes elsewhere; the other gets the prefix.
    let other = TempRegion::new();
    let map = format!("{}={}", &*video, &*other);
    let prefixed = audio.replace("shm2-test-", "again-shm2-test-");
    let again = replay(&[file.text(), "--map", &map, "--prefix", "again-"], &[&other, &prefixed]);
    let bytes: Vec<Vec<u8>> = again.iter().map(|(items, _)| items.iter().map(|item| item.bytes[0]).collect()).collect();
    assert_eq!(bytes, [(0..6).collect::<Vec<_>>(), (100..112).collect()]);
    assert_eq!(again[1].0[0].caps.as_deref(), Some(AUDIO.as_bytes()));
    assert_eq!(again[0].0[5].info.pts, Some(200));

    // Names that cannot be used.
    shm2(&["replay", file.text()]).failed_with("has a live producer already");
    shm2(&["replay", file.text(), "--map", "/dev/shm/x=/dev/shm/y"]).failed_with("was not recorded in");
    shm2(&["replay", file.text(), "--map", "x"]).failed_with("write OLD=NEW");
    let both = [format!("{}={}", &*video, &*other), format!("{}={}", &*audio, &*other)];
    shm2(&["replay", file.text(), "--map", &both[0], "--map", &both[1]]).failed_with("is the new name of two regions");
}

#[test]
fn a_recorder_follows_a_producer_that_begins_again() {
    let (name, file) = (TempRegion::new(), TempPath::new("mcap"));
    let mut recorder = None;
    for generation in 0..3_u8 {
        let mut producer = region(&name);
        recorder = recorder.or_else(|| Some(record(&["-o", file.text(), &name], &[&producer])));
        until("the recorder is attached", || producer.consumers() == 1);
        producer.set_caps(format!("video/x-raw, width={generation}").as_bytes()).unwrap();
        producer.send(&[generation; 100], &FrameInfo::new()).unwrap();
        assert!(producer.drain(Duration::from_secs(60)));
        if generation == 2 {
            producer.end_of_stream().unwrap();
            producer.drain(Duration::from_secs(60));
        }
    }
    assert!(succeeded(recorder.unwrap()).contains("3 frames"));
    let [(again, _)] = &replay(&[file.text()], &[&name])[..] else { panic!() };
    assert_eq!(again.iter().map(|item| item.bytes[0]).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(again[2].caps.as_deref(), Some(&b"video/x-raw, width=2"[..]));
}

#[test]
fn a_recording_ends_by_its_number_of_frames_its_time_or_a_signal() {
    let name = TempRegion::new();
    let mut producer = region(&name);
    let files = [(); 3].map(|()| TempPath::new("mcap"));
    let recorder = record(&["-o", files[0].text(), &name, "-n", "2"], &[&producer]);
    for _ in 0..4 {
        producer.send(b"frame", &FrameInfo::new()).unwrap();
    }
    assert!(succeeded(recorder).contains("2 frames"));
    let recorder = begin(&["record", "-o", files[1].text(), &name, "--duration", "100ms"]);
    assert!(succeeded(recorder).contains("1 frames"), "the newest frame is the beginning");
    let recorder = record(&["-o", files[2].text(), &name], &[&producer]);
    producer.send(b"frame", &FrameInfo::new()).unwrap();
    assert!(producer.drain(Duration::from_secs(60)));
    recorder.signal(shm2_testing::Signal::INT);
    assert!(succeeded(recorder).contains(" frames"));
    drop(producer);
    shm2(&["record", "-o", files[2].text(), &name]).failed_with("choose another name, or replace it with --overwrite");
    shm2(&["record", "-o", files[2].text(), &name, &name]).failed_with("is given twice");
    // Loops until the signal.
    let player = begin(&["replay", files[0].text(), "--loop"]);
    let mut consumer = consumer(&name);
    (0..20).for_each(|_| drop(consumer.next(LIMIT).unwrap()));
    player.signal(shm2_testing::Signal::TERM);
    assert!(succeeded(player).contains("dropped"));
    assert!(!name.exists());
}

/// A file with at least one chunk on the disk, whose recorder was killed.
fn killed_recording(name: &TempRegion, file: &TempPath) -> u64 {
    let mut producer = region(name);
    producer.set_caps(VIDEO.as_bytes()).unwrap();
    let recorder = record(&["-o", file.text(), name], &[&producer]);
    let mut sent = 0;
    // A chunk is written each second, or after 8 MiB.
    until("the first chunks are written", || {
        producer.send(&vec![sent as u8; 1_000_000], &FrameInfo::new().with_pts(sent)).unwrap();
        producer.drain(Duration::from_secs(1));
        sent += 1;
        std::fs::metadata(file).is_ok_and(|file| file.len() > 12 << 20)
    });
    recorder.kill();
    sent
}

#[test]
fn a_recorder_that_is_killed_leaves_a_file_that_is_good_up_to_its_last_chunk() {
    let (name, file) = (TempRegion::new(), TempPath::new("mcap"));
    let sent = killed_recording(&name, &file);
    let player = begin(&["replay", "--wait", "--block", "--unpaced", file.text()]);
    let mut consumer = consumer(&name);
    let (again, _) = items(&mut consumer);
    drop(consumer);
    assert!(succeeded(player).contains("what precedes it is replayed"));
    assert!(again.len() >= 8 && again.len() as u64 <= sent, "{} of {sent}", again.len());
    for (number, item) in again.iter().enumerate() {
        assert!(item.info.pts == Some(number as u64) && item.bytes == vec![number as u8; 1_000_000], "{number}");
    }
    // A wrong byte in the second chunk, which is then not taken; it may have been cut off already.
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() - 100_000;
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let player = begin(&["replay", "--unpaced", "--json", file.text()]);
    let text = succeeded(player);
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(line["frames"].as_u64() >= Some(8) && text.contains("what precedes it is replayed"), "{text}");
    // Cut in each of its parts.
    for length in [0, 7, 8, 9, 60, 200, 1_000_000, 8_000_000] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        shm2(&["replay", "--unpaced", file.text()]).failed_with(&file.text()[..5]);
    }
}

#[test]
fn a_full_disk_ends_a_recording_with_one_sentence_and_a_good_file() {
    let (name, file) = (TempRegion::new(), TempPath::new("mcap"));
    let mut producer = region(&name);
    // The limit of a file is in units of 512 bytes or of 1,024, as the shell likes.
    let script = "ulimit -f 20000; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_shm2"), "record", "-o", file.text(), &name]);
    let mut recorder =
        ChildGuard::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
    until("the recorder is attached", || producer.consumers() == 1);
    let mut sent = 0_u64;
    until("the recorder has ended", || {
        producer.send(&vec![sent as u8; 1_000_000], &FrameInfo::new().with_pts(sent)).unwrap();
        sent += 1;
        producer.drain(Duration::from_secs(1));
        !recorder.is_running()
    });
    let output = recorder.output();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("file size limit") && error.contains("the file is good up to its last chunk"), "{error}");
    drop(producer);
    let [(again, _)] = &replay(&[file.text(), "--unpaced"], &[&name])[..] else { panic!() };
    assert!(again.len() >= 8 && again.iter().enumerate().all(|(n, item)| item.bytes[9] == n as u8), "{}", again.len());
    if Path::new("/dev/full").exists() {
        shm2(&["record", "--overwrite", "-o", "/dev/full", &name]).failed_with("No space left on device");
    }
    shm2(&["record", "-o", "/no-such-folder/x.mcap", &name]).failed_with("cannot make /no-such-folder/x.mcap");
}

#[test]
fn files_that_are_no_recordings_and_regions_that_are_none_give_one_sentence() {
    let (name, file) = (TempRegion::new(), TempPath::new("mcap"));
    shm2(&["replay", file.text()]).failed_with("No such file");
    shm2(&["replay", "/tmp"]).failed_with("is not a regular file");
    std::fs::write(&file, b"garbage that is longer than the magic bytes").unwrap();
    shm2(&["replay", file.text()]).failed_with("is no MCAP file");
    let mut other = mcap::WriteOptions::new().compression(None).create(std::fs::File::create(&file).unwrap()).unwrap();
    let channel = other.add_channel(0, "/chatter", "json", &Default::default()).unwrap();
    let header = mcap::records::MessageHeader { channel_id: channel, sequence: 0, log_time: 0, publish_time: 0 };
    other.write_to_known_channel(&header, b"{}").unwrap();
    other.finish().unwrap();
    shm2(&["replay", file.text()]).failed_with("has no frames of regions");
    // A region's channel without caps and with a message that is too short, and a name that is none.
    for (topic, size, says) in [(&*name, "x", ""), ("nonsense", "1", "nonsense"), (&*name, "1152921504606846976", "")] {
        let mut other =
            mcap::WriteOptions::new().compression(None).create(std::fs::File::create(&file).unwrap()).unwrap();
        let metadata = [("region_bytes".to_owned(), size.to_owned())].into();
        let channel_id = other.add_channel(0, topic, "shm2", &metadata).unwrap();
        let header = mcap::records::MessageHeader { channel_id, sequence: 0, log_time: u64::MAX, publish_time: 0 };
        other.write_to_known_channel(&header, b"short").unwrap();
        other.write_to_known_channel(&header, &[0; 100]).unwrap();
        other.finish().unwrap();
        let ended = shm2(&["replay", file.text()]);
        match (size, topic) {
            ("x", _) => assert!(ended.succeeded().text().contains("0 frames")),
            _ => drop(ended.failed_with(if says.is_empty() { "is out of range" } else { says })),
        }
    }
    std::fs::write(name.path(), b"no region").unwrap();
    let recording = TempPath::new("mcap");
    let ended = shm2(&["record", "-o", recording.text(), &name, "--duration", "20"]);
    assert!(ended.error.lines().count() == 1 && ended.code == Some(1), "{}", ended.error);
    for wrong in [&["replay", file.text(), "--rate", "0"][..], &["record", "-o", "x"], &["replay", "x", "--rate", "-1"]]
    {
        assert_eq!(shm2(wrong).code, Some(2));
    }
}

#[test]
fn a_recording_ends_in_time_though_it_lags_behind() {
    let (name, file) = (TempRegion::new(), TempPath::new("lag.mcap"));
    let mut producer = region(&name);
    let frame = vec![7; 1 << 20];
    let mut recorder = record(&["--duration", "300ms", "-o", file.text(), &name], &[&producer]);
    // There is always a frame to take.
    until("the recorder ends", || {
        producer.send(&frame, &FrameInfo::new()).unwrap();
        recorder.ended().is_some()
    });
    assert!(recorder.wait().success());
}
