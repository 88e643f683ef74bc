//! Every word of header, ring cells and consumer pages is set to what it must not be, at rest and while both sides run:
//! an error with its own name or nothing at all, but no end, no hang, and no memory without bound.

#![allow(clippy::unwrap_used)]

use shm2::consumer::Access;
use shm2::{AttachError, Consumer, FrameInfo, Producer, ReceiveError, Start, Violation, layout};
use shm2_e2e::process::peak_bytes;
use shm2_e2e::random::Random;
use shm2_e2e::{LIMIT, Name, Peer, RECOVERY};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const SHORT: Option<Duration> = Some(Duration::from_millis(2));
const ACCESSES: [Access; 2] = [Access::Lease, Access::Snapshot];

/// A word of the region: name, offset from the start of its section, bytes.
type Word = (&'static str, u64, usize);

/// docs/protocol.md, section 2.
const HEADER: &[Word] = &[
    ("magic", 0, 8),
    ("version", 8, 4),
    ("header_bytes", 12, 4),
    ("region_bytes", 16, 8),
    ("generation", 24, 8),
    ("ring_offset", 32, 8),
    ("pages_offset", 40, 8),
    ("arena_offset", 48, 8),
    ("arena_bytes", 56, 8),
    ("cells", 64, 4),
    ("cell_bytes", 68, 4),
    ("pages", 72, 4),
    ("page_stride", 76, 4),
    ("max_leases", 80, 4),
    ("history", 84, 4),
    ("full_policy", 88, 4),
    ("producer_pid", 92, 4),
    ("created_ns", 96, 8),
    ("first_sequence", 104, 8),
    ("lease_ms", 112, 4),
    ("kept", 116, 4),
    ("head", 128, 8),
    ("oldest", 256, 8),
    ("wake", 384, 4),
    ("state", 512, 4),
    ("producer_waits", 516, 4),
    ("beacon_sequence", 640, 8),
    ("beacon_monotonic_ns", 648, 8),
    ("beacon_realtime_ns", 656, 8),
    ("beacon_head", 664, 8),
    ("heartbeat", 672, 8),
    ("dropped_oldest", 768, 8),
    ("dropped_newest", 776, 8),
    ("dropped_too_large", 784, 8),
];

/// Section 3.
const CELL: &[Word] = &[
    ("sequence", 0, 8),
    ("offset", 8, 8),
    ("length", 16, 8),
    ("flags", 24, 4),
    ("kind", 28, 4),
    ("pts", 32, 8),
    ("published", 40, 8),
    ("time", 48, 8),
    ("duration", 56, 8),
    ("dts", 64, 8),
    ("media_offset", 72, 8),
    ("media_offset_end", 80, 8),
    ("caps_offset", 88, 8),
    ("caps_length", 96, 4),
    ("caps_id", 100, 4),
    ("meta_offset", 104, 8),
    ("meta_length", 112, 4),
    ("stream_length", 116, 4),
    ("latency", 120, 8),
];

/// Section 4.
const PAGE: &[Word] = &[
    ("cursor", 0, 8),
    ("lease_count", 8, 4),
    ("claimed", 12, 4),
    ("lease 0 sequence", 32, 8),
    ("lease 0 offset", 40, 8),
    ("lease 0 length", 48, 8),
    ("lease 1 sequence", 64, 8),
    ("lease 7 sequence", 256, 8),
    ("lease 63 sequence", 2048, 8),
    ("ticket", 2112, 4),
    ("room", 2176, 4),
    ("pid", 2240, 4),
    ("claims", 2244, 4),
    ("attached_ns", 2248, 8),
    ("received", 2256, 8),
    ("missed", 2264, 8),
    ("copied", 2280, 8),
    ("heartbeat", 2288, 8),
];

fn open(name: &Name) -> File {
    OpenOptions::new().read(true).write(true).open(name.path()).unwrap()
}

fn read(file: &File, at: u64, bytes: usize) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word[..bytes], at).unwrap();
    u64::from_le_bytes(word)
}

fn write(file: &File, at: u64, bytes: usize, value: u64) {
    file.write_all_at(&value.to_le_bytes()[..bytes], at).unwrap();
}

/// 0, 1, all ones, one off in both directions, half the range, and two random numbers.
fn values(now: u64, random: &mut Random) -> [u64; 8] {
    [0, 1, u64::MAX, now.wrapping_add(1), now.wrapping_sub(1), 1 << 63, random.next(), random.next() >> 40]
}

#[test]
fn a_lie_in_the_header_is_refused_by_its_name_or_does_no_harm() {
    let mut random = Random::new(11);
    let name = Name::new();
    let mut producer = Producer::builder(&name).unwrap().arena(200_000).history(5).create().unwrap();
    let file = open(&name);
    let mut refused = std::collections::BTreeSet::new();
    for &(word, at, bytes) in HEADER {
        let now = read(&file, at, bytes);
        for value in values(now, &mut random) {
            write(&file, at, bytes, value);
            for access in ACCESSES {
                let builder = Consumer::builder(&name).unwrap().access(access).start(Start::Oldest);
                match builder.attach(SHORT) {
                    Ok(mut consumer) => look(&mut consumer),
                    Err(error) => {
                        assert!(is_refusal_of(word, &error), "{word} = {value:#x}: {error}");
                        refused.insert(word);
                    }
                }
            }
            write(&file, at, bytes, now);
        }
        producer.send(&[5; 3000], &FrameInfo::new()).unwrap();
    }
    let expected = [
        "arena_bytes",
        "arena_offset",
        "cell_bytes",
        "cells",
        "header_bytes",
        "magic",
        "max_leases",
        "page_stride",
        "pages",
        "pages_offset",
        "region_bytes",
        "ring_offset",
        "state",
        "version",
    ];
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), expected);
    let mut consumer = Consumer::new(&name).unwrap();
    assert_eq!(consumer.next(LONG).unwrap().to_vec(), [5; 3000], "put right, all is well");
}

/// Whatever comes, it comes at once and is one of the errors for it.
fn look(consumer: &mut Consumer) {
    for _ in 0..8 {
        match consumer.next(SHORT) {
            Ok(frame) => drop(std::hint::black_box(frame.to_vec())),
            Err(ReceiveError::TimedOut | ReceiveError::Misbehaving { .. } | ReceiveError::Attach(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn is_refusal_of(word: &str, error: &AttachError) -> bool {
    match error {
        AttachError::NotARegion { .. } => word == "magic",
        AttachError::Version { .. } => word == "version",
        // Without a magic number it is memory in which a producer has yet to begin.
        AttachError::TimedOut { .. } | AttachError::NoProducer { .. } => matches!(word, "state" | "magic"),
        AttachError::Header { field, .. } => {
            let field = match *field {
                "region size" => "region_bytes",
                "header size" => "header_bytes",
                "ring offset" => "ring_offset",
                "pages offset" => "pages_offset",
                "arena offset" => "arena_offset",
                "arena size" => "arena_bytes",
                "cell count" => "cells",
                "cell size" => "cell_bytes",
                "page count" => "pages",
                "page distance" => "page_stride",
                "lease limit (1 to 64)" => "max_leases",
                other => other,
            };
            word == field
        }
        _ => false,
    }
}

#[test]
fn a_lie_in_a_cell_is_an_error_with_its_name() {
    let mut random = Random::new(12);
    for access in ACCESSES {
        let name = Name::new();
        let mut producer = Producer::builder(&name).unwrap().arena(200_000).create().unwrap();
        producer.set_caps(b"caps").unwrap();
        let file = open(&name);
        let mut named = std::collections::BTreeSet::new();
        for &(word, at, bytes) in CELL {
            for which in 0..8 {
                let mut consumer = Consumer::builder(&name).unwrap().access(access).attach(LONG).unwrap();
                while consumer.try_next().is_ok_and(|f| f.is_some()) {}
                let slot = producer.reserve(1000).unwrap();
                let sequence = producer.publish_with_meta(slot, &FrameInfo::new(), b"meta").unwrap();
                let place = layout::cell_offset(sequence) + at;
                let now = read(&file, place, bytes);
                write(&file, place, bytes, values(now, &mut random)[which]);
                match consumer.next(SHORT) {
                    Ok(frame) => drop(std::hint::black_box(frame.to_vec())),
                    Err(ReceiveError::EndOfStream) => assert!(word == "kind"),
                    Err(ReceiveError::Misbehaving { violation, .. }) => {
                        drop(named.insert((word, violation_name(&violation))))
                    }
                    Err(error) => panic!("{word}: {error}"),
                }
                write(&file, place, bytes, now);
            }
        }
        let expected = [
            ("caps_length", "caps"),
            ("caps_offset", "caps"),
            ("kind", "kind"),
            ("length", "payload"),
            ("meta_length", "meta"),
            ("meta_offset", "meta"),
            ("offset", "payload"),
            ("sequence", "ring"),
            ("stream_length", "caps"),
        ];
        assert_eq!(named.into_iter().collect::<Vec<_>>(), expected, "{access:?}");
    }
}

fn violation_name(violation: &Violation) -> &'static str {
    match violation {
        Violation::Payload { .. } => "payload",
        Violation::Caps { .. } => "caps",
        Violation::Meta { .. } => "meta",
        Violation::Kind { .. } => "kind",
        Violation::Ring { .. } => "ring",
        _ => "another",
    }
}

#[test]
fn a_lie_in_a_consumer_page_costs_the_producer_nothing_but_frames() {
    let mut random = Random::new(13);
    for policy in [shm2::FullPolicy::DropOldest, shm2::FullPolicy::DropNewest] {
        let name = Name::new();
        let builder = Producer::builder(&name).unwrap().arena(200_000).max_leases(4).full_policy(policy);
        let mut producer = builder.create().unwrap();
        let _consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
        let file = open(&name);
        for page in [0, 1, 63] {
            for &(_, at, bytes) in PAGE {
                let place = layout::page_words_offset(page) + at;
                let now = read(&file, place, bytes);
                for value in values(now, &mut random) {
                    write(&file, place, bytes, value);
                    for _ in 0..3 {
                        let _ = producer.send(&[1; 30_000], &FrameInfo::new());
                    }
                    let stats = producer.handle().stats();
                    assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
                    assert!(stats.held <= 64 * 4, "no more than the budget of each page is honoured");
                    producer.consumers();
                }
                write(&file, place, bytes, now);
            }
        }
    }
}

#[test]
fn a_new_life_begins_in_whatever_stands_there() {
    let mut random = Random::new(14);
    let name = Name::new();
    let builder = || Producer::builder(&name).unwrap().arena(200_000).keep_region(true);
    drop(builder().create().unwrap());
    let file = open(&name);
    for _ in 0..100 {
        for _ in 0..20 {
            flip(&file, &HEADER[2..], &mut random);
        }
        let mut producer = builder().create().unwrap();
        let mut consumer = Consumer::builder(&name).unwrap().access(Access::Snapshot).attach(LONG).unwrap();
        for n in 0..20 {
            // All memory may be held, as far as the entries tell.
            let _ = producer.send(&[n; 30_000], &FrameInfo::new());
            let stats = producer.handle().stats();
            assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
        }
        look(&mut consumer);
        // The pages belong to nobody, so nothing stays held.
        producer.consumers();
        producer.send(&[1; 100_000], &FrameInfo::new()).unwrap();
    }
}

const STORM: Duration = Duration::from_millis(1500);

/// Sets random words for a while, and looks that nobody ends or stands still.
fn storm(name: &Name, seed: u64, header: &[Word], producer: &mut Peer, consumers: &mut [Peer]) -> u64 {
    let mut random = Random::new(seed);
    let file = open(name);
    let (begun, mut flips) = (Instant::now(), 0);
    while begun.elapsed() < STORM {
        let before = producer.count("published") + producer.count("dropped");
        let until = Instant::now() + Duration::from_millis(100);
        while Instant::now() < until {
            flip(&file, header, &mut random);
            flips += 1;
        }
        let goes_on = |p: &Peer| p.count("published") + p.count("dropped") > before;
        producer.wait("a producer that goes on", LIMIT, goes_on);
        for peer in consumers.iter_mut() {
            assert_eq!(peer.ended(), None, "seed {seed}");
        }
    }
    flips
}

fn flip(file: &File, header: &[Word], random: &mut Random) {
    let sequence = random.below(layout::CELLS);
    let page = random.below(6) as usize;
    let (base, words) = match random.below(10) {
        0..=2 => (0, header),
        3..=5 => (layout::cell_offset(sequence), CELL),
        _ => (layout::page_words_offset(page), PAGE),
    };
    let &(_, at, bytes) = random.one_of(words);
    let now = read(file, base + at, bytes);
    let value = *random.one_of(&values(now, &mut random.clone()));
    write(file, base + at, bytes, value);
    if random.below(2) == 0 {
        write(file, base + at, bytes, now);
    }
}

#[test]
fn words_that_change_while_both_sides_run_end_nobody() {
    let seed = std::env::var("SHM2_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(shm2::monotonic_ns);
    println!("SHM2_SEED={seed}");
    // With the fixed part of the header gone nobody attaches any more; left alone, all else is believed at first.
    let moving: Vec<Word> = HEADER.iter().copied().filter(|&(word, at, _)| at >= 128 && word != "state").collect();
    for (what, header) in [("all words", HEADER), ("words that change", &moving)] {
        for policy in ["oldest", "newest", "block"] {
            println!("{what}, {policy}: {}", weather(seed, &format!("policy={policy}"), header));
        }
        println!("{what}, kept: {}", weather(seed, "keep=1 lease_ms=300", header));
    }
}

fn weather(seed: u64, options: &str, header: &[Word]) -> String {
    let name = Name::new();
    let by_heartbeat = options.contains("keep=1");
    let mut producer = Peer::producer(&name, &format!("arena=400000 pace=50 timeout=50 caps=20 eos=40 {options}"));
    producer.wait("its region", LIMIT, |p| p.count("created") == 1);
    let second = if by_heartbeat { "access=lease hold=4 life=heartbeat" } else { "access=lease latest=1" };
    let options = ["access=lease hold=4", second, "access=snapshot", "access=snapshot latest=1"];
    let mut consumers = options.map(|o| Peer::consumer(&name, &format!("hostile=1 {o}")));
    for consumer in &mut consumers {
        consumer.wait_more("checked", 2, LIMIT);
    }
    let flips = storm(&name, seed, header, &mut producer, &mut consumers);
    let peaks: Vec<_> = consumers.iter().chain([&producer]).map(|p| peak_bytes(p.id()).unwrap() >> 20).collect();
    assert!(peaks.iter().all(|&mib| mib < limit_mib()), "memory in MiB: {peaks:?}");
    let count = |key| consumers.iter().map(|c| c.count(key)).collect::<Vec<_>>();
    let (checked, lies, published) = (count("checked"), count("lies"), producer.count("published"));
    let words =
        format!("{flips} words set, {published} published, taken {checked:?}, lies {lies:?}, peak MiB {peaks:?}");
    producer.stop();
    // What the storm left of the file is not a region any more, perhaps.
    let _ = std::fs::remove_file(name.path());
    let mut next = Peer::producer(&name, if by_heartbeat { "keep=1 lease_ms=300" } else { "" });
    next.wait("its region", RECOVERY, |p| p.count("created") == 1);
    for mut consumer in consumers {
        consumer.wait_more("checked", 2, RECOVERY * 2);
        consumer.stop();
    }
    next.stop();
    words
}

/// A sanitizer needs memory of its own.
fn limit_mib() -> u64 {
    if std::env::var_os("SHM2_SANITIZED").is_some() { 2000 } else { 80 }
}
