//! The server with GStreamer's own client, and with plain requests.

mod common;

use common::{AUDIO, Pipeline, Player, Server, VIDEO, ask, consumers, output, private_file};
use shm2::{FrameInfo, Producer};
use shm2_testing::{Signal, TempRegion, until};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

fn mount(path: &str, regions: &[&TempRegion]) -> String {
    let regions: Vec<&str> = regions.iter().map(|region| &***region).collect();
    format!("{path}={}", regions.join(","))
}

#[test]
fn a_region_has_one_consumer_while_clients_play_and_none_otherwise() {
    let (video, audio) = (TempRegion::new(), TempRegion::new());
    let _producers = [Pipeline::produce(VIDEO, &video), Pipeline::produce(AUDIO, &audio)];
    let server = Server::start(&["--mount", &mount("/cam", &[&video, &audio])]);
    assert_eq!((consumers(&video), consumers(&audio)), (0, 0), "before anybody plays");
    let players = [Player::video(&server.url("/cam")), Player::video(&server.url("/cam"))];
    players.iter().for_each(|player| player.plays(10));
    assert_eq!((consumers(&video), consumers(&audio)), (1, 1), "two clients share one pipeline");
    let sound = Player::start(&server.url("/cam"), "protocols=udp", "rtpopusdepay");
    sound.plays(10);
    assert_eq!(server.status()["mounts"][0]["starts"], 1);
    drop((players, sound));
    let time = until("the regions are released", || consumers(&video) + consumers(&audio) == 0);
    println!("released after {time:?}");
    until("the state", || server.status()["mounts"][0]["plays"] == false);
}

#[test]
fn a_connection_that_breaks_releases_its_region() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let server = Server::start(&["--mount", &mount("/cam", &[&video])]);
    let source = format!("location={}", server.url("/cam"));
    let mut client = std::process::Command::new("gst-launch-1.0");
    client.args(["-q", "rtspsrc", &source, "protocols=udp", "!", "fakesink"]).stdout(Stdio::null());
    let client = shm2_testing::ChildGuard::spawn(&mut client).unwrap();
    until("a consumer", || consumers(&video) == 1);
    client.kill();
    let time = until("the region is released", || consumers(&video) == 0);
    println!("released {time:?} after the client was killed");
}

/// By UDP the connection stays when a client is stopped, as it does when its machine vanishes.
#[test]
fn a_client_that_says_nothing_any_more_is_gone_after_the_session_timeout() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let server = Server::start(&["--mount", &mount("/cam", &[&video]), "--session-timeout", "1"]);
    let source = format!("location={}", server.url("/cam"));
    let mut client = std::process::Command::new("gst-launch-1.0");
    client.args(["-q", "rtspsrc", &source, "protocols=udp", "!", "fakesink"]).stdout(Stdio::null());
    let client = shm2_testing::ChildGuard::spawn(&mut client).unwrap();
    until("a consumer", || consumers(&video) == 1);
    until("a session", || server.status()["sessions"] == 1);
    client.signal(Signal::STOP);
    let time = until("the region is released", || consumers(&video) == 0);
    println!("released {time:?} after the client was stopped");
}

/// The encoder would never make a second keyframe by itself.
#[test]
fn a_client_that_begins_in_the_middle_gets_a_keyframe() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let encoder = "video/x-raw,format=I420 ! x264enc tune=zerolatency key-int-max=100000 option-string=scenecut=0";
    let server = Server::start(&["--mount", &mount("/cam", &[&video]), "--encoder", encoder]);
    let first = Player::video(&server.url("/cam"));
    first.plays(30);
    let second = Player::start(&server.url("/cam"), "protocols=tcp", "rtph264depay wait-for-keyframe=true");
    second.plays(5);
}

#[test]
fn connections_above_the_limit_are_closed() {
    let server = Server::start(&["--mount", "/cam=/dev/shm/shm2-test-none", "--max-clients", "2"]);
    let connect = || std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let _two = [connect(), connect()];
    until("two clients", || server.status()["clients"] == 2);
    let mut third = connect();
    third.set_read_timeout(Some(shm2_testing::LIMIT)).unwrap();
    let count = std::io::Read::read(&mut third, &mut [0; 10]);
    assert!(matches!(count, Ok(0) | Err(_)), "{count:?}");
    until("two clients", || server.status()["clients"] == 2);
    assert_eq!(server.status()["clients_refused"], 1);
}

#[test]
fn what_cannot_be_played_is_refused_with_the_reason() {
    let none = TempRegion::new();
    // The last one would make a resampler ask for 266 GB; what others write into caps stays one line of the log.
    let wrong = [
        "text/x-raw, words=(string)\"a\\012b\"",
        "video/x-raw, format=GRAY8, width=20000, height=1",
        "video/x-raw, format=GRAY8, width=16384, height=16384",
        "audio/x-raw, format=S16LE, rate=2147483647, channels=2, layout=interleaved",
    ];
    let regions = wrong.map(|_| TempRegion::new());
    let _producers: Vec<_> = regions.iter().zip(wrong).map(|(region, caps)| words(region, caps)).collect();
    let mounts: Vec<_> = (0..wrong.len()).map(|n| mount(&format!("/{n}"), &[&regions[n]])).collect();
    let none_mount = mount("/none", &[&none]);
    let given = mounts.iter().chain([&none_mount]).flat_map(|mount| ["--mount", mount]);
    let server = Server::start(&given.collect::<Vec<_>>());
    assert!(server.describe("/nothing").starts_with("RTSP/1.0 404 "));
    server.waits_for_log("there is no mount \"/nothing\"");
    assert!(server.describe("/none").starts_with("RTSP/1.0 503 "));
    server.waits_for_log(&format!("{:?} does not exist: start its producer", &*none));
    for (number, caps) in wrong.iter().enumerate() {
        assert!(server.describe(&format!("/{number}")).starts_with("RTSP/1.0 415 "), "{caps}");
        server.waits_for_log(&format!("{caps:?}, which RTSP cannot carry"));
    }
    let status = server.status();
    assert_eq!((&status["mounts"][0]["refused"], &status["not_found"]), (&1.into(), &1.into()));
}

fn words(region: &TempRegion, caps: &str) -> Producer {
    let mut producer = Producer::create(region).unwrap();
    producer.set_caps(caps.as_bytes()).unwrap();
    producer.send(b"words", &FrameInfo::new()).unwrap();
    producer
}

/// Whatever comes by the network, the server answers or closes the connection, and goes on.
#[test]
fn requests_that_make_no_sense_leave_the_server_as_it_is() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let server = Server::start(&["--mount", &mount("/cam", &[&video]), "--regions", &format!("{}*", &*video)]);
    let describe = |path: &[u8], more: &str| {
        let parts = [b"DESCRIBE rtsp://127.0.0.1", path, b" RTSP/1.0\r\nCSeq: 1\r\n", more.as_bytes(), b"\r\n"];
        parts.concat()
    };
    for (request, code) in [
        (describe(b"/\xff\xfe", ""), "404"),
        (describe(b"/cam/\xff\xfe", ""), "404"),
        (describe(b"/../cam", ""), "404"),
        (describe(b"/cam%00", ""), "404"),
        (describe(&[b"/", &[b'a'; 3000][..]].concat(), ""), "404"),
        (describe(&[b"/", &[b'a'; 10_000][..]].concat(), ""), "400"),
        (describe(b"", ""), "404"),
        (describe(b"/cam", "Content-Length: 1099511627776\r\n"), "413"),
        (describe(b"/cam", "Content-Length: 1000000\r\n"), "413"),
        (describe(b"/cam", "Content-Length: -1\r\n"), "400"),
        ((0..=255).collect(), "400"),
    ] {
        let answer = server.ask(&request);
        let text = String::from_utf8_lossy(&request);
        assert!(answer.starts_with(&format!("RTSP/1.0 {code} ")), "{text:.100}: {answer}");
    }
    assert!(server.describe("/cam").starts_with("RTSP/1.0 200 "));
}

#[test]
fn encoded_regions_are_sent_as_they_are() {
    let regions = [(); 4].map(|()| TempRegion::new());
    let kinds = [
        ("x264enc tune=zerolatency key-int-max=25", VIDEO, "H264/90000"),
        ("jpegenc", VIDEO, "JPEG/90000"),
        ("audioconvert ! opusenc", AUDIO, "OPUS/48000"),
        ("audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc", AUDIO, "PCMU/8000"),
    ];
    let start = |(region, (encoder, source, _)): (&TempRegion, &(&str, &str, &str))| {
        Pipeline::produce(&format!("{source} ! {encoder}"), region)
    };
    let _producers: Vec<_> = regions.iter().zip(&kinds).map(start).collect();
    let mounts: Vec<_> = (0..4).map(|n| mount(&format!("/{n}"), &[&regions[n]])).collect();
    let arguments: Vec<&str> = mounts.iter().flat_map(|mount| ["--mount", mount]).collect();
    let server = Server::start(&arguments);
    for (number, (_, _, codec)) in kinds.iter().enumerate() {
        let answer = server.describe(&format!("/{number}"));
        assert!(answer.starts_with("RTSP/1.0 200 ") && answer.contains(codec), "{codec}: {answer}");
    }
    let player = Player::video(&server.url("/0"));
    player.plays(30);
    assert!(player.caps().contains("width=(int)320"), "{}", player.caps());
}

#[test]
fn a_producer_that_comes_back_with_another_size_is_scaled_to_the_first() {
    let video = TempRegion::new();
    let server = Server::start(&["--mount", &mount("/cam", &[&video])]);
    let producer = Pipeline::produce(VIDEO, &video);
    let player = Player::video(&server.url("/cam"));
    player.plays(10);
    drop(producer);
    let _producer = Pipeline::produce(&VIDEO.replace("320", "176").replace("240", "144"), &video);
    player.plays(50);
    assert!(player.caps().contains("width=(int)320, height=(int)240"), "{}", player.caps());
    assert_eq!(server.status()["mounts"][0]["starts"], 1);
}

#[test]
fn another_format_in_the_middle_disconnects_and_the_next_client_gets_it() {
    let video = TempRegion::new();
    let server = Server::start(&["--mount", &mount("/cam", &[&video])]);
    let producer = Pipeline::produce(VIDEO, &video);
    let player = Player::video(&server.url("/cam"));
    player.plays(10);
    drop(producer);
    let _producer = Pipeline::produce(&format!("{VIDEO} ! jpegenc"), &video);
    server.waits_for_log("/cam failed, its clients are disconnected");
    until("no client", || server.status()["clients"] == 0);
    drop(player);
    assert!(server.describe("/cam").contains("JPEG/90000"));
}

#[test]
fn users_watch_with_their_password_and_only_their_mounts() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let users = private_file("users", "anna:one\nnvr:two\n");
    for method in ["digest", "basic"] {
        let text = format!("[[mount]]\npath = \"/cam\"\nregions = [{:?}]\nusers = [\"nvr\"]\n", &*video);
        let file = private_file("config", &format!("auth = {method:?}\nusers_file = {:?}\n{text}", &*users));
        let server = Server::start(&["--config", file.to_str().unwrap()]);
        let player = |user: &str| Player::start(&server.url("/cam"), user, "rtph264depay ! h264parse");
        player("protocols=tcp user-id=nvr user-pw=two").plays(5);
        let error = player("protocols=tcp user-id=nvr user-pw=one").pipeline.error();
        assert!(error.contains("Unauthorized"), "{error}");
        let error = player("protocols=tcp user-id=anna user-pw=one").pipeline.error();
        assert!(error.contains("Not found") || error.contains("404"), "{method}: {error}");
        assert!(server.describe("/cam").starts_with("RTSP/1.0 401 "));
    }
}

#[test]
fn a_live_region_that_matches_is_a_mount() {
    let video = TempRegion::new();
    let server = Server::start(&["--regions", &format!("{}*", &*video)]);
    let path = format!("/{}", std::path::Path::new(&*video).file_name().unwrap().to_str().unwrap());
    assert!(server.describe(&path).starts_with("RTSP/1.0 404 "), "no producer");
    let _producer = Pipeline::produce(VIDEO, &video);
    Player::video(&server.url(&path)).plays(5);
    assert!(server.describe("/shm2-test-other").starts_with("RTSP/1.0 404 "));
}

/// Its log is a pipe that is full, so that it stands still before its loop.
#[test]
fn a_signal_before_the_loop_ends_the_server() {
    let (mut log, mut filling) = std::io::pipe().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = common::command(&["--mount", "/cam=/dev/shm/shm2-test-none"]);
    command.args(["--listen", &format!("127.0.0.1:{port}")]).stderr(filling.try_clone().unwrap());
    let filler = std::thread::spawn(move || std::io::Write::write_all(&mut filling, &[b'\n'; 1 << 20]));
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut child = shm2_testing::ChildGuard::spawn(&mut command).unwrap();
    drop(command);
    until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    child.signal(Signal::TERM);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut log));
    assert!(child.wait().success());
    filler.join().unwrap().unwrap();
    assert!(reader.join().unwrap().unwrap().contains("ending after a signal"));
}

/// Three connections may have six sessions.
#[test]
fn a_connection_that_begins_many_sessions_leaves_some_to_others() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let server = Server::start(&["--mount", &mount("/cam", &[&video]), "--max-clients", "3"]);
    let mut stream = server.connect();
    let describe = format!("DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\n\r\n", server.url("/cam"));
    assert!(ask(&mut stream, describe.as_bytes()).starts_with("RTSP/1.0 200 "));
    for number in 0..6 {
        let url = server.url("/cam/stream=0");
        let channels = format!("{}-{}", 2 * number, 2 * number + 1);
        let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n");
        let answer = ask(&mut stream, format!("SETUP {url} RTSP/1.0\r\nCSeq: {number}\r\n{transport}\r\n").as_bytes());
        assert!(answer.starts_with("RTSP/1.0 200 "), "{answer}");
    }
    until("the oldest sessions are gone", || server.status()["sessions"] == 4);
    Player::video(&server.url("/cam")).plays(5);
}

/// Root without the capabilities that override rights is such a user.
#[test]
fn a_region_that_the_server_may_not_read_is_named() {
    let is_root = std::fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t");
    let capabilities = "-dac_override,-dac_read_search";
    let without = ["setpriv", "--inh-caps", capabilities, "--bounding-set", capabilities];
    let mut works = std::process::Command::new(without[0]);
    if is_root && !works.args(&without[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return shm2_testing::skip("setpriv cannot take capabilities away from root");
    }
    let before = if is_root { &without[..] } else { &[] };
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let pattern = format!("{}*", &*video);
    let server = Server::start_by(before, &["--mount", &mount("/cam", &[&video]), "--regions", &pattern]);
    let path = format!("/{}", video.path().file_name().unwrap().to_str().unwrap());
    let permit = |mode| std::fs::set_permissions(video.path(), PermissionsExt::from_mode(mode)).unwrap();
    permit(0o000);
    assert!(server.describe("/cam").starts_with("RTSP/1.0 503 "));
    server.waits_for_log(&format!("/cam is refused: permission denied for {:?}", &*video));
    assert!(server.describe(&path).starts_with("RTSP/1.0 404 "));
    server.waits_for_log(&format!("{path} is no mount: permission denied for {:?}", &*video));
    // To read is enough: the source takes copies then.
    permit(0o400);
    assert!(server.describe("/cam").starts_with("RTSP/1.0 200 "));
}

#[test]
fn each_wrong_setting_is_one_sentence() {
    let open = private_file("open", "a:b\n");
    std::fs::set_permissions(&*open, PermissionsExt::from_mode(0o666)).unwrap();
    let good = ["--mount", "/a=/dev/shm/shm2-test-none", "--check"];
    let checked = output(&[&good[..], &["--listen", "0.0.0.0:8554"]].concat());
    assert!(checked.status.success());
    assert!(String::from_utf8_lossy(&checked.stderr).contains("everyone there may watch: set users_file"));
    for (arguments, text) in [
        (&["--check"][..], "there is no mount: give --mount"),
        (&["--mount", "a=/dev/shm/x"], "mount \"a\": a path begins with a slash"),
        (&["--mount", "/a"], "mount \"/a\": there is no region"),
        (&["--mount", "/a=x"], "mount \"/a\": "),
        (&["--mount", "/a=/dev/shm/x", "--mount", "/a=/dev/shm/y"], "mount \"/a\": there are two of them"),
        (&[good[0], good[1], "--listen", "8554"], "--listen \"8554\": write an address and a port"),
        (&[good[0], good[1], "--encoder", "nosuchenc"], "no element \"nosuchenc\""),
        (&[good[0], good[1], "--encoder", "identity"], "does not encode"),
        (&[good[0], good[1], "--source", "colour=1"], "are no further properties of shm2src"),
        (&[good[0], good[1], "--protocols", "sctp"], "protocol \"sctp\" is not known"),
        (
            &[good[0], good[1], "--multicast", "10.0.0.1-10.0.0.2:1-2"],
            "--multicast \"10.0.0.1-10.0.0.2:1-2\": write it like",
        ),
        (&[good[0], good[1], "--users-file", open.to_str().unwrap()], "run chmod 600 on it"),
        (&[good[0], good[1], "--auth", "none"], "--auth \"none\": write digest or basic"),
        (&[good[0], good[1], "--max-clients", "0"], "--max-clients \"0\": give 1 to 10000"),
        (&[good[0], good[1], "--max-clients", "4294967295"], "--max-clients \"4294967295\": give 1 to 10000"),
        (&[good[0], good[1], "--session-timeout", "4294967295"], "give 1 to 86400"),
        (&[good[0], good[1], "--latency", "584y"], "give 60s or less"),
        (&[good[0], good[1], "--source", "shm-path=/dev/shm/x"], "are no further properties of shm2src"),
        (&[good[0], good[1], "--source", "latest-only=true queue"], "are no further properties of shm2src"),
        (&[good[0], good[1], "--encoder", "opusenc"], "encodes sound: set it as audio_encoder"),
        (&[good[0], good[1], "--audio-encoder", "x264enc"], "encodes pictures: set it as encoder"),
        (&[good[0], good[1], "--multicast", "239.0.0.9-239.0.0.1:5000-5001"], "write it like"),
        (&["--mount", "/a/../b=/dev/shm/x"], "mount \"/a/../b\": a path begins with a slash"),
        (&["--regions", "/dev/shm/"], "--regions \"/dev/shm/\": "),
        (&["--regions", "/dev/*/x"], "--regions \"/dev/*/x\": write a path like"),
    ] {
        let output = output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
        assert!(said.contains(text) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
    let server = Server::start(&good[..2]);
    let second = output(&["--mount", good[1], "--listen", &format!("127.0.0.1:{}", server.port)]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains("Address already in use") && said.contains("give another with --listen"), "{said}");
}
