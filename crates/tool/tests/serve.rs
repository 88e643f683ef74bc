//! `shm2 serve` over plain HTTP.

#![cfg(unix)]

mod common;

use common::http::{authority, connect, get, request, served};
use common::{begin, producer, shm2};
use shm2::{FrameInfo, Overview, Producer};
use shm2_testing::{ChildGuard, Signal, TempRegion, until};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

const GRAY: &str = "video/x-raw, format=(string)GRAY8, width=(int)16, height=(int)9, framerate=(fraction)25/1";

const LOOPBACK: &[&str] = &["--listen", "127.0.0.1:0"];

/// A folder with the region `a`, and what serves it.
struct Page {
    folder: TempRegion,
    producer: Option<Producer>,
    child: ChildGuard,
    url: String,
}

impl Page {
    fn new(caps: &str, options: &[&str]) -> Self {
        let folder = TempRegion::new();
        std::fs::create_dir(folder.path()).unwrap();
        let producer = Some(producer(&format!("{}/a", &*folder), caps, 3, &[7; 144]));
        let (child, url) = served(begin(&[&["serve", &*folder], options].concat()));
        Self { folder, producer, child, url }
    }

    fn region(&self) -> String {
        format!("shm://{}/a", &*self.folder)
    }

    fn get(&self, path: &str) -> String {
        get(&self.url, path)
    }

    /// An answer that does not end.
    fn open(&self, path: &str) -> BufReader<TcpStream> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", authority(&self.url));
        BufReader::new(connect(&self.url, &head))
    }

    fn stop(mut self) {
        self.child.signal(Signal::TERM);
        assert_eq!(self.child.wait().code(), Some(0));
    }
}

fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Reads lines until one starts with `text`; returns it.
fn line_with(reader: &mut impl BufRead, text: &str) -> String {
    loop {
        let mut line = Vec::new();
        assert!(reader.read_until(b'\n', &mut line).unwrap() > 0, "the answer ends before {text:?}");
        if line.starts_with(text.as_bytes()) {
            return String::from_utf8_lossy(&line).into_owned();
        }
    }
}

#[test]
fn the_page_and_its_files_are_sent_with_strict_headers() {
    let page = Page::new(GRAY, LOOPBACK);
    for (path, kind) in [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = page.get(path);
        let lower = answer.to_lowercase();
        assert_eq!(code(&answer), "200", "{path}");
        for header in [
            format!("content-type: {kind}"),
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'".into(),
            "x-content-type-options: nosniff".into(),
            "referrer-policy: no-referrer".into(),
            "cross-origin-resource-policy: same-origin".into(),
        ] {
            assert!(lower.contains(&format!("\r\n{header}")), "{header} in {answer}");
        }
        // Nothing that the policy would refuse.
        assert!(!lower.contains("unsafe-inline") && !lower.contains("<style") && !lower.contains(" style="), "{path}");
    }
    page.stop();
}

#[test]
fn the_regions_are_the_objects_of_list_as_one_array_and_there_are_metrics() {
    let page = Page::new(GRAY, LOOPBACK);
    let answer = page.get("/api/regions");
    let mut regions: Vec<serde_json::Value> = serde_json::from_str(body(&answer)).unwrap();
    let mut listed = shm2(&["list", "--json", &page.folder]).succeeded().json();
    for region in regions.iter_mut().chain(&mut listed) {
        region["age_ns"].take();
    }
    assert_eq!(regions, listed);
    assert_eq!(regions[0]["region"], page.region());
    assert!(page.get("/metrics").contains(&format!("shm2_frames_total{{region=\"{}\"}} 3\n", page.region())));
}

#[test]
fn events_have_the_state_the_rates_and_the_command_of_each_region() {
    let mut page = Page::new(GRAY, &["--listen", "0", "--interval", "100ms"]);
    let mut events = page.open("/api/events");
    let mut next = move || {
        let line = line_with(&mut events, "data: ");
        serde_json::from_str::<serde_json::Value>(&line["data: ".len()..]).unwrap()
    };
    let first = next();
    assert_eq!((&first[0]["state"]["region"], &first[0]["pictures"]), (&page.region().into(), &true.into()));
    assert_eq!(first[0]["media"], "GRAY8 16x9 25/s");
    let launch = format!("gst-launch-1.0 shm2src shm-path={} is-live=true ! ", page.region());
    assert!(first[0]["launch"].as_str().unwrap().starts_with(&launch), "{first}");
    let producer = page.producer.as_mut().unwrap();
    until("the rate is above 0", || {
        producer.send(&[8; 144], &FrameInfo::new()).unwrap();
        next()[0]["rates"]["frames"].as_f64().is_some_and(|rate| rate > 0.0)
    });
    page.stop();
}

#[test]
fn a_preview_is_a_stream_of_jpegs_that_ends_with_the_producer_and_is_no_consumer() {
    let mut page = Page::new(GRAY, LOOPBACK);
    let mut stream = page.open(&format!("/preview?region={}", page.region()));
    assert!(line_with(&mut stream, "content-type: ").contains("multipart/x-mixed-replace; boundary=frame"));
    for value in [50, 200] {
        let length = line_with(&mut stream, "Content-Length: ")["Content-Length: ".len()..].trim().parse().unwrap();
        line_with(&mut stream, "\r\n");
        let mut jpeg = vec![0; length];
        stream.read_exact(&mut jpeg).unwrap();
        assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]));
        assert_eq!(Overview::of(&page.region()).unwrap().consumers, []);
        page.producer.as_mut().unwrap().send(&[value; 144], &FrameInfo::new()).unwrap();
    }
    drop(page.producer.take());
    // The last chunk.
    line_with(&mut stream, "0\r\n");
    let answer = page.get(&format!("/picture?region={}", page.region()));
    assert_eq!(code(&answer), "404", "{answer}");
    page.stop();
}

#[test]
fn a_single_picture_is_a_jpeg() {
    let page = Page::new(GRAY, LOOPBACK);
    let answer = page.get(&format!("/picture?region={}", page.region()));
    assert_eq!(code(&answer), "200");
    assert!(answer.contains("content-type: image/jpeg") && answer.contains("JFIF"), "{answer}");
}

#[test]
fn only_regions_of_the_served_folders_are_opened_for_pictures() {
    let page = Page::new(GRAY, LOOPBACK);
    let other = TempRegion::new();
    let _other = producer(&other, GRAY, 1, &[7; 144]);
    let folder = page.folder.split('/').next_back().unwrap();
    for region in [
        other.uri(),
        other.to_string(),
        "/etc/passwd".into(),
        "shm:///etc/passwd".into(),
        format!("shm://{}/../{}", &*page.folder, other.split('/').next_back().unwrap()),
        format!("shm://{}/../{folder}/a", &*page.folder),
        format!("shm://{}/%2561", &*page.folder),
        "..%2f..%2fetc%2fpasswd".into(),
    ] {
        for path in ["preview", "picture"] {
            let answer = page.get(&format!("/{path}?region={region}"));
            assert_eq!(code(&answer), "404", "{region}: {answer}");
        }
    }
    assert_eq!(code(&page.get("/preview")), "400");
    assert_eq!(code(&page.get("/../Cargo.toml")), "404");
}

#[test]
fn a_region_without_raw_video_has_no_preview() {
    let page = Page::new("audio/x-raw, format=S16LE, rate=48000, channels=2, layout=interleaved", LOOPBACK);
    let answer = page.get(&format!("/preview?region={}", page.region()));
    assert_eq!((code(&answer), body(&answer)), ("415", "the region has neither raw video nor JPEG\n"));
}

#[test]
fn foreign_hosts_and_origins_and_other_methods_are_refused() {
    let page = Page::new(GRAY, LOOPBACK);
    let port = authority(&page.url).split(':').next_back().unwrap();
    let of = |method: &str, headers: &str| {
        let answer =
            request(&page.url, &format!("{method} /api/regions HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"));
        assert!(answer.contains("content-security-policy"), "{answer}");
        code(&answer).to_owned()
    };
    let host = format!("Host: localhost:{port}\r\n");
    assert_eq!(of("GET", &host), "200");
    assert_eq!(of("HEAD", &host), "200");
    assert_eq!(of("GET", "Host: evil.example\r\n"), "403");
    assert_eq!(of("GET", &format!("Host: 192.0.2.1:{port}\r\n")), "403");
    assert_eq!(of("GET", &format!("{host}Origin: http://localhost:{port}\r\n")), "200");
    assert_eq!(of("GET", &format!("{host}Origin: http://evil.example\r\n")), "403");
    assert_eq!(of("GET", &format!("{host}Sec-Fetch-Site: cross-site\r\n")), "403");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        assert_eq!(of(method, &format!("{host}Content-Length: 0\r\n")), "405", "{method}");
    }
}

#[test]
fn an_address_that_is_not_loopback_demands_the_printed_token() {
    let page = Page::new(GRAY, &["--listen", "0.0.0.0:0"]);
    let port = authority(&page.url).split(':').next_back().unwrap();
    let (_, token) = page.url.split_once("/?token=").unwrap();
    assert_eq!(token.len(), 32);
    let local = format!("http://127.0.0.1:{port}");
    let of = |path: &str| code(&get(&local, path)).to_owned();
    assert_eq!((of("/"), of("/api/regions"), of("/metrics")), ("401".into(), "401".into(), "401".into()));
    assert_eq!(of(&format!("/preview?region={}", page.region())), "401");
    assert_eq!((of("/style.css"), of(&format!("/?token={token}"))), ("200".into(), "200".into()));
    let bearer = format!("GET /metrics HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert_eq!(code(&request(&local, &bearer)), "200");
}

#[test]
fn wrong_options_and_a_taken_address_are_one_line() {
    let folder = TempRegion::new();
    shm2(&["serve", "--listen", "0", &folder]).failed_with("name a folder with regions");
    std::fs::create_dir(folder.path()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    shm2(&["serve", "--listen", &address, &folder]).failed_with("choose another address with --listen");
    let ended = shm2(&["serve", "--listen", "0", "--token", "a b", &folder]);
    assert!(ended.code == Some(2) && ended.error.contains("give 8 or more letters"), "{}", ended.error);
}

#[test]
fn the_number_of_previewed_regions_is_limited_and_their_viewers_are_not() {
    let page = Page::new(GRAY, LOOPBACK);
    let more = |number: u32| {
        let name = format!("{}/more-{number}", &*page.folder);
        let mut producer = Producer::builder(&name).unwrap().size(5 << 20).create().unwrap();
        producer.set_caps(GRAY.as_bytes()).unwrap();
        producer.send(&[7; 144], &FrameInfo::new()).unwrap();
        (producer, format!("/preview?region=shm://{name}"))
    };
    let regions: Vec<_> = (0..17).map(more).collect();
    let begin = |(_, path): &(Producer, String)| {
        let mut stream = page.open(path);
        line_with(&mut stream, "Content-Length: ");
        stream
    };
    let mut streams: Vec<_> = regions.iter().take(16).map(begin).collect();
    streams.extend((0..8).map(|_| begin(&regions[0])));
    assert_eq!(code(&page.get(&regions[16].1)), "503");
    drop(streams);
    until("a preview without viewers ends", || {
        let mut stream = page.open(&regions[16].1);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        code(&line) == "200"
    });
}
