//! A region is another process's word: wrong caps, layouts, times and bytes, and processes that stop, end no camera.

mod common;

use common::{STEP_NS, Session, Source, consumers, gray, raw};
use shm2::{FrameInfo, Producer, monotonic_ns};
use shm2_testing::{ChildGuard, Signal, TempPath, TempRegion, process, until};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A layout, item 1 of docs/protocol.md, section 24.
fn layout(width: u32, height: u32, offsets: &[u64], strides: &[i32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [0, width, height, offsets.len() as u32] {
        bytes.extend(number.to_le_bytes());
    }
    offsets.iter().for_each(|offset| bytes.extend(offset.to_le_bytes()));
    strides.iter().for_each(|stride| bytes.extend(stride.to_le_bytes()));
    bytes.extend(b"I420");
    let head = [&1_u16.to_le_bytes()[..], &[0; 2], &(bytes.len() as u32).to_le_bytes()];
    [&head.concat()[..], &bytes].concat()
}

/// A producer that the test sends frames with.
fn producer(region: &TempRegion) -> Producer {
    Producer::builder(region).unwrap().size(64 << 20).create().unwrap()
}

fn send(producer: &mut Producer, bytes: &[u8], info: &FrameInfo, meta: &[u8]) {
    let mut reservation = producer.reserve(bytes.len()).unwrap();
    reservation.write_at(0, bytes).unwrap();
    producer.publish_with_meta(reservation, info, meta).unwrap();
    std::thread::sleep(Duration::from_nanos(STEP_NS / 4));
}

/// Pictures of the region come again after whatever was tried.
fn comes_back(session: &Session, camera: &mut common::Camera, region: &TempRegion) {
    assert!(camera.child.is_running(), "{:?}", camera.errors.lock().unwrap());
    let _source = Source::start(region, &raw("I420", 320, 240), gray(320, 240, 90));
    let picture = gray(320, 240, 90);
    until("pictures come again", || session.pictures(&camera.names[0], 3, "video/x-raw").ends_with(&picture));
    session.watch(&camera.names[0]).advances(3);
}

#[test]
fn wrong_frames_layouts_and_times_end_no_camera() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let mut source = producer(&region);
    source.set_caps(raw("I420", 320, 240).as_bytes()).unwrap();
    let mut camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    let (whole, size) = (gray(320, 240, 90), 320 * 240 * 3 / 2);
    let times = [None, Some(0), Some(u64::MAX), Some(u64::MAX / 2 + 1), Some(1), Some(monotonic_ns() - 5_000_000_000)];
    let layouts = [
        layout(320, 240, &[0, 76_800, 96_000], &[320, 160, 160]),
        layout(320, 240, &[0, 76_800, 96_000], &[i32::MAX, 160, 160]),
        layout(320, 240, &[0, 76_800, 96_000], &[-320, -160, i32::MIN]),
        layout(320, 240, &[u64::MAX, u64::MAX - 5, 96_000], &[320, 160, 160]),
        layout(320, 240, &[115_199, 0, 0], &[320, 160, 160]),
        layout(u32::MAX, u32::MAX, &[0, 0, 0], &[320, 160, 160]),
        layout(320, 240, &[0; 4], &[0; 4]),
        layout(320, 240, &[], &[]),
        vec![255; 64],
        Vec::new(),
    ];
    reader.receives(1);
    for time in times {
        let mut info = FrameInfo::new();
        (info.time, info.pts) = (time, time);
        for meta in &layouts {
            for bytes in [&whole[..], &whole[..1], &whole[..size - 1], &[], &[whole.clone(), vec![7; 9000]].concat()] {
                send(&mut source, bytes, &info, meta);
            }
        }
    }
    assert!(reader.seen().iter().all(|seen| seen.bytes == size as u64), "{:?}", reader.seen());
    let errors = camera.errors.lock().unwrap().clone();
    assert!(!errors.is_empty() && errors.iter().all(|line| line.starts_with("shm2-camera: ")), "{errors:?}");
    drop((source, reader));
    comes_back(&session, &mut camera, &region);
}

#[test]
fn caps_that_change_with_each_frame_and_huge_or_odd_sizes_end_no_camera() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let mut source = producer(&region);
    source.set_caps(raw("I420", 320, 240).as_bytes()).unwrap();
    let mut camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.receives(1);
    let begun = Instant::now();
    let caps = [
        raw("RGBA", 16_384, 16_384),
        raw("GRAY8", 16_384, 1),
        raw("I420", 1, 1),
        raw("NV12", 3, 5),
        raw("BGR", 1, 7),
        raw("I420", 0, 0),
        raw("I420", 65_536, 65_536),
        raw("I420_10LE", 17, 13),
        raw("NV12_64Z32", 64, 64),
        "image/jpeg, width=16384, height=16384, framerate=30/1".into(),
        "image/jpeg, width=65535, height=65535".into(),
        "image/jpeg, width=-1, height=-1".into(),
        "video/x-raw, format=I420, width=320, height=240, framerate=-7/0, colorimetry=4000000000:9:9:9".into(),
        "video/x-raw".into(),
        "\u{fffd}((((".into(),
    ];
    for _ in 0..4 {
        for caps in &caps {
            // The channel itself refuses some.
            if source.set_caps(caps.as_bytes()).is_ok() {
                send(&mut source, &[5; 6000], &FrameInfo::new(), &[]);
            }
        }
    }
    let (lines, seconds) = (camera.errors.lock().unwrap().len() as u64, begun.elapsed().as_secs());
    assert!((1..=seconds + 2).contains(&lines), "{lines} lines in {seconds} s: {:?}", camera.errors.lock().unwrap());
    let resident = process::peak_bytes(camera.child.id()).unwrap();
    assert!(resident < 1 << 30, "{resident} bytes were resident");
    drop((source, reader));
    comes_back(&session, &mut camera, &region);
}

#[test]
fn a_region_whose_bytes_are_overwritten_ends_no_camera() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let mut state = shm2_testing::seed() | 1;
    let mut camera = {
        let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
        session.camera(&[&region])
    };
    for _ in 0..5 {
        let mut source = producer(&region);
        source.set_caps(raw("I420", 320, 240).as_bytes()).unwrap();
        send(&mut source, &gray(320, 240, 90), &FrameInfo::new(), &[]);
        let reader = session.watch(&camera.names[0]);
        reader.receives(1);
        let file = std::fs::OpenOptions::new().write(true).open(region.path()).unwrap();
        // Header, descriptions of frames, and caps lie at the beginning.
        for _ in 0..2000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            file.write_all_at(&state.to_le_bytes(), (state >> 33) % 65_536 / 8 * 8).unwrap();
        }
        // The camera looks at it; this producer may be refused its own region.
        std::thread::sleep(Duration::from_millis(100));
        reader.child.kill();
        drop(source);
        let _ = std::fs::remove_file(region.path());
    }
    comes_back(&session, &mut camera, &region);
}

#[test]
fn names_that_are_no_regions_are_refused_at_once() {
    let Some(session) = Session::start() else { return };
    let folder = TempPath::new("camera-names");
    std::fs::create_dir(&folder).unwrap();
    let (fifo, link, text) = (folder.join("fifo"), folder.join("link"), folder.join("text"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    std::fs::write(&text, "no region").unwrap();
    for path in [folder.text(), fifo.to_str().unwrap(), link.to_str().unwrap(), text.to_str().unwrap()] {
        let (code, error) = session.fails(session.command(env!("CARGO_BIN_EXE_shm2-camera")).arg(path));
        assert_eq!(code, Some(1), "{path}: {error}");
        assert!(error.starts_with("shm2-camera: ") && error.contains(path), "{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
}

#[test]
fn twenty_cameras_in_one_program_are_read_at_once() {
    let Some(session) = Session::start() else { return };
    let regions: Vec<_> = (0..20).map(|_| TempRegion::new()).collect();
    let sources: Vec<_> =
        regions.iter().map(|region| Source::start(region, &raw("I420", 64, 48), gray(64, 48, 90))).collect();
    let names: Vec<_> = regions.iter().map(|region| &**region).collect();
    let camera = session.camera(&names);
    let readers: Vec<_> = camera.names.iter().map(|name| session.watch(name)).collect();
    readers.iter().for_each(|reader| reader.advances(3));
    assert!(regions.iter().all(|region| consumers(region) == 1));
    drop(sources);
}

#[test]
fn a_producer_that_starts_twenty_times_in_a_second_is_followed() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let first = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    let mut camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.advances(3);
    drop(first);
    for number in 0..20 {
        let mut source = producer(&region);
        source.set_caps(raw(if number % 2 == 0 { "I420" } else { "NV12" }, 320, 240).as_bytes()).unwrap();
        send(&mut source, &gray(320, 240, 90), &FrameInfo::new(), &[]);
        std::thread::sleep(Duration::from_millis(40));
    }
    drop(reader);
    comes_back(&session, &mut camera, &region);
}

/// A process that is stopped, until the value is dropped.
struct Stopped<'c>(&'c ChildGuard);

impl<'c> Stopped<'c> {
    fn new(child: &'c ChildGuard) -> Self {
        child.signal(Signal::STOP);
        until("it is stopped", || process::is_stopped(child.id()));
        Self(child)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

#[test]
fn stopped_readers_producers_and_pipewire_hold_up_no_camera_for_good() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let mut command = session.command("gst-launch-1.0");
    command.args("-q videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240 ! shm2sink".split(' '));
    command.arg(format!("shm-path={}", &*region)).stderr(Stdio::null());
    let producer = ChildGuard::spawn(&mut command).unwrap();
    until("the producer is there", || shm2::Overview::of(&region).is_ok_and(|overview| overview.newest > 0));
    let mut camera = session.camera(&[&region]);
    let (first, second) = (session.watch(&camera.names[0]), session.watch(&camera.names[0]));
    first.advances(5);
    second.advances(5);
    {
        let _stopped = Stopped::new(&producer);
        first.receives(3);
    }
    first.advances(5);
    {
        let _stopped = Stopped::new(&first.child);
        std::thread::sleep(Duration::from_secs(1));
        let busy = process::busy(camera.child.id());
        std::thread::sleep(Duration::from_secs(1));
        let busy = process::busy(camera.child.id()) - busy;
        assert!(busy < Duration::from_millis(500), "busy for {busy:?} of a second while a reader is stopped");
    }
    first.advances(5);
    second.advances(5);
    {
        let _stopped = Stopped::new(session.pipewire.as_ref().unwrap());
        std::thread::sleep(Duration::from_secs(1));
        let mut late = session.command(env!("CARGO_BIN_EXE_shm2-camera"));
        let (code, error) = session.fails(late.arg(&*region));
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("PipeWire does not answer"), "{error}");
    }
    first.advances(5);
    let _stopped = Stopped::new(session.pipewire.as_ref().unwrap());
    camera.child.signal(Signal::TERM);
    assert_eq!(camera.child.wait().code(), Some(0));
    until("the region is let go", || consumers(&region) == 0);
}

#[test]
fn an_interrupted_camera_ends_with_code_0_and_lets_the_region_go() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    for signal in [Signal::INT, Signal::TERM] {
        let mut camera = session.camera(&[&region]);
        let reader = session.watch(&camera.names[0]);
        reader.advances(3);
        assert_eq!(consumers(&region), 1);
        camera.child.signal(signal);
        assert_eq!(camera.child.wait().code(), Some(0));
        until("the region is let go", || consumers(&region) == 0);
    }
}
