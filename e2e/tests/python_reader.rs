//! `examples/python/shm2_reader.py` was written from `docs/protocol.md` alone. It reads what a consumer of the library
//! reads, from producers that are killed, replaced and closed.

use shm2::consumer::{Access, Canceller, OnProducerExit, Start};
use shm2::{Consumer, FrameInfo, Producer, ReceiveError};
use shm2_cli::{Check, pattern};
use shm2_e2e::Peer;
use shm2_testing::{ChildGuard, LIMIT, TempPath, TempRegion, process, skip, until};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python/shm2_reader.py")
}

/// An interpreter that is new enough; `None` where there is none.
fn python() -> Option<&'static str> {
    // Another user may be unable to reach an interpreter that is not the system's.
    let found = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let check = "import sys; sys.exit(sys.version_info < (3, 9))";
        Command::new(python).args(["-c", check]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    });
    if found.is_none() {
        skip("there is no python3 of version 3.9 or newer");
    }
    found
}

/// A running reader and the lines that it has printed.
struct Reader {
    child: ChildGuard,
    lines: Arc<Mutex<Vec<String>>>,
    printing: JoinHandle<()>,
}

impl Reader {
    fn start(python: &str, arguments: &[&str]) -> Self {
        Self::spawn(&mut Command::new(python), arguments)
    }

    /// The interpreter reads the program from its standard input, because another user may not reach the file.
    fn spawn(command: &mut Command, arguments: &[&str]) -> Self {
        command.args(["-I", "-"]).args(arguments).stdin(File::open(script()).unwrap()).current_dir("/");
        let mut child = ChildGuard::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
        let stdout = child.take_stdout().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = lines.clone();
        let printing = std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| printed.lock().unwrap().push(line));
        });
        Self { child, lines, printing }
    }

    fn count(&self, prefix: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.starts_with(prefix)).count()
    }

    /// Waits until it has printed so many lines of this kind.
    fn wait(&self, prefix: &str, count: usize) {
        until(&format!("{count} lines {prefix:?}"), || {
            let is_over = self.printing.is_finished();
            let is_there = self.count(prefix) >= count;
            assert!(is_there || !is_over, "the reader ended: {:?}", self.lines);
            is_there
        });
    }

    /// Waits for its end; exit status and standard error, and the lines of its standard output.
    fn end(self) -> (Output, Vec<String>) {
        let output = self.child.output();
        self.printing.join().unwrap();
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        (output, lines)
    }

    fn succeed(self) -> Vec<String> {
        let (output, lines) = self.end();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{}: {errors}{lines:?}", output.status);
        lines
    }

    /// Checks that it fails with exit code 1 and one line on standard error, and returns that line.
    fn fail(self) -> String {
        let (output, lines) = self.end();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && errors.lines().count() == 1, "{}: {errors}{lines:?}", output.status);
        errors
    }
}

/// As `zlib.crc32` of Python.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| crc >> 1 ^ (0xedb8_8320 * (crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

/// A frame as both readers report it: sequence, bytes, checksum.
type Frame = (u64, usize, u32);

/// Reads what the library's consumer receives in a thread, by generation.
struct Expected {
    canceller: Canceller,
    reading: JoinHandle<HashMap<u64, Vec<Frame>>>,
}

impl Expected {
    fn start(name: &TempRegion) -> Self {
        let builder = Consumer::builder(name).unwrap().access(Access::Lease).start(Start::Oldest);
        let mut consumer = builder.on_producer_exit(OnProducerExit::Reconnect).build();
        let canceller = consumer.canceller();
        let reading = std::thread::spawn(move || {
            let mut frames = HashMap::<_, Vec<_>>::new();
            loop {
                let frame = match consumer.next(None) {
                    Ok(frame) => frame,
                    Err(ReceiveError::EndOfStream) => continue,
                    Err(ReceiveError::Cancelled) => return frames,
                    Err(error) => panic!("{error}"),
                };
                let number = frame.info().pts.unwrap();
                assert_eq!(pattern::mismatch(&frame, number, Check::Full), None);
                let bytes = frame.to_vec();
                let seen = frames.entry(consumer.generation().unwrap()).or_default();
                seen.push((frame.sequence(), bytes.len(), crc32(&bytes)));
            }
        });
        Self { canceller, reading }
    }

    fn end(self) -> HashMap<u64, Vec<Frame>> {
        self.canceller.set(true);
        self.reading.join().unwrap()
    }
}

/// `frame SEQUENCE: BYTES bytes, pts ..., flags ..., crc32 CHECKSUM`.
fn frame(line: &str) -> Option<Frame> {
    let (sequence, rest) = line.strip_prefix("frame ")?.split_once(": ")?;
    let (bytes, checksum) = (rest.split_once(' ')?.0, line.rsplit_once("crc32 ")?.1);
    Some((sequence.parse().unwrap(), bytes.parse().unwrap(), u32::from_str_radix(checksum, 16).unwrap()))
}

/// Compares each frame that the reader printed with the one of the same sequence and generation; returns the number of
/// frames of each generation. The reader must have counted what is not there.
fn compare(lines: &[String], expected: &HashMap<u64, Vec<Frame>>) -> Vec<usize> {
    let (mut counts, mut seen, mut current, mut next) = (Vec::new(), &Vec::new(), None, None);
    for line in lines {
        if let Some(rest) = line.strip_prefix("attached: generation ") {
            let generation = u64::from_str_radix(&rest[..16], 16).unwrap();
            // In a kept region a reader may attach twice to a generation: a moment before the next one begins, too.
            if current != Some(generation) {
                seen = expected.get(&generation).unwrap_or_else(|| panic!("another generation: {line}"));
                (current, next) = (Some(generation), None::<u64>);
                counts.push(0);
            }
        } else if let Some(missed) = line.strip_prefix("missed ") {
            next = next.map(|next| next + missed.parse::<u64>().unwrap());
        } else if let Some(read) = frame(line) {
            assert_eq!(read.0, next.unwrap_or(read.0), "{line}");
            next = Some(read.0 + 1);
            // The library's consumer may have attached later, and loses the last frames of a kept region's generation if
            // the next one begins before it has read them.
            let other = seen.iter().find(|frame| frame.0 == read.0);
            assert_eq!(*other.unwrap_or(&read), read);
            let is_outside = read.0 < seen[0].0 || read.0 > seen[seen.len() - 1].0;
            assert!(other.is_some() || is_outside, "only one of the readers got {line}");
            *counts.last_mut().unwrap() += usize::from(other.is_some());
        }
    }
    counts
}

fn send(producer: &mut Producer, number: u64, bytes: usize) {
    let mut slot = producer.reserve(bytes).unwrap();
    pattern::fill(&mut slot, number).unwrap();
    producer.publish(slot, &FrameInfo::new().with_pts(number)).unwrap();
}

#[test]
fn the_python_reader_gets_the_same_frames_as_the_library_over_a_kill_and_another_size() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    let Some(python) = python() else { return };
    let name = TempRegion::new();
    let expected = Expected::start(&name);
    let reader = Reader::start(python, &[&name, "1000000", "--checksums"]);
    let options = "policy=block timeout=60000 history=4000 pace=4000";
    let killed = Peer::producer(&name, &format!("{options} arena=16000000 most=12000 caps=40"));
    reader.wait("frame ", 60);
    killed.kill();
    let closed = Peer::producer(&name, &format!("{options} arena=24000000 most=20000 seed=5"));
    reader.wait("attached: ", 2);
    let before = reader.count("frame ");
    reader.wait("frame ", before + 60);
    closed.stop();
    let mut last = Producer::builder(&name).unwrap().arena(1 << 20).history(20).create().unwrap();
    reader.wait("attached: ", 3);
    (0..20).for_each(|number| send(&mut last, number, 1000 + number as usize));
    last.end_of_stream().unwrap();
    let lines = reader.succeed();
    assert!(last.drain(LIMIT));
    let counts = compare(&lines, &expected.end());
    assert!(counts.len() == 3 && counts[0] >= 50 && counts[1] >= 50 && counts[2] == 20, "{counts:?}");
    assert_eq!(lines[lines.len() - 2], "end of stream");
}

#[test]
fn the_python_reader_needs_only_permission_to_read() {
    let Some(python) = python() else { return };
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().perms(0o444).history(20).create().unwrap();
    (0..20).for_each(|number| send(&mut producer, number, 5000));
    producer.end_of_stream().unwrap();
    let mut command = Command::new(python);
    if rustix::process::geteuid().is_root() {
        // Root may write any file.
        command.uid(65534).gid(65534);
    }
    let lines = Reader::spawn(&mut command, &[&name.uri(), "50", "--timeout", "60"]).succeed();
    assert_eq!(lines.last().unwrap(), "20 frames, 0 missed, 1 producers");
    until("the end of the presence lock", || {
        producer.consumers();
        !producer.handle().has_snapshot_consumers()
    });
}

#[test]
fn the_python_reader_waits_at_a_file_of_zeros_and_in_a_kept_region() {
    let Some(python) = python() else { return };
    let name = TempRegion::new();
    File::create(name.path()).unwrap().set_len(8 << 20).unwrap();
    let error = Reader::start(python, &[&name, "5", "--timeout", "0.2"]).fail();
    assert!(error.contains(&*name) && error.contains("no frame within 0.2 s: it has no producer"), "{error}");
    let reader = Reader::start(python, &[&name, "1000000", "--checksums"]);
    let expected = Expected::start(&name);
    let options = "keep=1 policy=block timeout=60000 history=4000 pace=4000 most=5000";
    for generation in 1..=3 {
        let producer = Peer::producer(&name, &format!("{options} seed={generation}"));
        reader.wait("attached: ", generation);
        let before = reader.count("frame ");
        reader.wait("frame ", before + 30);
        producer.kill();
    }
    let mut last = Producer::builder(&name).unwrap().keep_region(true).history(20).create().unwrap();
    reader.wait("attached: ", 4);
    send(&mut last, 1, 100);
    last.end_of_stream().unwrap();
    let lines = reader.succeed();
    assert!(last.drain(LIMIT));
    let counts = compare(&lines, &expected.end());
    assert!(counts.len() == 4 && counts[3] == 1, "{counts:?}");
}

#[test]
fn the_python_reader_sleeps_while_nothing_comes_and_gives_up_in_time() {
    let Some(python) = python() else { return };
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().history(0).create().unwrap();
    // The frame stays in the ring for this consumer, but the header's history is 0: no later consumer begins with it.
    let _slow = Consumer::builder(&name).unwrap().access(Access::Lease).attach(Some(LIMIT)).unwrap();
    send(&mut producer, 1, 100);
    let reader = Reader::start(python, &[&name, "5", "--timeout", "2"]);
    reader.wait("attached: ", 1);
    let (begun, busy) = (Instant::now(), process::busy(reader.child.id()));
    std::thread::sleep(Duration::from_millis(700));
    let (busy, time) = (process::busy(reader.child.id()).saturating_sub(busy), begun.elapsed());
    assert!(busy < time / 2, "{busy:?} of {time:?}");
    assert_eq!(reader.count("frame "), 0);
    let error = reader.fail();
    assert!(error.contains(&*name) && error.contains("no frame within 2 s: its producer sends nothing"), "{error}");
    println!("{busy:?} of {time:?}");
}

#[test]
fn bad_input_is_one_line_of_the_python_reader() {
    let Some(python) = python() else { return };
    let foreign = TempPath::new("foreign");
    std::fs::write(&foreign, vec![7; 1 << 20]).unwrap();
    let directory = std::env::temp_dir();
    for (name, text) in [
        (foreign.text(), "not a region"),
        (directory.to_str().unwrap(), "not a regular file"),
        ("relative", "not an absolute path"),
        ("shm://relative", "not an absolute path"),
        ("shm:///dev/shm/a%2", "invalid escape"),
        ("http://x", "not a file"),
    ] {
        let error = Reader::start(python, &[name, "5", "--timeout", "60"]).fail();
        assert!(error.contains(name) && error.contains(text), "{error}");
    }
}

#[test]
fn a_truncated_region_is_an_error_of_the_python_reader() {
    let Some(python) = python() else { return };
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().create().unwrap();
    send(&mut producer, 1, 100);
    let reader = Reader::start(python, &[&name, "5"]);
    reader.wait("frame ", 1);
    name.set_len(100);
    assert!(reader.fail().contains("truncated"));
}
