//! A server as a process, producers and clients in this one.

#![allow(dead_code, reason = "each test file uses a part")]

use gst::prelude::*;
use serde_json::Value;
use shm2::Overview;
use shm2_testing::{ChildGuard, LIMIT, Signal, TempPath, until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const VIDEO: &str =
    "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=25/1";
pub const AUDIO: &str = "audiotestsrc is-live=true ! audio/x-raw,format=S16LE,rate=48000,channels=2";

pub fn command(arguments: &[&str]) -> Command {
    command_by(&[], arguments)
}

fn command_by(program: &[&str], arguments: &[&str]) -> Command {
    let all = [program, &[env!("CARGO_BIN_EXE_shm2_rtspd")], arguments].concat();
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).env_remove("RUNTIME_DIRECTORY");
    command
}

/// Runs it to its end, which must come by itself.
pub fn output(arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    ChildGuard::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap().output()
}

/// A pipeline of this process, ended with it.
pub struct Pipeline(pub gst::Pipeline);

impl Pipeline {
    pub fn start(text: &str) -> Self {
        gst::init().unwrap();
        gstshm2::plugin_register_static().unwrap();
        let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self(pipeline)
    }

    /// Puts what the text makes into a region, and waits for the first frame.
    pub fn produce(text: &str, region: &str) -> Self {
        let pipeline = Self::start(&format!("{text} ! shm2sink shm-path={region}"));
        until("a frame in the region", || Overview::of(region).is_ok_and(|overview| overview.newest > 0));
        pipeline
    }

    /// The text of its next error.
    pub fn error(&self) -> String {
        let time = gst::ClockTime::from_seconds(LIMIT.as_secs());
        let message = self.0.bus().unwrap().timed_pop_filtered(time, &[gst::MessageType::Error]).expect("an error");
        let gst::MessageView::Error(error) = message.view() else { unreachable!() };
        format!("{} {}", error.error(), error.debug().unwrap_or_default())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.0.set_state(gst::State::Null).unwrap();
    }
}

/// A client that counts what it gets.
pub struct Player {
    pub pipeline: Pipeline,
    count: Arc<AtomicU64>,
}

impl Player {
    /// `source` are further properties of rtspsrc, `decode` what follows it.
    pub fn start(url: &str, source: &str, decode: &str) -> Self {
        let source = format!("rtspsrc location={url} latency=50 {source}");
        let pipeline = Pipeline::start(&format!("{source} ! {decode} ! fakesink name=end sync=false"));
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        let pad = pipeline.0.by_name("end").unwrap().static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        Self { pipeline, count }
    }

    pub fn video(url: &str) -> Self {
        Self::start(url, "protocols=tcp", "rtph264depay ! h264parse")
    }

    /// Waits for so many further buffers.
    pub fn plays(&self, count: u64) {
        let before = self.count.load(Ordering::Relaxed);
        until("buffers at the client", || self.count.load(Ordering::Relaxed) >= before + count);
    }

    pub fn caps(&self) -> String {
        let pad = self.pipeline.0.by_name("end").unwrap().static_pad("sink").unwrap();
        pad.current_caps().map(|caps| caps.to_string()).unwrap_or_default()
    }
}

/// A running server.
pub struct Server {
    pub child: ChildGuard,
    pub port: u16,
    control: TempPath,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_by(&[], arguments)
    }

    /// Starts it by another program, such as setpriv.
    pub fn start_by(program: &[&str], arguments: &[&str]) -> Self {
        // Free at this moment; another test may take it, then this one fails and says so.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let control = TempPath::new("control");
        let mut command = command_by(program, arguments);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--control"]).arg(&*control).stderr(Stdio::piped());
        let mut child = ChildGuard::spawn(&mut command).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, own) = (BufReader::new(child.take_stderr().unwrap()).lines(), log.clone());
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| own.lock().unwrap().push(line)));
        let server = Self { child, port, control, log };
        server.waits_for_log("listening at rtsp");
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}{path}", self.port)
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub fn waits_for_log(&self, text: &str) {
        until(text, || self.log().contains(text));
    }

    pub fn status(&self) -> Value {
        let output = command(&["--status", "--control"]).arg(&*self.control).output().unwrap();
        serde_json::from_slice(&output.stdout).expect("the server answers")
    }

    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// The answer to DESCRIBE, with its body.
    pub fn describe(&self, path: &str) -> String {
        let url = self.url(path);
        self.ask(format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n").as_bytes())
    }

    /// The answer to a request, with its body.
    pub fn ask(&self, request: &[u8]) -> String {
        ask(&mut self.connect(), request)
    }

    /// A connection for requests.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Makes it read its file again, and waits until it has.
    pub fn reloads(&self) {
        let count = || self.log().matches("the configuration was read again").count();
        let before = count();
        self.signal(Signal::HUP);
        until("the file is read again", || count() > before);
    }
}

/// The answer to a request, with its body.
pub fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    let (mut text, mut part) = (String::new(), [0; 4096]);
    // The server keeps the connection: the end is where its length says.
    while !is_whole(&text) {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "the server closed the connection: {text}");
        text += &String::from_utf8_lossy(&part[..count]);
    }
    text
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
    body.len() >= length.parse::<usize>().unwrap()
}

/// A file that only this user may read, as the server wants it.
pub fn private_file(name: &str, text: &str) -> TempPath {
    let file = TempPath::new(name);
    std::fs::write(&*file, text).unwrap();
    std::fs::set_permissions(&*file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file
}

/// Leasing consumers of a region.
pub fn consumers(region: &str) -> usize {
    Overview::of(region).unwrap().consumers.len()
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}
