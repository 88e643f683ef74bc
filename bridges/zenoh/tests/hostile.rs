//! A sender that breaks the format: each message is counted, reported once and dropped, and an honest one still arrives.

mod common;

use common::*;
use shm2::ReceiveError;
use shm2_testing::{Rng, TempRegion, seed, until};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use zenoh::Wait;

/// The header of docs/zenoh.md, for a frame of `size` bytes.
fn header(kind: u8, number: u64, stream: u32, size: u64, parts: [u32; 3]) -> Vec<u8> {
    let mut bytes = b"S2ZM\x01\x00".to_vec();
    bytes.extend([kind, 0]);
    let none = u64::MAX;
    let clocks = [shm2::monotonic_ns(), std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64];
    let words = [5, number, number, 0, none, none, none, none, none, none, none, 0, clocks[0], clocks[1], size];
    words.iter().for_each(|word: &u64| bytes.extend(word.to_le_bytes()));
    [0, stream, parts[0], parts[1], parts[2], 0].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

const NO_CAPS: u32 = u32::MAX;

const CAPS: &[u8] = b"video/x-raw, format=RGBA, width=4, height=4, framerate=30/1";

/// A program that speaks zenoh and keeps to nothing else.
fn session(router: &Router) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("connect/endpoints", format!("[{:?}]", router.endpoint)),
        ("listen/endpoints", "[\"tcp/127.0.0.1:0\"]".into()),
        ("scouting/multicast/enabled", "false".into()),
    ] {
        config.insert_json5(key, &value).unwrap();
    }
    zenoh::open(config).wait().unwrap()
}

#[test]
fn malformed_messages_are_counted_and_honest_ones_arrive() {
    let (router, local) = (Router::start(), TempRegion::new());
    let session = session(&router);
    let key = "shm2/evil/camera";
    // It says that its arena has an exbibyte.
    let description = header(3, 0, 0, 1 << 60, [NO_CAPS, 0, 0]);
    let answer = move |query: zenoh::query::Query| {
        drop(query.reply(key, Vec::new()).attachment(description.clone()).wait());
    };
    let _queryable = session.declare_queryable(key).callback(answer).wait().unwrap();
    let _token = session.liveliness().declare_token(key).wait().unwrap();
    let arguments = ["open", "evil/camera", "--as", &local, "--always", "--size-limit", "16M", "--lossless"];
    let open = router.bridge(&arguments);
    open.says("receiving");
    let mut consumer = consumer(&local);
    let (length, mut number) = (CAPS.len() as u32, 0);
    let put = |payload: Vec<u8>, attachment: Vec<u8>| {
        session
            .put(key, payload)
            .attachment(attachment)
            .congestion_control(zenoh::qos::CongestionControl::Block)
            .wait()
            .unwrap();
    };
    let honest = |number: u64| [header(0, number, 1, 64, [length, 0, 0]), CAPS.to_vec()].concat();
    until("an honest frame arrives", || {
        number += 1;
        put(vec![3; 64], honest(number));
        matches!(consumer.next(Some(Duration::from_millis(50))), Ok(frame) if frame.len() == 64)
    });
    let frame = |size: u64, parts: [u32; 3]| header(0, 1 << 40, 1, size, parts);
    let bad = [
        Vec::new(),
        b"S2ZM".to_vec(),
        [b"MZ2S", &honest(1)[4..]].concat(),
        [b"S2ZM\x09", &honest(1)[5..]].concat(),
        [b"S2ZM\x01\x00\x07", &honest(1)[7..]].concat(),
        frame(65, [NO_CAPS, 0, 0]),
        frame(64, [1 << 20, 0, 0]),
        frame(64, [NO_CAPS, u32::MAX, u32::MAX]),
        frame(64, [NO_CAPS, 0, 9]),
        [frame(64, [3, 0, 0]), vec![0xff, 0xfe, 0]].concat(),
        header(0, u64::MAX, 1, 64, [NO_CAPS, 0, 0]),
        header(0, 0, 1, 64, [NO_CAPS, 0, 0]),
    ];
    bad.iter().for_each(|attachment| put(vec![0; 64], attachment.clone()));
    // A picture that is shorter than its caps say.
    number += 1;
    put(vec![0; 63], header(0, number, 1, 63, [NO_CAPS, 0, 0]));
    // Larger than what is accepted.
    put(vec![0; 17 << 20], header(0, number, 1, 17 << 20, [NO_CAPS, 0, 0]));
    let mut rng = Rng::with_seed(seed());
    for _ in 0..2000 {
        number += 1;
        let mut attachment = honest(number);
        for _ in 0..rng.usize(1..8) {
            let at = rng.usize(..attachment.len());
            // Not the numbers of the sender, which decide whom the bridge follows.
            if !(8..40).contains(&at) {
                attachment[at] = rng.u8(..);
            }
        }
        if rng.bool() {
            attachment.truncate(rng.usize(..=attachment.len()));
        }
        put(vec![0; rng.usize(60..65)], attachment);
    }
    until("an honest frame arrives after all that", || {
        number += 1;
        put(vec![4; 64], honest(number));
        match consumer.next(Some(Duration::from_millis(50))) {
            Ok(frame) => frame.to_vec() == [4; 64],
            Err(ReceiveError::TimedOut | ReceiveError::EndOfStream) => false,
            Err(error) => panic!("{error}"),
        }
    });
    assert!(shm2::Overview::of(&local).unwrap().bytes < 32 << 20, "the limit holds against what the source says");
    let text = open.stop();
    println!("{text}");
    for once in
        ["too few for a header", "does not begin with S2ZM", "has version 9", "are accepted: raise", "its kind 7"]
    {
        assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
    }
    assert!(text.contains("malformed") && !text.contains("panicked"), "{text}");
}

/// A still picture may have been published long ago: that says nothing of the clocks.
#[test]
fn an_old_frame_keeps_its_time() {
    let (router, local) = (Router::start(), TempRegion::new());
    let session = session(&router);
    let key = "shm2/still/camera";
    let answer = move |query: zenoh::query::Query| {
        drop(query.reply(key, Vec::new()).attachment(header(3, 0, 0, 4 << 20, [NO_CAPS, 0, 0])).wait());
    };
    let _queryable = session.declare_queryable(key).callback(answer).wait().unwrap();
    let _token = session.liveliness().declare_token(key).wait().unwrap();
    let open = router.bridge(&["open", "still/camera", "--as", &local, "--always"]);
    open.says("receiving");
    let time = shm2::monotonic_ns().saturating_sub(100_000_000_000);
    let (mut consumer, mut number, mut found) = (consumer(&local), 0, None);
    until("the frame arrives", || {
        number += 1;
        let mut attachment = [header(0, number, 1, 64, [CAPS.len() as u32, 0, 0]), CAPS.to_vec()].concat();
        // Its time and that of its publication.
        [64, 72].iter().for_each(|at| attachment[*at..at + 8].copy_from_slice(&time.to_le_bytes()));
        session.put(key, vec![3; 64]).attachment(attachment).wait().unwrap();
        found = consumer.next(Some(Duration::from_millis(50))).ok().and_then(|frame| frame.info().time);
        found.is_some()
    });
    // Both clocks are this machine's.
    assert!(found.is_some_and(|found| found.abs_diff(time) < 2_000_000), "{found:?}, not {time}");
    let text = open.stop();
    assert!(!text.contains("the clocks of this host"), "{text}");
}

/// Another bridge of the same name answers, too, or an answer comes late: it does not describe what the followed one sends.
#[test]
fn a_description_of_another_sender_or_of_before_is_not_taken() {
    let (router, local) = (Router::start(), TempRegion::new());
    let session = session(&router);
    let key = "shm2/evil/camera";
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = asked.clone();
    let answer = move |query: zenoh::query::Query| {
        let other = b"video/x-raw, format=RGBA, width=8, height=8, framerate=30/1";
        let description = [header(3, 0, 1, 4 << 20, [other.len() as u32, 0, 0]), other.to_vec()].concat();
        // Of a sender that began earlier; then of the same one, but older.
        let is_other = count.fetch_add(1, Relaxed).is_multiple_of(2);
        let attachment = [&description[..8], &[if is_other { 4 } else { 5 }], &description[9..]].concat();
        drop(query.reply(key, Vec::new()).attachment(attachment).wait());
    };
    let _queryable = session.declare_queryable(key).callback(answer).wait().unwrap();
    let _token = session.liveliness().declare_token(key).wait().unwrap();
    let open = router.bridge(&["open", "evil/camera", "--as", &local, "--always"]);
    open.says("receiving");
    let mut consumer = consumer(&local);
    let mut number = 0;
    let mut arrives = |number: u64, attachment: Vec<u8>| {
        session.put(key, vec![3; 64]).attachment(attachment).wait().unwrap();
        let Ok(frame) = consumer.next(Some(Duration::from_millis(50))) else { return false };
        assert_eq!(frame.caps().map(|(_, caps)| caps), Some(CAPS), "{number}");
        drop(frame);
        consumer.request_keyframe();
        true
    };
    let described = |number| [header(0, number, 2, 64, [CAPS.len() as u32, 0, 0]), CAPS.to_vec()].concat();
    until("the first frame arrives", || {
        number += 1;
        arrives(number, described(number))
    });
    let (from, mut arrived) = (asked.load(Relaxed), 0);
    until("frames arrive after six wrong answers", || {
        number += 1;
        arrived += u64::from(arrives(number, header(0, number, 2, 64, [NO_CAPS, 0, 0])));
        arrived > 0 && asked.load(Relaxed) > from + 6
    });
    until("one more arrives", || {
        number += 1;
        arrives(number, header(0, number, 2, 64, [NO_CAPS, 0, 0]))
    });
    open.stop();
}
