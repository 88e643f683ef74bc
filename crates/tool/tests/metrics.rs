//! `shm2 metrics`: to standard output, over HTTP and to a file.

#![cfg(unix)]

mod common;

use common::http::{get, request, served};
use common::{begin, producer, shm2};
use shm2::{Access, Consumer};
use shm2_testing::{Signal, TempPath, TempRegion, until};

/// A folder for regions.
fn folder() -> TempRegion {
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    folder
}

fn has(text: &str, lines: &[String]) {
    lines.iter().for_each(|line| assert!(text.lines().any(|l| l == line), "{line:?} in\n{text}"));
}

#[test]
fn metrics_of_all_regions_are_printed_once() {
    let folder = folder();
    let name = format!("{}/a", &*folder);
    let mut producer = shm2::Producer::builder(&name).unwrap().size(16 << 20).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(None).unwrap();
    for _ in 0..3 {
        producer.send(&[7; 144], &shm2::FrameInfo::new()).unwrap();
    }
    let held = consumer.next(None).unwrap();
    let text = shm2(&["metrics", &folder]).succeeded().text();
    let (region, pid) = (format!("region=\"shm://{name}\""), std::process::id());
    has(
        &text,
        &[
            "# TYPE shm2_frames_total counter".into(),
            format!("shm2_region_bytes{{{region}}} {}", 16 << 20),
            format!("shm2_frame_bytes{{{region}}} 144"),
            format!("shm2_frames_total{{{region}}} 3"),
            format!("shm2_dropped_total{{{region},reason=\"too-large\"}} 0"),
            format!("shm2_consumers{{{region}}} 1"),
            format!("shm2_consumer_lag{{{region},page=\"0\",pid=\"{pid}\"}} 2"),
            format!("shm2_consumer_held{{{region},page=\"0\",pid=\"{pid}\"}} 1"),
            format!("shm2_consumer_missed_total{{{region},page=\"0\",pid=\"{pid}\"}} 0"),
        ],
    );
    assert!(text.contains(&format!("shm2_producer_info{{{region},pid=\"{pid}\",generation=\"")), "{text}");
    assert!(text.contains(&format!("shm2_age_seconds{{{region}}} 0.")), "{text}");
    drop(held);
}

#[test]
fn metrics_are_served_at_the_printed_address_until_a_signal() {
    let folder = folder();
    let producer = producer(&folder_region(&folder), "text/plain", 2, b"x");
    let (mut child, url) = served(begin(&["metrics", "--listen", "0", &folder]));
    let answer = get(&url, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    has(&answer, &[format!("shm2_frames_total{{region=\"shm://{}/a\"}} 2", &*folder)]);
    assert!(get(&url, "/").starts_with("HTTP/1.1 404"));
    let foreign = request(&url, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
    child.signal(Signal::TERM);
    assert_eq!(child.wait().code(), Some(0));

    let (_child, url) = served(begin(&["metrics", "--listen", "0", "--token", "secret-token", &folder]));
    let bearer = |token| format!("GET /metrics HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert!(request(&url, &bearer("secre")).starts_with("HTTP/1.0 401"));
    assert!(request(&url, &bearer("secret-token")).starts_with("HTTP/1.0 200"));
    drop(producer);
}

fn folder_region(folder: &TempRegion) -> String {
    format!("{}/a", &**folder)
}

#[test]
fn a_file_for_a_collector_is_written_once_or_again_and_again() {
    let (folder, out) = (folder(), TempPath::new("metrics"));
    std::fs::create_dir(&out).unwrap();
    let file = out.join("shm2.prom");
    let path = file.to_str().unwrap();
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let mut first = producer(&folder_region(&folder), "text/plain", 1, b"x");
    shm2(&["metrics", "--textfile", path, &folder]).succeeded();
    assert!(read().contains("/a\"} 1\n"), "{}", read());
    let mut child = begin(&["metrics", "--textfile", path, "--interval", "20ms", &folder]);
    first.send(b"y", &shm2::FrameInfo::new()).unwrap();
    until("the file has the second frame", || read().contains("/a\"} 2\n"));
    child.signal(Signal::INT);
    assert_eq!(child.wait().code(), Some(0));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_measured_or_written_is_one_line() {
    let folder = folder();
    shm2(&["metrics", "/dev/shm/shm2-test-none"]).failed_with("name a folder with regions");
    shm2(&["metrics", "--textfile", "/proc/shm2.prom", &folder]).failed_with("cannot write /proc/shm2.prom");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    shm2(&["metrics", "--listen", &address, &folder]).failed_with("choose another address with --listen");
}

#[test]
fn a_text_file_replaces_nothing_else() {
    let (folder, regions) = (TempPath::new("textfile"), TempRegion::new());
    std::fs::create_dir(&*folder).unwrap();
    std::fs::create_dir(regions.path()).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("shm2.partial"), "precious").unwrap();
    std::fs::write(path("target"), "old").unwrap();
    std::os::unix::fs::symlink("target", path("link.prom")).unwrap();
    for file in ["shm2.prom", "link.prom"] {
        shm2(&["metrics", "--textfile", &path(file), &regions]).succeeded();
    }
    assert_eq!(std::fs::read_to_string(path("shm2.partial")).unwrap(), "precious");
    assert!(folder.join("link.prom").is_symlink());
    assert_ne!(std::fs::read_to_string(path("target")).unwrap(), "old");
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    shm2(&["metrics", "--textfile", "/dev/null", &regions]).succeeded();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}
