//! The daemon as a process: all kinds of demand, failing inputs, signals, settings.

#![cfg(unix)]

mod common;

use common::{Daemon, SMALL, output, source};
use rustix::process::Signal;
use shm2::{Access, Consumer};
use shm2_testing::{LIMIT, RECOVERY, Rng, TempPath, TempRegion, skip, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const TCP: &str = "tcp://127.0.0.1:0";

#[test]
fn the_input_runs_while_a_client_is_connected_and_the_splash_otherwise() {
    let daemon = Daemon::start(&source("ball"), &["--listen", TCP, "--cool-down", "100", "--splash", &source("black")]);
    let consumer = Consumer::builder(&daemon.region).unwrap().access(Access::Snapshot);
    let mut consumer = consumer.attach(Some(LIMIT)).unwrap();
    daemon.waits_for("splash", true);
    for round in 1..4 {
        assert_eq!(daemon.status()["input"], "off");
        let begun = Instant::now();
        let client = daemon.connect();
        daemon.waits_for("input", "on");
        assert!(begun.elapsed() < RECOVERY);
        assert_eq!((&daemon.status()["splash"], &daemon.status()["clients"]), (&false.into(), &1.into()));
        drop(client);
        daemon.waits_for("input", "off");
        assert_eq!(daemon.status()["splash"], true);
        assert_eq!(daemon.status()["input_starts"], round);
    }
    // One stream of frames with times that increase across all switches.
    let (mut last, mut frames) = (None, 0);
    loop {
        let pts = consumer.next(Some(LIMIT)).unwrap().info().pts;
        assert!(pts > last, "{pts:?} after {last:?}");
        (last, frames) = (pts, frames + 1);
        if frames == 50 {
            break;
        }
    }
    // One at each switch at most: a camera's first picture may be older than the splash's last.
    let status = daemon.status();
    assert!(status["late_buffers"].as_u64() <= status["switches"].as_u64(), "{status}");
}

#[test]
fn without_demand_the_device_is_closed() {
    let device = TempPath::new("device");
    std::fs::write(&device, vec![7; 64 * 48 * 3 / 2 * 3000]).unwrap();
    let input =
        format!("filesrc location={} ! rawvideoparse format=i420 width=64 height=48 framerate=100/1", device.display());
    let daemon = Daemon::start(&input, &["--listen", TCP, "--cool-down", "0"]);
    let name = device.file_name().unwrap().to_str().unwrap().to_string();
    for _ in 0..3 {
        assert_eq!(daemon.open_files(&name), 0);
        let client = daemon.connect();
        daemon.waits_for("input", "on");
        assert_eq!(daemon.open_files(&name), 1);
        drop(client);
        until("the device is closed", || daemon.open_files(&name) == 0);
    }
}

#[test]
fn clients_of_all_listening_sockets_are_counted() {
    let path = TempPath::new("socket");
    // What a killed daemon left.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let unix = format!("unix://{}", path.display());
    let daemon =
        Daemon::start(&source("ball"), &["--listen", TCP, "--listen", TCP, "--listen", &unix, "--cool-down", "0"]);
    let (tcp, local) = (daemon.connect(), UnixStream::connect(&path).unwrap());
    daemon.waits_for("clients", 2);
    drop(tcp);
    daemon.waits_for("clients", 1);
    daemon.waits_for("input", "on");
    drop(local);
    daemon.waits_for("input", "off");
    let (status, _) = daemon.stop();
    assert!(status.success() && !path.exists());
}

#[test]
fn vsock_clients_are_counted() {
    let daemon = common::output(&[
        "--output",
        "appsrc name=appsrc ! fakesink",
        "--input",
        "x",
        "--listen",
        "vsock://local:99999",
    ]);
    let text = String::from_utf8_lossy(&daemon.stderr).into_owned();
    if text.contains("Address family not supported")
        || text.contains("Cannot assign")
        || text.contains("No such device")
    {
        return skip("no vsock on this machine: vsock clients are not tried here");
    }
    let daemon = Daemon::start(&source("ball"), &["--listen", "vsock://local:45454", "--cool-down", "0"]);
    let client = vsock::VsockStream::connect_with_cid_port(1, 45454).unwrap();
    daemon.waits_for("input", "on");
    drop(client);
    daemon.waits_for("input", "off");
}

#[test]
fn consumers_of_the_region_are_demand() {
    let daemon = Daemon::start(
        &source("ball"),
        &["--activate", "consumers", "--listen", TCP, "--cool-down", "50", "--splash", &source("black")],
    );
    for access in [Access::Lease, Access::Snapshot] {
        let consumer = Consumer::builder(&daemon.region).unwrap().access(access).attach(Some(LIMIT)).unwrap();
        daemon.waits_for("input", "on");
        assert_eq!((&daemon.status()["consumers"], &daemon.status()["clients"]), (&1.into(), &0.into()));
        let client = daemon.connect();
        daemon.waits_for("clients", 1);
        drop(consumer);
        daemon.waits_for("consumers", 0);
        assert_eq!(daemon.status()["input"], "on");
        drop(client);
        daemon.waits_for("input", "off");
    }
}

#[test]
fn the_state_after_ten_thousand_connections_matches_the_number_of_clients() {
    let mut daemon = Daemon::start(&source("ball"), &["--listen", TCP, "--cool-down", "0", "--max-clients", "200"]);
    let address = daemon.address();
    for stays in [true, false] {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let address = address.clone();
                std::thread::spawn(move || (0..1250).for_each(|_| drop(TcpStream::connect(&address).unwrap())))
            })
            .collect();
        let client = TcpStream::connect(&address).unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let stays = stays.then_some(client);
        daemon.waits_for("clients", i32::from(stays.is_some()));
        daemon.waits_for("input", if stays.is_some() { "on" } else { "off" });
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(daemon.status()["input"], if stays.is_some() { "on" } else { "off" });
    }
    daemon.signal(Signal::TERM);
    assert!(daemon.child.wait().success());
    daemon.waits_for_log("lines left out in the last 10 s: ");
    // Each connection would be two lines.
    let lines = daemon.log().matches("client 127.0.0.1").count();
    assert!(lines < 2_000, "{lines} lines");
}

#[test]
fn short_connections_are_no_demand_and_short_gaps_do_not_end_demand() {
    let daemon = Daemon::start(&source("ball"), &["--listen", TCP, "--start-delay", "300", "--cool-down", "1000"]);
    for _ in 0..5 {
        let client = daemon.connect();
        daemon.waits_for("clients", 1);
        drop(client);
        daemon.waits_for("clients", 0);
    }
    assert_eq!((&daemon.status()["input"], &daemon.status()["input_starts"]), (&"off".into(), &0.into()));
    let client = daemon.connect();
    daemon.waits_for("input", "on");
    drop(client);
    daemon.waits_for("input", "cooling");
    let _client = daemon.connect();
    daemon.waits_for("input", "on");
    assert_eq!(daemon.status()["input_starts"], 1);
}

#[test]
fn an_input_that_fails_ends_or_hangs_is_restarted_with_the_splash_meanwhile() {
    let failing = format!("{} ! identity error-after=20", source("ball"));
    let ending = format!("videotestsrc is-live=true num-buffers=20 ! {SMALL}");
    let hanging = format!("appsrc is-live=true caps={SMALL}");
    let missing = "filesrc location=/nowhere/camera ! rawvideoparse width=64 height=48".to_string();
    for (input, why) in [
        (failing, "Failed after iterations as requested"),
        (ending, "the stream ended"),
        (hanging, "no buffer for 300 ms"),
        (missing, "Resource not found"),
    ] {
        let daemon = Daemon::start(&input, &["--listen", TCP, "--frame-timeout", "300", "--splash", &source("black")]);
        let _client = daemon.connect();
        until("three failures", || daemon.status()["input_failures"].as_u64() >= Some(3));
        let status = daemon.status();
        assert!(status["last_failure"].as_str().unwrap().contains(why), "{status}");
        assert!(status["input_starts"].as_u64().unwrap() <= 5, "{status}");
        let before = status["splash_buffers"].as_u64();
        until("the splash goes on", || daemon.status()["splash_buffers"].as_u64() > before);
        let (exit, _) = daemon.stop();
        assert!(exit.success());
    }
}

/// A server that sends frames of 64x48 bytes, the first one `delay` after each connection.
fn slow_server(delay: Duration) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                while stream.write_all(&[7; 64 * 48]).is_ok() {}
            });
        }
    });
    port
}

#[test]
fn an_input_that_starts_slowly_runs_within_the_start_timeout_and_is_restarted_after_it() {
    let port = slow_server(Duration::from_millis(1500));
    let input = format!("tcpclientsrc host=127.0.0.1 port={port} ! rawvideoparse width=64 height=48 format=gray8");
    let timeouts = |start: &str| {
        Daemon::start(
            &input,
            &["--listen", TCP, "--start-timeout", start, "--frame-timeout", "50s", "--splash", &source("black")],
        )
    };
    let (impatient, patient) = (timeouts("500"), timeouts("50s"));
    let _clients = (impatient.connect(), patient.connect());
    patient.waits_for("input", "on");
    assert_eq!(patient.status()["input_failures"], 0);
    until("a failure", || impatient.status()["input_failures"].as_u64() >= Some(1));
    assert_eq!(impatient.status()["last_failure"], "no buffer for 500 ms");
}

/// A service manager starts the daemon again after other failures.
#[test]
fn wrong_settings_have_an_exit_code_of_their_own() {
    let file = TempPath::new("wrong.toml");
    std::fs::write(&file, "bogus = 1\n").unwrap();
    let ended = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shm2_relayd"));
        let output = command.args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = ended(&["--config", file.to_str().unwrap()]);
    assert!(code == Some(78) && text.contains("bogus"), "{code:?}: {text}");
    let (code, text) = ended(&["--config", "/nowhere.toml"]);
    assert!(code == Some(78) && text.contains("/nowhere.toml"), "{code:?}: {text}");
}

#[test]
fn a_failed_output_ends_the_daemon_with_an_error() {
    let mut daemon = Daemon::start_with(
        "appsrc name=appsrc ! identity error-after=30 ! fakesink",
        TempRegion::new(),
        &source("ball"),
        &["--listen", TCP],
    );
    let _client = daemon.connect();
    assert_eq!(daemon.child.wait().code(), Some(1));
    daemon.waits_for_log("the output failed: identity");
}

#[test]
fn a_signal_ends_the_daemon_cleanly() {
    for (signal, is_running) in [(Signal::TERM, true), (Signal::TERM, false), (Signal::INT, true)] {
        let mut daemon = Daemon::start(&source("ball"), &["--listen", TCP, "--splash", &source("black")]);
        let client = is_running.then(|| daemon.connect());
        daemon.waits_for("input", if is_running { "on" } else { "off" });
        let begun = Instant::now();
        daemon.signal(signal);
        assert!(daemon.child.wait().success());
        assert!(begun.elapsed() < RECOVERY, "{:?}", begun.elapsed());
        assert!(!daemon.control.exists() && !daemon.region.exists());
        drop(client);
    }
}

#[test]
fn a_client_with_a_too_long_line_is_disconnected_and_the_others_stay() {
    let daemon = Daemon::start(&source("ball"), &["--listen", TCP, "--max-clients", "3"]);
    let mut quiet = daemon.connect();
    quiet.write_all(b"hello\r\n").unwrap();
    daemon.waits_for_log("says \"hello\"");
    let mut long = daemon.connect();
    long.write_all(&[b'x'; 5000]).unwrap();
    daemon.waits_for_log("its line is longer than 1024 bytes");
    let mut garbage = daemon.connect();
    garbage.write_all(&[0xff, 0, b'\n', 0x1b, b'\n']).unwrap();
    daemon.waits_for("clients", 2);
    let others: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    daemon.waits_for_log("is disconnected: there are 3 clients");
    daemon.waits_for("clients", 3);
    drop(others);
    let mut end = [0];
    assert!(!matches!(long.read(&mut end), Ok(1)));
    assert_eq!(daemon.status()["input"], "on");
}

#[test]
fn with_a_token_only_clients_that_send_it_are_demand() {
    let file = TempPath::new("token");
    std::fs::write(&file, "a secret\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let daemon = Daemon::start(
        &source("ball"),
        &["--listen", TCP, "--max-clients", "5", "--token-file", file.to_str().unwrap()],
    );
    daemon.waits_for_log("every user can read the credentials in");
    let mut wrong = daemon.connect();
    wrong.write_all(b"a secret?\n").unwrap();
    daemon.waits_for_log("its token is wrong");
    let silent = daemon.connect();
    let mut right = daemon.connect();
    right.write_all(b"a sec").unwrap();
    assert_eq!(daemon.status()["clients"], 0);
    right.write_all(b"ret\n").unwrap();
    daemon.waits_for("clients", 1);
    daemon.waits_for("input", "on");
    daemon.waits_for_log("it did not send the token");
    right.write_all(b"a secret\n").unwrap();
    right.write_all(b"done\n").unwrap();
    daemon.waits_for_log("says \"done\"");
    assert!(!daemon.log().contains("secret"));
    // Many clients send the token at once: no more than the limit are accepted.
    let pending: Vec<_> = (0..70).map(|_| daemon.connect()).collect();
    pending.iter().for_each(|mut client| {
        // Some are disconnected already.
        let _ = client.write_all(b"a secret\n");
    });
    daemon.waits_for("clients", 5);
    daemon.waits_for_log("the limit of clients is reached");
    drop(silent);
}

#[test]
fn a_unix_socket_can_be_limited_to_some_users() {
    let me = rustix::process::getuid().as_raw();
    for (allowed, clients) in [(me, 1), (me + 1, 0)] {
        let path = TempPath::new("users");
        let listen = format!("unix://{}", path.display());
        let daemon = Daemon::start(&source("ball"), &["--listen", &listen, "--allow-uid", &allowed.to_string()]);
        let client = UnixStream::connect(&path).unwrap();
        daemon.waits_for_log(&format!(
            "unix client of user {me} {}",
            if clients == 1 { "connected" } else { "is disconnected" }
        ));
        daemon.waits_for("clients", clients);
        drop(client);
    }
}

#[test]
fn a_configuration_file_works_and_is_read_again_at_a_signal() {
    let (file, region) = (TempPath::new("config"), TempRegion::new());
    let output_region = region.to_string();
    let write = |pattern: &str, cool_down: u32| {
        let text = format!(
            "output = \"appsrc name=appsrc ! shm2sink shm-path={output_region}\"\ninput = \"{}\"\nlisten = [\"{TCP}\"]\n\
             cool_down = {cool_down}\n",
            source(pattern)
        );
        std::fs::write(&file, text).unwrap();
    };
    write("ball", 60_000);
    let path = file.to_str().unwrap();
    let checked = output(&["--config", path, "--check"]);
    assert_eq!((checked.stdout.as_slice(), checked.status.code()), (b"all settings are good\n".as_slice(), Some(0)));
    let daemon = Daemon::start_config(path, region);
    let client = daemon.connect();
    daemon.waits_for("input", "on");
    write("smpte", 0);
    daemon.signal(Signal::HUP);
    daemon.waits_for_log("the configuration was read again");
    daemon.waits_for("input_starts", 2);
    daemon.waits_for("input", "on");
    std::fs::write(&file, "input = 5").unwrap();
    daemon.signal(Signal::HUP);
    daemon.waits_for_log("the configuration is unchanged");
    drop(client);
    daemon.waits_for("input", "off");
}

#[test]
fn each_bad_argument_is_one_clear_line_and_a_failure() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("tcp://{}", busy.local_addr().unwrap());
    let good = ["--output", "appsrc name=appsrc ! fakesink", "--input", "videotestsrc"];
    for (arguments, text) in [
        (&[][..], "output is missing: give it as --output or in the configuration file"),
        (&good[..2], "input is missing"),
        (
            &["--output", "fakesrc ! fakesink", "--input", "videotestsrc"],
            "the output has no element named appsrc: begin it with",
        ),
        (&["--output", "fakesrc name=appsrc ! fakesink", "--input", "x"], "named appsrc is a fakesrc, not an appsrc"),
        (
            &["--output", "appsrc name=appsrc ! nonsense", "--input", "x"],
            "the output is not a pipeline: no element \"nonsense\"",
        ),
        (&["--output", good[1], "--input", "nonsense"], "the input is not a pipeline: no element \"nonsense\""),
        (&["--output", good[1], "--input", "videotestsrc ! fakesink"], "the input has no open end: leave out its sink"),
        (&[&good[..], &["--splash", "videotestsrc ! fakesink"]].concat(), "the splash has no open end"),
        (&[&good[..], &["--listen", "5555"]].concat(), "\"5555\" is not an address to listen at: it has no scheme"),
        (&[&good[..], &["--listen", &busy]].concat(), "Address already in use"),
        (&[&good[..], &["--listen", "tcp://192.0.2.1:1"]].concat(), "cannot listen at tcp://192.0.2.1:1"),
        (&[&good[..], &["--listen", "unix:///nowhere/x"]].concat(), "cannot listen at unix:///nowhere/x: No such file"),
        (&[&good[..], &["--activate", "cameras"]].concat(), "--activate \"cameras\" is not known"),
        (&[&good[..], &["--activate", "consumers"]].concat(), "the output has no shm2sink"),
        (
            &[&good[..], &["--activate", "video-device:/dev/null"]].concat(),
            "video-device:/dev/null: it is no video device that reports its readers",
        ),
        (&[&good[..], &["--activate", "video-device:/nowhere"]].concat(), "video-device:/nowhere: No such file"),
        (&[&good[..], &["--shm-path", "/dev/shm/x"]].concat(), "set it there: --output \"appsrc name=appsrc"),
        (&[&good[..], &["--shm-size", "1"]].concat(), "--shm-size was removed"),
        (&[&good[..], &["--cool-down", "soon"]].concat(), "invalid value 'soon' for '--cool-down <MS>'"),
        (&[&good[..], &["--colour", "red"]].concat(), "unexpected argument '--colour'"),
        (&["--config", "/nowhere"], "cannot read \"/nowhere\""),
        (&["--status", "--control", "/nowhere"], "no daemon answers at \"/nowhere\""),
        (&["--status"], "no control socket: give the path of the running daemon"),
        (
            &["--output", "appsrc name=appsrc ! shm2sink shm-path=/nowhere/x", "--input", "videotestsrc"],
            "the output does not start",
        ),
    ] {
        let output = output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{arguments:?}\n    {}", errors.lines().next().unwrap_or_default());
        assert!(!output.status.success() && errors.contains(text), "{arguments:?}: {errors}");
    }
}

#[test]
fn escaped_bangs_and_quoted_caps_are_accepted() {
    let caps = "capsfilter caps=\"video/x-raw, format=(string)I420, width=64, height=48, framerate=100/1\"";
    let input = format!(r"videotestsrc is-live=true \! {caps} \! video/x-raw, width=64 ! identity");
    let daemon = Daemon::start(&input, &["--listen", TCP]);
    let _client = daemon.connect();
    daemon.waits_for("input", "on");
    assert!(daemon.status()["caps"].as_str().unwrap().contains("width=(int)64"));
}

/// Clients connect and disconnect at random; at each pause the input must match their number.
/// `SHM2_STORM_SECONDS` makes it longer.
#[test]
fn a_storm_of_clients_leaves_the_input_in_the_state_of_demand() {
    let seconds = std::env::var("SHM2_STORM_SECONDS").map_or(5, |text| text.parse().unwrap());
    let daemon = Daemon::start(
        &source("ball"),
        &["--listen", TCP, "--cool-down", "30", "--start-delay", "10", "--splash", &source("black")],
    );
    let (mut rng, address) = (Rng::with_seed(seconds), daemon.address());
    let mut clients: Vec<TcpStream> = Vec::new();
    let (mut connects, mut looks, mut slowest) = (0, [0, 0], Duration::ZERO);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..rng.u64(..40) {
            if rng.bool() && clients.len() < 60 {
                clients.push(TcpStream::connect(&address).unwrap());
                connects += 1;
            } else if !clients.is_empty() {
                drop(clients.swap_remove(rng.usize(..clients.len())));
            }
            std::thread::sleep(Duration::from_millis(rng.u64(..4)));
        }
        // Nobody at all about every other time.
        if rng.bool() {
            clients.clear();
        }
        let wanted = if clients.is_empty() { "off" } else { "on" };
        let still = Instant::now();
        daemon.waits_for("input", wanted);
        slowest = slowest.max(still.elapsed());
        let status = daemon.status();
        assert_eq!((&status["input"], &status["clients"]), (&wanted.into(), &clients.len().into()), "{status}");
        looks[usize::from(wanted == "on")] += 1;
    }
    println!(
        "{seconds} s, {connects} connections, looked {looks:?} times (off, on), 0 mismatches, at most {slowest:?} after"
    );
    assert!(slowest < RECOVERY, "{slowest:?}");
}

/// The pads of decodebin come later: its part of the pipeline is linked while it starts.
#[test]
fn an_input_may_link_its_elements_late_and_an_unsuitable_stream_is_named() {
    let late = |end: &str| format!("{} ! decodebin ! {end}", source("ball"));
    let daemon = Daemon::start(&late("videoconvert"), &["--activate", "consumers"]);
    let mut consumer = shm2::Consumer::new(&daemon.region).unwrap();
    consumer.next(Some(LIMIT)).unwrap();
    daemon.waits_for("input", "on");
    let daemon = Daemon::start(&late("audioconvert"), &["--activate", "consumers"]);
    let _consumer = shm2::Consumer::builder(&daemon.region).unwrap().attach(Some(LIMIT)).unwrap();
    daemon.waits_for_log("no element of the pipeline takes video/x-raw");
}
