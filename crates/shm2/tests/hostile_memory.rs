//! Each word of header, ring cells and consumer pages is set to wrong values: the peer that reads it reports an error
//! that names the word, or the word does no harm.

#![cfg(target_os = "linux")]

use shm2::consumer::Access;
use shm2::{AttachError, Consumer, FrameInfo, Producer, ReceiveError, Start, Violation, layout};
use shm2_testing::words::{CELL, HEADER, PAGE, Word, corrupt_one, read, write, wrong_values};
use shm2_testing::{Rng, TempRegion};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(10));
const SHORT: Option<Duration> = Some(Duration::from_millis(2));
const ACCESSES: [Access; 2] = [Access::Lease, Access::Snapshot];

fn open(name: &TempRegion) -> File {
    OpenOptions::new().read(true).write(true).open(name.path()).unwrap()
}

#[test]
fn a_violation_in_the_header_is_refused_by_name_or_harmless() {
    let mut rng = Rng::with_seed(11);
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().arena(200_000).history(5).create().unwrap();
    let file = open(&name);
    let mut refused = std::collections::BTreeSet::new();
    for &(word, at, bytes) in HEADER {
        // A region without these two looks like one that its producer has yet to complete, which is waited for.
        let limit = if matches!(word, "state" | "magic") { SHORT } else { LONG };
        let now = read(&file, at, bytes);
        for value in wrong_values(now, &mut rng) {
            write(&file, at, bytes, value);
            for access in ACCESSES {
                let builder = Consumer::builder(&name).unwrap().access(access).start(Start::Oldest);
                match builder.attach(limit) {
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

/// Takes a few frames; every error comes at once and is one that a violation may cause.
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
        // Without a magic number the memory looks like a prepared file.
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
fn a_violation_in_a_cell_is_an_error_that_names_it() {
    let mut rng = Rng::with_seed(12);
    for access in ACCESSES {
        let name = TempRegion::new();
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
                write(&file, place, bytes, wrong_values(now, &mut rng)[which]);
                match consumer.next(LONG) {
                    Ok(frame) => drop(std::hint::black_box(frame.to_vec())),
                    Err(ReceiveError::EndOfStream) => assert!(word == "kind"),
                    Err(ReceiveError::Misbehaving { violation, .. }) => {
                        named.insert((word, violation_name(&violation)));
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
        Violation::NotBacked { .. } => "not backed",
        Violation::Payload { .. } => "payload",
        Violation::Caps { .. } => "caps",
        Violation::Meta { .. } => "meta",
        Violation::Kind { .. } => "kind",
        Violation::Ring { .. } => "ring",
        _ => "another",
    }
}

#[test]
fn a_violation_in_a_consumer_page_costs_the_producer_only_frames() {
    let mut rng = Rng::with_seed(13);
    for policy in [shm2::FullPolicy::DropOldest, shm2::FullPolicy::DropNewest] {
        let name = TempRegion::new();
        let builder = Producer::builder(&name).unwrap().arena(200_000).max_leases(4).full_policy(policy);
        let mut producer = builder.create().unwrap();
        let _consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
        let file = open(&name);
        for page in [0, 1, 63] {
            for &(_, at, bytes) in PAGE {
                let place = layout::page_words_offset(page) + at;
                let now = read(&file, place, bytes);
                for value in wrong_values(now, &mut rng) {
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
fn a_new_generation_starts_over_any_content() {
    let mut rng = Rng::with_seed(14);
    let name = TempRegion::new();
    let builder = || Producer::builder(&name).unwrap().arena(200_000).keep_region(true);
    drop(builder().create().unwrap());
    let file = open(&name);
    for _ in 0..100 {
        for _ in 0..20 {
            corrupt(&file, &HEADER[2..], &mut rng);
        }
        let mut producer = builder().create().unwrap();
        let mut consumer = Consumer::builder(&name).unwrap().access(Access::Snapshot).attach(LONG).unwrap();
        for n in 0..20 {
            // The entries may claim that all memory is held.
            let _ = producer.send(&[n; 30_000], &FrameInfo::new());
            let stats = producer.handle().stats();
            assert_eq!(stats.free_bytes + stats.used_bytes, stats.arena_bytes);
        }
        look(&mut consumer);
        // No consumer owns a page, so nothing stays held.
        producer.consumers();
        producer.send(&[1; 100_000], &FrameInfo::new()).unwrap();
    }
}

#[test]
fn a_page_that_is_marked_as_one_without_a_lock_keeps_its_owner() {
    let name = TempRegion::new();
    let lease = Duration::from_millis(200);
    let mut producer = Producer::builder(&name).unwrap().lease_time(lease).create().unwrap();
    let mut consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(LONG).unwrap();
    let claimed = layout::page_words_offset(0) + std::mem::offset_of!(layout::Page, claimed) as u64;
    let mark = layout::READING | layout::BY_HEARTBEAT | 5 << 16;
    open(&name).write_all_at(&mark.to_le_bytes(), claimed).unwrap();
    for n in 0..20u8 {
        producer.send(&[n], &FrameInfo::new()).unwrap();
        assert_eq!(consumer.next(LONG).unwrap().to_vec(), [n]);
        std::thread::sleep(lease / 4);
    }
    assert_eq!(producer.consumers(), 1);
}

fn corrupt(file: &File, header: &[Word], rng: &mut Rng) {
    let sequence = rng.u64(..layout::CELLS);
    let page = rng.usize(..6);
    let (base, words) = match rng.u64(..10) {
        0..=2 => (0, header),
        3..=5 => (layout::cell_offset(sequence), CELL),
        _ => (layout::page_words_offset(page), PAGE),
    };
    corrupt_one(file, base, words, rng);
}
