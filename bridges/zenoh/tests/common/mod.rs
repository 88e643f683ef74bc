//! A router, bridges and regions for one test: everything on loopback, killed and removed at drop.

#![expect(dead_code, reason = "no test file uses all of it")]

use shm2::{Consumer, FrameInfo, Producer};
use shm2_testing::{ChildGuard, TempPath, TempRegion, until};
use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest wait for a frame.
pub const SECONDS: Option<Duration> = Some(Duration::from_secs(20));

/// The program, with the options of a session that talks to loopback alone.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm2_zenoh"));
    command.args(arguments).arg("--no-multicast").stdin(Stdio::null());
    command
}

/// A port of loopback that nobody uses now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running program and what it has printed.
pub struct Bridge {
    child: ChildGuard,
    log: TempPath,
}

impl Bridge {
    pub fn start(command: &mut Command) -> Self {
        let log = TempPath::new("zenoh-log");
        let file = File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: ChildGuard::spawn(command).unwrap(), log }
    }

    /// What it has printed so far.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn says(&self, text: &str) {
        let begun = std::time::Instant::now();
        while !self.text().contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(30), "no {text:?} in: {}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: shm2_testing::Signal) {
        self.child.signal(signal);
    }

    pub fn kill(self) {
        self.child.kill();
    }

    /// Ends it as a user does; what it has printed.
    pub fn stop(mut self) -> String {
        self.child.signal(shm2_testing::Signal::TERM);
        assert!(self.child.wait().success());
        self.text()
    }

    /// Waits for its end with an error; what it has printed.
    pub fn fails(mut self) -> String {
        assert!(!self.child.wait().success(), "{}", self.text());
        self.text()
    }
}

/// A router on loopback.
pub struct Router {
    pub endpoint: String,
    bridge: Option<Bridge>,
}

impl Router {
    pub fn start() -> Self {
        let mut router = Self { endpoint: format!("tcp/127.0.0.1:{}", free_port()), bridge: None };
        router.restart();
        router
    }

    /// Kills it.
    pub fn end(&mut self) {
        drop(self.bridge.take());
    }

    /// Kills it, and starts it again on the same port.
    pub fn restart(&mut self) {
        self.end();
        let bridge = Bridge::start(&mut program(&["router", "--listen", &self.endpoint]));
        bridge.says("router is ready");
        self.bridge = Some(bridge);
    }

    /// A bridge that knows only this router.
    pub fn bridge(&self, arguments: &[&str]) -> Bridge {
        let mut command = program(arguments);
        command.args(["--connect", &self.endpoint]);
        // Clients do not listen.
        let listen = ["--listen", "tcp/127.0.0.1:0"];
        Bridge::start(command.args(if arguments.contains(&"--client") { &[][..] } else { &listen }))
    }

    pub fn publish(&self, region: &TempRegion, more: &[&str]) -> Bridge {
        let all = [&["publish", region, "--host", "north"], more].concat();
        let bridge = self.bridge(&all);
        bridge.says("publishing as north");
        bridge
    }

    pub fn open(&self, region: &TempRegion, local: &TempRegion, more: &[&str]) -> Bridge {
        let source = source(region);
        let all = [&["open", &source, "--as", local], more].concat();
        self.bridge(&all)
    }
}

/// The name of a region of the host "north".
pub fn source(region: &TempRegion) -> String {
    format!("north/{}", region.path().file_name().unwrap().to_str().unwrap())
}

/// A producer with a small region.
pub fn producer(region: &TempRegion) -> Producer {
    Producer::builder(region).unwrap().arena(4 << 20).create().unwrap()
}

/// A producer that keeps all frames of these tests, so that a bridge that is late misses none.
pub fn keeping_producer(region: &TempRegion) -> Producer {
    Producer::builder(region).unwrap().arena(64 << 20).history(u32::MAX).create().unwrap()
}

/// Publishes numbered frames until `done` holds.
#[track_caller]
pub fn send_until(producer: &mut Producer, number: &mut u64, mut done: impl FnMut() -> bool) {
    until("frames arrive", || {
        send(producer, *number);
        *number += 1;
        std::thread::sleep(Duration::from_millis(5));
        done()
    });
}

/// Publishes a frame that has its number as bytes and times.
pub fn send(producer: &mut Producer, number: u64) {
    let mut info = FrameInfo::new().with_pts(number * 1_000_000);
    info.time = Some(shm2::monotonic_ns());
    producer.send(&[&number.to_le_bytes()[..], &[7; 92]].concat(), &info).unwrap();
}

/// A consumer of all items.
pub fn consumer(region: &str) -> Consumer {
    Consumer::builder(region).unwrap().events(true).build()
}

/// The number in a frame.
pub fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// The next frame, if one comes soon.
pub fn soon(consumer: &mut Consumer) -> Option<u64> {
    consumer.next(Some(Duration::from_millis(20))).ok().filter(|frame| frame.len() >= 8).map(|f| number(&f.to_vec()))
}

impl Bridge {
    /// Waits for its end without an error; what it has printed.
    pub fn stop_by_itself(mut self) -> String {
        assert!(self.child.wait().success(), "{}", self.text());
        self.text()
    }
}
