//! Ends without warning, ten times each: of the producer, of either bridge and of the router. Frames flow again each time,
//! what was lost is marked, and nothing is left behind. And bad input: one sentence each.

mod common;

use common::*;
use shm2::{Consumer, Producer};
use shm2_testing::{LIMIT, Signal, TempPath, TempRegion};
use std::time::{Duration, Instant};

/// Numbered frames from one end to the other.
struct Line {
    router: Router,
    region: TempRegion,
    local: TempRegion,
    count: u64,
    consumer: Consumer,
}

impl Line {
    fn new() -> Self {
        let local = TempRegion::new();
        let consumer = consumer(&local);
        Self { router: Router::start(), region: TempRegion::new(), local, count: 0, consumer }
    }

    /// Publishes until a frame of now arrives; that it took, in milliseconds.
    #[track_caller]
    fn flows(&mut self, producer: &mut shm2::Producer) -> u128 {
        let (begun, from, consumer) = (Instant::now(), self.count, &mut self.consumer);
        send_until(producer, &mut self.count, || soon(consumer).is_some_and(|number| number >= from));
        begun.elapsed().as_millis()
    }
}

fn ten(what: &str, mut kill: impl FnMut(&mut Line) -> u128, line: &mut Line) {
    let times: Vec<_> = (0..10).map(|_| kill(line)).collect();
    println!("{what} killed ten times: frames after {times:?} ms");
    let leftovers = shm2::discovery::leftovers(std::path::Path::new("/dev/shm")).unwrap();
    assert!(leftovers.iter().all(|file| ![line.region.path(), line.local.path()].contains(&&*file.path)));
}

#[test]
fn each_bridge_is_killed_ten_times_and_frames_flow_again() {
    let mut line = Line::new();
    let mut producer = producer(&line.region);
    let mut publish = Some(line.router.publish(&line.region, &[]));
    let mut open = Some(line.router.open(&line.region, &line.local, &[]));
    line.flows(&mut producer);
    let kill_publish = |line: &mut Line| {
        publish.take().unwrap().kill();
        publish = Some(line.router.publish(&line.region, &[]));
        line.flows(&mut producer)
    };
    ten("the publishing bridge", kill_publish, &mut line);
    let kill_open = |line: &mut Line| {
        open.take().unwrap().kill();
        open = Some(line.router.open(&line.region, &line.local, &[]));
        line.flows(&mut producer)
    };
    ten("the opening bridge", kill_open, &mut line);
    open.unwrap().stop();
    drop(publish);
    assert!(!line.local.exists());
}

/// Bridges that know only the router, so that each frame goes through it.
#[test]
fn the_router_is_killed_ten_times_and_frames_flow_again() {
    let mut line = Line::new();
    let mut producer = producer(&line.region);
    let _publish = line.router.publish(&line.region, &["--client"]);
    let open = line.router.open(&line.region, &line.local, &["--client"]);
    line.flows(&mut producer);
    let kill = |line: &mut Line| {
        line.router.restart();
        line.flows(&mut producer)
    };
    ten("the router", kill, &mut line);
    let text = open.stop();
    assert!(text.contains("published again"), "{text}");
}

/// A producer that is a process of its own, as a kill of it is not the end of a value.
#[test]
fn the_producer_is_killed_ten_times_and_frames_flow_again() {
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_shm2_zenoh")).ancestors().nth(3).unwrap().join("debug");
    let Some(program) = [built.join("shm2_producer")].into_iter().find(|program| program.exists()) else {
        return shm2_testing::skip("shm2_producer is not built: cargo build --workspace --bins");
    };
    let mut line = Line::new();
    let start = |region: &TempRegion| {
        let mut command = std::process::Command::new(&program);
        command.args([&**region, "100000", "--rate", "200", "--full-policy", "drop-oldest", "--frame-size", "64K"]);
        Bridge::start(&mut command)
    };
    let mut producer = Some(start(&line.region));
    let _publish = line.router.publish(&line.region, &[]);
    let open = line.router.open(&line.region, &line.local, &[]);
    assert!(line.consumer.next(Some(LIMIT)).is_ok());
    let kill = |line: &mut Line| {
        producer.take().unwrap().kill();
        // What is still on its way.
        while line.consumer.next(Some(Duration::from_millis(300))).is_ok() {}
        let begun = Instant::now();
        producer = Some(start(&line.region));
        let frame = line.consumer.next(Some(LIMIT)).unwrap();
        assert!(frame.info().flags & 0x40 != 0, "the first frame of the next producer is a discontinuity");
        begun.elapsed().as_millis()
    };
    ten("the producer", kill, &mut line);
    open.stop();
}

#[test]
fn bad_input_gives_one_sentence() {
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = producer(&region);
    let _publish = router.publish(&region, &[]);
    let one_line = |bridge: Bridge, expected: &str| {
        let text = bridge.fails();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("publishing as")).collect();
        assert!(lines.len() == 1 && lines[0].contains(expected), "{expected:?} in {text:?}");
    };
    let open = |source: &str, more: &[&str]| router.bridge(&[&["open", source, "--as", &local], more].concat());
    one_line(open("camera", &[]), r#""camera" is not HOST/REGION: `shm2_zenoh list` shows the names"#);
    one_line(open("north/../etc", &[]), r#""north/../etc" is not HOST/REGION"#);
    one_line(open("north/nothing", &["--timeout", "1"]), "no host publishes north/nothing: `shm2_zenoh list` shows");
    let far = ["--size", "900G", "--size-limit", "900G"];
    one_line(open(&source(&region), &far), "choose a smaller size");
    one_line(router.bridge(&["open", &source(&region), "--as", "/nowhere/x"]), "the directory of");
    one_line(router.bridge(&["publish", "/tmp/x"]), r#""/tmp/x" is not below "/dev/shm""#);
    one_line(router.bridge(&["publish", "x", "--folder", "/nowhere"]), "the folder \"/nowhere\" is not there");
    one_line(router.bridge(&["publish", "x", "--encode", " "]), "--encode names no elements");
    one_line(router.bridge(&["list", "--config", "/nowhere.json5"]), "the zenoh configuration \"/nowhere.json5\"");
    for wrong in ["", "nonsense", "tcp/x", "tcp/1.2.3.4:99999", "tcp/:1", "foo/x:1"] {
        one_line(router.bridge(&["list", "--connect", wrong]), &format!("--connect {wrong:?} is not an endpoint"));
    }
    one_line(Bridge::start(&mut program(&["list", "--client"])), "finds no router: name one with --connect");
    one_line(Bridge::start(&mut program(&["router", "--client"])), "a router is no client");
    let nobody = format!("tcp/127.0.0.1:{}", free_port());
    let lonely = program(&["list", "--wait", "0.1", "--connect", &nobody, "--listen", "tcp/127.0.0.1:0"]);
    one_line(Bridge::start(&mut { lonely }), &format!("nobody answers at {nobody}"));
    // What concerns the local region is said before its source is waited for.
    let long = format!("{}/{}", "h".repeat(100), "r".repeat(190));
    one_line(router.bridge(&["open", &long]), "choose a shorter one with --as");
    one_line(router.bridge(&["open", "north/nothing", "--as", "relative"]), "is not an absolute path");
    // A second bridge for the same local region.
    let first = open(&source(&region), &[]);
    first.says("opened");
    one_line(open(&source(&region), &[]), "has a live producer already: stop it or choose another name");
    let (mut reader, mut count) = (consumer(&local), 0);
    send_until(&mut producer, &mut count, || soon(&mut reader).is_some());
}

/// Two bridges publish one region: the frames of one are taken, in order, and the user is told.
#[test]
fn of_two_publishers_of_one_name_one_is_followed() {
    let mut line = Line::new();
    let mut producer = producer(&line.region);
    let _publish = [line.router.publish(&line.region, &[]), line.router.publish(&line.region, &[])];
    let open = line.router.open(&line.region, &line.local, &[]);
    line.flows(&mut producer);
    // From then on the later one is followed.
    send_until(&mut producer, &mut line.count, || open.text().contains("two bridges publish"));
    while soon(&mut line.consumer).is_some() {}
    let mut last = 0;
    for _ in 0..100 {
        send(&mut producer, line.count);
        line.count += 1;
        if let Some(number) = soon(&mut line.consumer) {
            assert!(number > last, "{number} after {last}");
            last = number;
        }
    }
    assert!(last > 0);
}

#[test]
fn a_user_without_permission_gets_one_sentence() {
    if !rustix_is_root() {
        return shm2_testing::skip("only root can try another user's permissions");
    }
    let (router, region) = (Router::start(), TempRegion::new());
    let _producer = producer(&region);
    let _publish = router.publish(&region, &[]);
    let folder = TempPath::new("zenoh-private");
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("shm2_zenoh");
    // Where another user can run it.
    std::fs::copy(env!("CARGO_BIN_EXE_shm2_zenoh"), &program).unwrap();
    let path = folder.join("local");
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    command.args(["open", &source(&region), "--as", path.to_str().unwrap(), "--no-multicast"]);
    let text = Bridge::start(command.args(["--connect", &router.endpoint, "--listen", "tcp/127.0.0.1:0"])).fails();
    assert!(text.contains("permission denied for") && text.lines().count() == 1, "{text}");
}

fn rustix_is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"))
}

#[test]
fn a_name_that_fits_nothing_is_said_and_a_relative_folder_works() {
    let (router, region) = (Router::start(), TempRegion::new());
    let _producer = producer(&region);
    let mut command = program(&["publish", &source(&region)["north/".len()..], "nothing-*", "--folder", "shm"]);
    command.current_dir("/dev").args(["--host", "north", "--connect", &router.endpoint, "--listen", "tcp/127.0.0.1:0"]);
    let publish = Bridge::start(&mut command);
    publish.says("waiting: no region in \"/dev/shm\" fits \"nothing-*\" yet");
    publish.says(&format!("published: {}", source(&region)));
    let local = TempRegion::new();
    let open = router.open(&region, &local, &[]);
    open.says("opened");
    assert_eq!(publish.text().matches("waiting").count(), 1);
}

/// Under `--lossless` the publisher waits for a reader, but its end does not.
#[test]
fn a_publisher_ends_though_a_lossless_reader_takes_nothing() {
    let mut line = Line::new();
    let mut producer = Producer::builder(&line.region).unwrap().arena(64 << 20).create().unwrap();
    let publish = line.router.publish(&line.region, &["--lossless"]);
    let open = line.router.open(&line.region, &line.local, &["--lossless", "--always"]);
    line.flows(&mut producer);
    open.signal(Signal::STOP);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        producer.send(&vec![1; 1 << 20], &shm2::FrameInfo::new()).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    // The message that waits is given up. Without that it is 30 s, or zenoh's lease.
    let begun = Instant::now();
    publish.stop();
    println!("ended within {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(8));
    open.signal(Signal::CONT);
    open.kill();
}
