//! The tools as processes that are killed, with each other and with this process.

use shm2::{Consumer, FrameInfo, Producer, ReceiveError, Start};
use shm2_testing::{ChildGuard, LIMIT, RECOVERY, TempRegion, until};
#[cfg(unix)]
use shm2_testing::{Signal, process};
use std::io::BufRead;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(LIMIT);

/// One of the tools.
struct Tool(ChildGuard);

impl Tool {
    fn start(program: &str, arguments: &str) -> Self {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(ChildGuard::spawn(&mut command).unwrap())
    }

    fn producer(arguments: &str) -> Self {
        Self::start(env!("CARGO_BIN_EXE_shm2_producer"), arguments)
    }

    fn consumer(arguments: &str) -> Self {
        Self::start(env!("CARGO_BIN_EXE_shm2_consumer"), arguments)
    }

    /// Waits until it has ended; its exit status and what it printed.
    fn end(self) -> (ExitStatus, String) {
        let output = self.0.output();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status, text(output.stdout) + &text(output.stderr))
    }

    fn succeed(self) -> String {
        let (status, text) = self.end();
        assert!(status.success(), "{status}: {text}");
        text
    }

    fn kill(self) {
        self.0.kill();
    }
}

/// A field of the summary, which is one line of the output.
fn number(output: &str, key: &str) -> u64 {
    let json = output.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no summary in {output}"));
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {json}"))
}

#[test]
fn the_tools_work_in_any_start_order_and_lose_nothing() {
    for consumer_first in [true, false] {
        let name = TempRegion::new();
        let path = &*name;
        let produce = || Tool::producer(&format!("{path} 2000 -q"));
        let consume = || Tool::consumer(&format!("{} 2000 --json", name.uri()));
        let first = if consumer_first { consume() } else { produce() };
        std::thread::sleep(Duration::from_millis(200));
        let second = if consumer_first { produce() } else { consume() };
        let (consumer, producer) = if consumer_first { (first, second) } else { (second, first) };
        let json = consumer.succeed();
        assert_eq!((number(&json, "frames"), number(&json, "missed"), number(&json, "mismatches")), (2000, 0, 0));
        producer.succeed();
        assert!(!name.exists());
    }
}

#[test]
fn many_consumers_of_both_kinds_get_every_frame_or_count_the_missed_ones() {
    let name = TempRegion::new();
    let path = &*name;
    let leasing = (0..4).map(|_| Tool::consumer(&format!("{path} 240 --json --check sampled --access lease --hold 2")));
    let snapshot = (0..4).map(|_| Tool::consumer(&format!("{path} 240 --json --check sampled --access snapshot")));
    let consumers: Vec<_> = leasing.chain(snapshot).collect();
    std::thread::sleep(Duration::from_millis(300));
    let producer =
        Tool::producer(&format!("{path} 240 -q --frame-size 3110400 --rate 120 --full-policy drop-oldest --history 1"));
    for consumer in consumers {
        let json = consumer.succeed();
        assert_eq!(number(&json, "mismatches"), 0, "{json}");
        let (frames, missed) = (number(&json, "frames"), number(&json, "missed"));
        // On a loaded machine every copy of a snapshot consumer may come too late; then all are counted as missed.
        assert!(frames + missed <= 241 && frames + missed > 0, "{json}");
    }
    producer.succeed();
}

#[test]
fn frames_of_a_killed_consumer_are_recycled_soon() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().create().unwrap();
    let handle = producer.handle();
    let consumer = Tool::consumer(&format!("{} 1000 --hold 8 --check none", &*name));
    until("the consumer", || handle.consumers() == 1);
    until("held frames", || {
        producer.send(&[7; 100_000], &FrameInfo::new()).unwrap();
        handle.consumers();
        handle.stats().held >= 8
    });
    let free = handle.stats().free_bytes;
    consumer.kill();
    let killed = Instant::now();
    until("recycling", || handle.consumers() == 0 && handle.stats().held == 0);
    println!("recycled {:?} after kill -9", killed.elapsed());
    assert!(killed.elapsed() < RECOVERY, "{:?}", killed.elapsed());
    assert!(handle.stats().free_bytes >= free + 7 * 100_000);
}

#[test]
fn consumers_of_a_killed_producer_continue_with_the_next_one() {
    let name = TempRegion::new();
    let mut consumer = Consumer::new(&name).unwrap();
    for size in ["64M", "64M", "16M", "128M"] {
        let producer = Tool::producer(&format!("{} 100000 -q --rate 200 --size {size} --history 1", &*name));
        let started = Instant::now();
        let generation = consumer.generation();
        while consumer.generation() == generation || !consumer.is_attached() {
            consumer.next(LONG).unwrap();
        }
        println!("first frame {:?} after the start of a producer of {size}", started.elapsed());
        assert!(started.elapsed() < RECOVERY, "{:?}", started.elapsed());
        let last = (0..20).map(|_| consumer.next(LONG).unwrap()).last().unwrap();
        producer.kill();
        let (held, sequence) = (last.to_vec(), last.sequence());
        assert!(sequence > 0);
        assert!(matches!(consumer.next(Some(Duration::from_millis(300))), Err(ReceiveError::TimedOut) | Ok(_)));
        assert_eq!(last.to_vec(), held, "a held frame outlives its killed producer");
    }
    assert_eq!(consumer.stats().attaches, 4);
}

#[test]
fn a_consumer_that_was_busy_while_the_producer_was_replaced_continues_with_the_new_one() {
    for access in [shm2::Access::Lease, shm2::Access::Snapshot] {
        let name = TempRegion::new();
        let mut consumer = Consumer::builder(&name).unwrap().access(access).build();
        for round in 1..=3 {
            let producer = Tool::producer(&format!("{} 100000 -q --wait 0 --rate 200 --history 1", &*name));
            let begun = Instant::now();
            while consumer.stats().attaches < 2 * round - 1 {
                consumer.next(LONG).unwrap();
            }
            println!("{access:?}: with producer {round} after {:?}", begun.elapsed());
            // The more frequent checks after an attach are over, then the consumer does not wait while producers change.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(300) {
                consumer.next(LONG).unwrap();
            }
            producer.kill();
            if round < 3 {
                let next = Tool::producer(&format!("{} 100000 -q --wait 0 --rate 200 --history 1", &*name));
                until("the next producer", || shm2::Overview::of(&name).is_ok_and(|seen| seen.newest > 5));
                let begun = Instant::now();
                let generation = consumer.generation();
                while consumer.generation() == generation || !consumer.is_attached() {
                    consumer.next(LONG).unwrap();
                    assert!(begun.elapsed() < LIMIT, "the consumer does not change to the new producer");
                }
                next.kill();
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_stopped_consumer_does_not_stop_the_producer_or_other_consumers() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().size(8 << 20).create().unwrap();
    let handle = producer.handle();
    let stopped = Tool::consumer(&format!("{} 100000 --hold 4 --check full --json", &*name));
    until("the consumer", || handle.consumers() == 1);
    let mut reader = Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let mut sent = 0u64;
    let mut frame = || {
        sent += 1;
        producer.send(&sent.to_le_bytes().repeat(20_000), &FrameInfo::new()).unwrap();
        sent
    };
    for _ in 0..20 {
        frame();
        reader.next(LONG).unwrap();
    }
    stopped.0.signal(Signal::STOP);
    for _ in 0..2000 {
        let sent = frame();
        let received = reader.next(LONG).unwrap();
        assert_eq!((received.missed(), received.to_vec()), (0, sent.to_le_bytes().repeat(20_000)));
    }
    assert_eq!(handle.consumers(), 2, "a stopped consumer is alive");
    stopped.0.signal(Signal::CONT);
    for _ in 0..50 {
        frame();
        std::thread::sleep(Duration::from_millis(1));
    }
    stopped.0.signal(Signal::TERM);
    let json = stopped.succeed();
    assert_eq!(number(&json, "mismatches"), 0, "{json}");
    assert!(number(&json, "missed") > 1000, "the missed frames are counted: {json}");
}

#[test]
fn memory_held_by_consumers_killed_at_random_moments_is_recycled() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().size(16 << 20).create().unwrap();
    let handle = producer.handle();
    for round in 0..30u64 {
        let consumers: Vec<_> =
            (0..3).map(|_| Tool::consumer(&format!("{} 100000 --hold 3 --check none -q", &*name))).collect();
        until("consumers", || {
            producer.send(&[1; 60_000], &FrameInfo::new()).unwrap();
            handle.consumers() == 3
        });
        for _ in 0..(round * 7 % 40) {
            producer.send(&[1; 60_000], &FrameInfo::new()).unwrap();
        }
        consumers.into_iter().for_each(Tool::kill);
        until("recycling", || handle.consumers() == 0 && handle.stats().held == 0);
    }
    producer.send(b"x", &FrameInfo::new()).unwrap();
    handle.consumers();
    let stats = handle.stats();
    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
    assert_eq!((stats.used_bytes, stats.dropped_newest), (64, 0));
}

#[test]
fn a_consumer_whose_producer_is_killed_prints_the_reason_and_fails() {
    let name = TempRegion::new();
    for flag in ["", "--wake-ahead"] {
        let producer = Tool::producer(&format!("{} 100000 -q --rate 400", &*name));
        let mut consumer = Tool::consumer(&format!("{} 100000 {flag}", &*name));
        let mut first_line = String::new();
        let mut stdout = std::io::BufReader::new(consumer.0.take_stdout().unwrap());
        stdout.read_line(&mut first_line).unwrap();
        assert_eq!(first_line.trim_end(), "received 500");
        producer.kill();
        let (status, text) = consumer.end();
        assert!(!status.success() && text.contains("went without an end of stream, after"), "{status}: {text}");
    }
    // The end of the stream is no failure, with any number of frames.
    let consumer = Tool::consumer(&format!("{} 100000 -q", &*name));
    let producer = Tool::producer(&format!("{} 20 -q", &*name));
    assert!(producer.end().0.success());
    let (status, text) = consumer.end();
    assert!(status.success() && text.contains("the stream ended after 20 of 100000 frames"), "{status}: {text}");
}

/// Numbers restart with the next producer, even if frames of the previous one were missed.
#[cfg(unix)]
#[test]
fn in_a_kept_region_the_next_producers_frames_are_in_order() {
    let name = TempRegion::new();
    let kept = || Producer::builder(&name).unwrap().keep_region(true).create().unwrap();
    let send = |producer: &mut Producer, count| {
        for number in 0..count {
            let mut slot = producer.reserve(64).unwrap();
            shm2_cli::pattern::fill(&mut slot, number).unwrap();
            producer.publish(slot, &FrameInfo::new()).unwrap();
        }
    };
    let mut first = kept();
    let consumer = Tool::consumer(&format!("{} 20020 --reconnect --quiet", &*name));
    until("a consumer", || first.consumers() == 1);
    send(&mut first, 10);
    assert!(first.drain(LIMIT));
    consumer.0.signal(Signal::STOP);
    send(&mut first, 20_000);
    drop(first);
    let mut next = kept();
    send(&mut next, 10);
    consumer.0.signal(Signal::CONT);
    let text = consumer.succeed();
    assert!(text.contains("frames 20  missed 20000  skipped 0  mismatches 0"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_tool_in_every_pause_and_while_frames_wait() {
    let name = TempRegion::new();
    // Frames wait at all times.
    let mut source = Producer::builder(&name).unwrap().history(100).create().unwrap();
    for _ in 0..200 {
        source.send(&[0; 64], &FrameInfo::new()).unwrap();
    }
    let other = TempRegion::new();
    let tools = [
        Tool::consumer(&format!("{} 100000 --access snapshot --delay 0.5 --check none", &*name)),
        Tool::consumer(&format!("{} 100000 --delay 1000 --check none", &*name)),
        Tool::producer(&format!("{} 100000 --wait 0 --rate 0.001", &*other)),
        Tool::producer(&format!("{}-waiting 100000 --wait 1000", &*other)),
    ];
    until("a consumer", || source.consumers() == 1 && source.handle().has_snapshot_consumers());
    until("handlers", || tools.iter().all(|tool| process::catches(tool.0.id(), Signal::INT.as_raw())));
    for tool in tools {
        tool.0.signal(Signal::INT);
        let begun = Instant::now();
        let (status, text) = tool.end();
        assert!(begun.elapsed() < RECOVERY && status.success(), "{status} after {:?}: {text}", begun.elapsed());
        assert!(text.contains("stopped after") || text.contains("sent "), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_tool_with_closed_output_pipes_does_not_panic() {
    let name = TempRegion::new();
    for (program, options, expected) in [
        (env!("CARGO_BIN_EXE_shm2_consumer"), "5 --timeout 0.3", 1),
        (env!("CARGO_BIN_EXE_shm2_producer"), "5 --wait 0.3", 0),
    ] {
        let mut tool = Tool::start(program, &format!("{} {options}", &*name));
        drop((tool.0.take_stdout(), tool.0.take_stderr()));
        assert_eq!(tool.0.wait().code(), Some(expected));
    }
}

#[test]
fn a_long_wait_prints_its_reason() {
    let name = TempRegion::new();
    let (_, text) = Tool::consumer(&format!("{} 5 --timeout 2", name.uri())).end();
    assert!(text.contains(&format!("waiting for {}", &*name)) && text.contains(": no producer there; check"), "{text}");
    let producer = Producer::create(&name).unwrap();
    let (_, text) = Tool::consumer(&format!("{} 5 --timeout 2", name.uri())).end();
    assert!(text.contains(&format!("waiting for the first frame of {}\n", name.uri())), "{text}");
    drop(producer);
    #[cfg(target_os = "linux")]
    {
        // The memory of a virtual machine's device: no lock tells that its producer died.
        let options = format!("ivshmem://{} 100000 --size 8M --wait", &*name);
        std::fs::File::create_new(&*name).and_then(|file| file.set_len(8 << 20)).unwrap();
        let producer = Tool::producer(&format!("{options} 1000"));
        until("a region", || std::fs::read(&*name).is_ok_and(|bytes| bytes[..8] != [0; 8]));
        producer.kill();
        let text = Tool::producer(&format!("{options} 0")).succeed();
        assert!(text.contains("waiting for the last producer's lease time at "), "{text}");
    }
}

#[test]
fn a_killed_producer_leaves_a_name_that_the_next_one_takes() {
    let name = TempRegion::new();
    for _ in 0..10 {
        let producer = Tool::producer(&format!("{} 100000 -q --wait 0 --rate 100", &*name));
        let mut consumer = Consumer::builder(&name).unwrap().start(Start::Oldest).build();
        consumer.next(LONG).unwrap();
        producer.kill();
        assert!(name.exists() || cfg!(windows));
    }
    drop(Producer::create(&name).unwrap());
}

#[cfg(windows)]
#[test]
fn bad_arguments_have_clear_errors() {
    for (arguments, expected) in [
        ("http://x 5", "is not known: use winshm://Local/NAME"),
        ("shm:///dev/shm/x 5", "needs files of Linux"),
        ("winshm://Local/shm2-cli-test-none 5 --size 1", "out of range"),
        ("winshm://Session/x 5", "is no name of a section"),
        ("winshm://Local/shm2-cli-test-none 5 --keep-region", "keep-region"),
        ("ivshmem:// 5 --wait 0", "no ivshmem device"),
        ("ivshmem:///dev/kvmfr0 5", "a Linux guest"),
    ] {
        let (status, text) = Tool::producer(arguments).end();
        assert!(!status.success() && text.contains(expected), "{arguments}: {status}: {text}");
    }
    let (status, text) = Tool::consumer("winshm://Local/shm2-cli-test-none 5 --timeout 0.1").end();
    assert!(!status.success() && text.contains("no frame"), "{text}");
}

#[cfg(unix)]
#[test]
fn bad_arguments_have_clear_errors() {
    for (arguments, expected) in [
        ("http://x 5", "is not known"),
        ("shm:///dev/shm/shm2-cli-test-none 5 --size 1", "out of range"),
        ("relative 5", "is not an absolute path"),
        ("/dev/shm/shm2-cli-test-none five", "invalid"),
        ("/dev/shm/shm2-cli-test-large 5 --size 8M --frame-size 9M --wait 1000", "9437184 bytes does not fit"),
        ("/dev/shm/shm2-cli-test-none 5 --size 6Q", "is not a number of bytes"),
        ("/dev/shm/shm2-cli-test-none 5 --rate 0", "frames per second above 0"),
        ("/dev/shm/shm2-cli-test-none 5 --rate 1e-19", "frames per second above 0"),
        ("/dev/shm/shm2-cli-test-none 5 --wait 1e19", "is not a time in seconds"),
        ("/dev/shm/shm2-cli-test-none 5 --lease-time 5000000", "\"5000000\" is not a time from 0.1 to 3600 seconds"),
        ("/dev/shm/shm2-cli-test-none 5 --perms 7777", "\"7777\" is not an octal mode"),
        ("/dev/shm/shm2-cli-test-none 5 --wait -1", "\"-1\" is not a time in seconds"),
        ("/dev/shm 5", "is a directory"),
    ] {
        let (status, text) = Tool::producer(arguments).end();
        assert!(!status.success() && text.contains(expected), "{arguments}: {status}: {text}");
    }
    let (status, text) = Tool::consumer("/dev/shm/shm2-cli-test-none 5 --timeout 0.1").end();
    assert!(!status.success() && text.contains("no frame"), "{text}");
}
