//! Many regions on one thread.

#[cfg(target_os = "linux")]
use shm2::ReceiveError;
use shm2::consumer::Builder;
use shm2::{Consumer, FrameInfo, Producer, Start, WaitSet};
use shm2_testing::{TempRegion, until};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Longest wait for what must come.
const LIMIT: Option<Duration> = Some(Duration::from_secs(20));
/// Wait for what must not come.
const SOON: Option<Duration> = Some(Duration::from_millis(50));

fn regions(count: usize) -> Vec<TempRegion> {
    (0..count).map(|_| TempRegion::new()).collect()
}

fn from_start(name: &TempRegion) -> Builder {
    Consumer::builder(&name.uri()).unwrap().start(Start::Oldest)
}

fn small(name: &TempRegion) -> Producer {
    Producer::builder(&name.uri()).unwrap().arena(65_536).create().unwrap()
}

#[test]
fn frames_of_more_regions_than_one_call_waits_for_arrive_each_once_and_in_order() {
    // A region of Windows has some hundred kernel objects, and no call waits for words there.
    const REGIONS: usize = if cfg!(windows) { 20 } else { 300 };
    const FRAMES: u64 = 5;
    let names = regions(REGIONS);
    let mut set = WaitSet::new();
    let tokens: Vec<_> = names.iter().map(|name| set.add(from_start(name).build()).unwrap()).collect();
    let sending = std::thread::spawn(move || {
        let mut producers: Vec<_> = names.iter().map(small).collect();
        for number in 0..FRAMES {
            for producer in &mut producers {
                producer.send(&number.to_le_bytes(), &FrameInfo::new().with_pts(number)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        (names, producers)
    });
    let mut next: HashMap<_, _> = tokens.iter().map(|token| (*token, 0)).collect();
    for _ in 0..REGIONS as u64 * FRAMES {
        let ready = set.next(LIMIT).expect("in time");
        let expected = next.get_mut(&ready.token).expect("a token of the set");
        assert_eq!(ready.frame.unwrap().info().pts, Some(*expected));
        *expected += 1;
    }
    let _regions = sending.join().unwrap();
    assert!(next.values().all(|next| *next == FRAMES));
    assert!(set.next(SOON).is_none());
}

#[test]
fn a_region_with_many_frames_does_not_keep_the_others_back() {
    let names = regions(2);
    let (mut busy, mut calm) = (small(&names[0]), small(&names[1]));
    let mut set = WaitSet::new();
    let busy_token = set.add(from_start(&names[0]).build()).unwrap();
    let calm_token = set.add(from_start(&names[1]).build()).unwrap();
    for _ in 0..100 {
        busy.send(b"busy", &FrameInfo::new()).unwrap();
    }
    calm.send(b"calm", &FrameInfo::new()).unwrap();
    let first: Vec<_> = (0..3).map(|_| set.next(LIMIT).expect("in time").token).collect();
    assert!(first.contains(&busy_token) && first.contains(&calm_token), "{first:?}");
}

#[test]
fn a_consumer_is_added_and_removed_while_the_thread_waits() {
    let names = regions(2);
    let mut producer = small(&names[0]);
    let mut set = WaitSet::new();
    set.add(Consumer::new(&names[1].uri()).unwrap()).unwrap();
    let handle = set.handle();
    let waiting = std::thread::spawn(move || {
        let ready = set.next(LIMIT).expect("in time");
        // Until the handle wakes it, with the consumer gone.
        while set.next(LIMIT).is_some() {}
        (ready.token, set.len(), set)
    });
    let token = handle.add(from_start(&names[0]).build()).unwrap();
    producer.send(b"added", &FrameInfo::new()).unwrap();
    until("the frame is read", || producer.handle().stats().ready == 0 || producer.handle().consumers() == 1);
    handle.remove(token);
    until("the consumer is gone", || producer.handle().consumers() == 0);
    producer.send(b"for nobody", &FrameInfo::new()).unwrap();
    handle.wake();
    let (first, left, _set) = waiting.join().unwrap();
    assert_eq!((first, left), (token, 1));
}

#[test]
fn a_wake_that_came_before_the_wait_ends_it() {
    let mut set = WaitSet::new();
    set.handle().wake();
    assert!(set.next(None).is_none());
    let begun = Instant::now();
    assert!(set.next(SOON).is_none());
    assert!(begun.elapsed() >= SOON.unwrap());
}

#[test]
fn a_producer_that_starts_later_and_one_that_restarts_are_followed() {
    let names = regions(3);
    let mut set = WaitSet::new();
    let tokens: Vec<_> = names.iter().map(|name| set.add(from_start(name).build()).unwrap()).collect();
    assert!(set.next(SOON).is_none());
    for round in 0..3u64 {
        let producers: Vec<_> = names
            .iter()
            .map(|name| {
                let mut producer = small(name);
                producer.send(b"frame", &FrameInfo::new().with_pts(round)).unwrap();
                producer
            })
            .collect();
        let mut seen: Vec<_> = names
            .iter()
            .map(|_| {
                let ready = set.next(LIMIT).expect("in time");
                assert_eq!(ready.frame.unwrap().info().pts, Some(round));
                ready.token
            })
            .collect();
        seen.sort();
        assert_eq!(seen, tokens);
        drop(producers);
    }
}

// Elsewhere a region is no file.
#[cfg(target_os = "linux")]
#[test]
fn errors_and_ends_of_stream_come_with_their_token_and_leave_the_others_alone() {
    let names = regions(3);
    std::fs::write(names[0].path(), vec![7; 10 << 20]).unwrap();
    let mut ending = small(&names[1]);
    let mut going = small(&names[2]);
    let mut set = WaitSet::new();
    let tokens: Vec<_> = names.iter().map(|name| set.add(from_start(name).build()).unwrap()).collect();
    ending.end_of_stream().unwrap();
    going.send(b"frame", &FrameInfo::new()).unwrap();
    let mut seen = HashMap::new();
    while seen.len() < 3 {
        let ready = set.next(LIMIT).expect("in time");
        seen.insert(ready.token, ready.frame);
    }
    assert!(matches!(seen[&tokens[0]], Err(ReceiveError::Attach(_))), "{seen:?}");
    assert!(matches!(seen[&tokens[1]], Err(ReceiveError::EndOfStream)), "{seen:?}");
    assert_eq!(seen[&tokens[2]].as_ref().unwrap().to_vec(), b"frame");
    // The bad one is asked again, but not without a pause.
    let again = set.next(LIMIT).expect("in time");
    assert_eq!(again.token, tokens[0]);
    assert!(set.remove(tokens[0]).is_some() && set.remove(tokens[0]).is_none());
    ending.send(b"after the end", &FrameInfo::new()).unwrap();
    let ready = set.next(LIMIT).expect("in time");
    assert_eq!((ready.token, ready.frame.unwrap().to_vec().as_slice()), (tokens[1], &b"after the end"[..]));
}

#[test]
fn a_removed_consumer_waits_by_itself_again() {
    let names = regions(1);
    let mut producer = small(&names[0]);
    let mut set = WaitSet::new();
    let token = set.add(from_start(&names[0]).build()).unwrap();
    assert!(set.next(SOON).is_none());
    let mut consumer = set.remove(token).unwrap();
    producer.send(b"frame", &FrameInfo::new()).unwrap();
    assert_eq!(consumer.next(LIMIT).unwrap().to_vec(), b"frame");
    let mut other = WaitSet::new();
    other.add(consumer).unwrap();
    producer.send(b"in another set", &FrameInfo::new()).unwrap();
    assert_eq!(other.next(LIMIT).unwrap().frame.unwrap().to_vec(), b"in another set");
}

#[test]
fn frames_of_one_instant_are_matched_between_regions_of_other_rates() {
    let names = regions(3);
    let mut producers: Vec<_> = names.iter().map(small).collect();
    let mut set = WaitSet::new();
    for name in &names {
        set.add(from_start(name).build()).unwrap();
    }
    // 50, 25 and 10 frames a second from a common start, the second 3 ms late.
    let ms = 1_000_000;
    for (producer, (step, late, count)) in producers.iter_mut().zip([(20, 0, 50), (40, 3, 25), (100, 0, 10)]) {
        for number in 0..count {
            let mut info = FrameInfo::new();
            info.time = Some((1_000 + number * step + late) * ms);
            producer.send(b"frame", &info).unwrap();
        }
    }
    let mut instants = Vec::new();
    while let Ok(frames) = set.wait_for_all(Duration::from_millis(5), SOON) {
        let times: Vec<_> = frames.iter().map(|(_, frame)| frame.info().time.unwrap() / ms).collect();
        assert!(times.iter().max().unwrap() - times.iter().min().unwrap() <= 5, "{times:?}");
        instants.push(times[2]);
    }
    assert_eq!(instants, [1000, 1200, 1400, 1600, 1800]);
}

#[test]
fn a_frame_of_another_clock_does_not_make_the_others_too_old() {
    let names = regions(2);
    let mut producers: Vec<_> = names.iter().map(small).collect();
    let mut set = WaitSet::default();
    for name in &names {
        set.add(from_start(name).build()).unwrap();
    }
    let mut wrong = FrameInfo::new();
    wrong.time = Some(u64::MAX / 2);
    producers[1].send(b"wrong", &wrong).unwrap();
    producers[0].send(b"left", &FrameInfo::new()).unwrap();
    let frames = set.wait_for_all(Duration::from_secs(60), LIMIT).unwrap();
    let texts: Vec<_> = frames.iter().map(|(_, frame)| frame.to_vec()).collect();
    assert_eq!(texts, [&b"left"[..], b"wrong"]);
}

#[test]
fn a_match_ends_in_time_and_when_it_is_woken_also_among_many_frames() {
    let names = regions(2);
    let mut producers: Vec<_> = names.iter().map(small).collect();
    let mut set = WaitSet::new();
    let first = set.add(from_start(&names[0]).build()).unwrap();
    set.add(from_start(&names[1]).build()).unwrap();
    let at = |time: u64| {
        let mut info = FrameInfo::new();
        info.time = Some(time);
        info
    };
    producers[1].send(b"late", &at(5_000)).unwrap();
    for time in 0..1000 {
        producers[0].send(b"too old", &at(time)).unwrap();
    }
    assert!(matches!(
        set.wait_for_all(Duration::ZERO, Some(Duration::ZERO)),
        Err(shm2::wait_set::MatchError::TimedOut)
    ));
    set.handle().wake();
    assert!(set.wait_for_all(Duration::ZERO, LIMIT).is_err());
    let received = set.get(first).unwrap().stats().received;
    assert!(received < 1000, "{received}");
    // Without the region that has no frame of that time, the other one's is enough.
    assert!(set.remove(first).is_some());
    assert_eq!(set.wait_for_all(Duration::ZERO, LIMIT).unwrap()[0].1.to_vec(), b"late");
}

#[test]
fn a_consumer_that_a_handle_adds_while_the_set_is_busy_is_not_forgotten() {
    const ADDED: usize = if cfg!(windows) { 100 } else { 5000 };
    let names = regions(2);
    let (mut busy, mut added) = (small(&names[0]), small(&names[1]));
    added.send(b"frame", &FrameInfo::new()).unwrap();
    let mut set = WaitSet::new();
    let busy_token = set.add(from_start(&names[0]).build()).unwrap();
    let handle = set.handle();
    // A few at a time: 64 consumers can lease.
    let (room, taken) = std::sync::mpsc::sync_channel(16);
    let adding = std::thread::spawn(move || {
        for _ in 0..ADDED {
            room.send(()).unwrap();
            handle.add(from_start(&names[1]).build()).unwrap();
        }
        names
    });
    let mut seen = std::collections::HashSet::new();
    let begun = Instant::now();
    while seen.len() < ADDED {
        assert!(begun.elapsed() < 3 * LIMIT.unwrap(), "{} of {ADDED}", seen.len());
        busy.send(b"busy", &FrameInfo::new()).unwrap();
        let Some(ready) = set.next(SOON).filter(|ready| ready.token != busy_token) else { continue };
        ready.frame.unwrap();
        assert!(seen.insert(ready.token) && set.remove(ready.token).is_some());
        taken.recv().unwrap();
    }
    let _names = adding.join().unwrap();
}

#[test]
fn a_handle_of_a_set_that_is_gone_and_a_descriptor_of_a_member_are_errors() {
    let names = regions(1);
    let mut set = WaitSet::new();
    let token = set.add(Consumer::new(&names[0].uri()).unwrap()).unwrap();
    #[cfg(target_os = "linux")]
    {
        let error = set.get_mut(token).unwrap().poll_fd().unwrap_err();
        assert_eq!(error.to_string(), "a set or a task waits for this consumer: take it out to get a descriptor");
    }
    let handle = set.handle();
    assert!(set.remove(token).is_some());
    drop(set);
    let error = handle.add(Consumer::new(&names[0].uri()).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the set of this handle is gone");
    handle.remove(token);
    handle.wake();
}

#[test]
fn the_types_may_be_sent_between_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<WaitSet>();
    send::<Consumer>();
    send::<Producer>();
    send::<shm2::Reservation>();
    send::<shm2::wait_set::Ready>();
    send::<shm2::Frame>();
    sync::<shm2::Frame>();
    send::<shm2::wait_set::Handle>();
    sync::<shm2::wait_set::Handle>();
    sync::<shm2::producer::Handle>();
    sync::<shm2::consumer::Canceller>();
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_call_that_waits_for_many_words_the_same_holds() {
    // These tests again, in a process in which the call fails, as in many containers.
    let same = ["frames_of_more_regions", "a_producer_that_starts_later", "a_wake_that_came_before"];
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(same).args(["--test-threads", "1"]).stdout(std::process::Stdio::piped());
    shm2_testing::deny(&mut again, &[shm2_testing::Deny::all(libc::SYS_futex_waitv, libc::ENOSYS)]);
    let output = shm2_testing::ChildGuard::spawn(&mut again).unwrap().output();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("3 passed"), "{text}");
}
