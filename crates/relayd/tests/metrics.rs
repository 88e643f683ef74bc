//! Metrics of the daemon, by HTTP.

#![cfg(unix)]

mod common;

use common::{Daemon, SMALL, source};
use shm2_testing::LIMIT;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TCP: &str = "tcp://127.0.0.1:0";

/// The answer to a request for metrics.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Where the daemon serves metrics.
fn metrics_address(daemon: &Daemon) -> String {
    daemon.waits_for_log("metrics at http://");
    let log = daemon.log();
    log.split("metrics at http://").nth(1).unwrap().split('/').next().unwrap().to_string()
}

#[test]
fn metrics_are_served_when_configured() {
    let daemon = Daemon::start(&source("ball"), &["--listen", TCP, "--metrics", "127.0.0.1:0"]);
    let address = metrics_address(&daemon);
    let text = get(&address, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("\nshm2_relay_input_on 0\n"), "{text}");
    assert!(get(&address, "/").starts_with("HTTP/1.1 404"));
}

/// Half a second is promised; each silent client took two before.
#[test]
fn metrics_are_served_while_other_clients_are_silent_or_slow() {
    let daemon = Daemon::start(&source("ball"), &["--listen", TCP, "--metrics", "127.0.0.1:0"]);
    let address = metrics_address(&daemon);
    let connect = || TcpStream::connect(&address).unwrap();
    let silent: Vec<_> = (0..60).map(|_| connect()).collect();
    let halves: Vec<_> = (0..60).map(|_| connect()).inspect(|mut half| half.write_all(b"GET /me").unwrap()).collect();
    let begun = Instant::now();
    assert!(get(&address, "/metrics").starts_with("HTTP/1.1 200 OK"));
    println!("answered in {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // More than may be connected: the oldest ones are disconnected.
    let many: Vec<_> = (0..300).map(|_| connect()).collect();
    assert!(get(&address, "/metrics").starts_with("HTTP/1.1 200 OK"));
    drop((silent, many));
    let mut late = &halves[59];
    let _ = late.write_all(b"trics HTTP/1.1\r\n\r\n");
    assert!(get(&address, "/metrics").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn the_gauge_of_an_input_that_starts_is_0_until_its_first_buffer() {
    let input = format!("appsrc is-live=true caps={SMALL}");
    let daemon = Daemon::start(&input, &["--listen", TCP, "--metrics", "127.0.0.1:0", "--cool-down", "60s"]);
    let address = metrics_address(&daemon);
    let client = daemon.connect();
    daemon.waits_for("input", "starting");
    assert!(get(&address, "/metrics").contains("\nshm2_relay_input_on 0\n"));
    drop(client);
    daemon.waits_for("input", "cooling");
    assert!(get(&address, "/metrics").contains("\nshm2_relay_input_on 0\n"));
}
