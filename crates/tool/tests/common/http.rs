//! Plain HTTP, byte by byte.

use shm2_testing::{ChildGuard, LIMIT};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// No answer is as long.
const LONGEST: u64 = 1 << 20;

/// Waits for the address that the process prints: its first line. The rest of its output is dropped.
pub fn served(mut child: ChildGuard) -> (ChildGuard, String) {
    let mut line = String::new();
    BufReader::new(child.take_stdout().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("http://"), "{line}");
    (child, line.trim_end().to_owned())
}

/// Address and port of a URL.
pub fn authority(url: &str) -> &str {
    url.trim_start_matches("http://").split('/').next().unwrap()
}

/// A connection that has sent `text`.
pub fn connect(url: &str, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(authority(url)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// The whole answer to `text`, which must end.
pub fn request(url: &str, text: &str) -> String {
    let mut answer = Vec::new();
    connect(url, text).take(LONGEST).read_to_end(&mut answer).unwrap();
    assert!((answer.len() as u64) < LONGEST, "the answer to {text:?} does not end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The whole answer to a GET.
pub fn get(url: &str, path: &str) -> String {
    request(url, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", authority(url)))
}
