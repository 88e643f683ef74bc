//! Consumers and producers in a program with an executor.

use shm2::consumer::Builder;
use shm2::{AsyncConsumer, AsyncProducer, Consumer, FrameInfo, FullPolicy, Producer, ReceiveError, SendError, Start};
use shm2_testing::TempRegion;
use std::time::Duration;
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};

/// Longest wait for what must come.
const LIMIT: Duration = Duration::from_secs(20);
/// Wait for what must not come.
const SOON: Duration = Duration::from_millis(50);

fn from_start(region: &TempRegion) -> Builder {
    Consumer::builder(&region.uri()).unwrap().start(Start::Oldest)
}

fn awaiting(region: &TempRegion) -> AsyncConsumer {
    AsyncConsumer::new(from_start(region).build()).unwrap()
}

fn small(region: &TempRegion) -> Producer {
    Producer::builder(&region.uri()).unwrap().arena(65_536).create().unwrap()
}

/// A producer whose arena holds one frame of [`LARGE`].
fn blocking(region: &TempRegion, timeout: Option<Duration>) -> AsyncProducer {
    let builder = Producer::builder(&region.uri()).unwrap().arena(65_536);
    AsyncProducer::new(builder.full_policy(FullPolicy::Block { timeout }).create().unwrap()).unwrap()
}

static LARGE: [u8; 40_000] = [7; 40_000];

#[tokio::test]
async fn a_frame_and_a_producer_that_come_later_are_awaited() {
    let region = TempRegion::new();
    let mut consumer = awaiting(&region);
    for round in 0..3 {
        assert!(timeout(SOON, consumer.next()).await.is_err(), "nothing is there");
        let mut producer = small(&region);
        producer.send(b"frame", &FrameInfo::new().with_pts(round)).unwrap();
        let frame = timeout(LIMIT, consumer.next()).await.expect("in time").unwrap();
        assert_eq!(frame.info().pts, Some(round));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_get_each_frame_once_and_in_order() {
    const FRAMES: u64 = 200;
    let regions: Vec<_> = (0..20).map(|_| TempRegion::new()).collect();
    let tasks: Vec<_> = regions
        .iter()
        .map(|region| {
            let mut consumer = awaiting(region);
            tokio::spawn(async move {
                for expected in 0..FRAMES {
                    let frame = timeout(LIMIT, consumer.next()).await.expect("in time").unwrap();
                    assert_eq!(frame.info().pts, Some(expected));
                }
            })
        })
        .collect();
    let mut producers: Vec<_> = regions.iter().map(small).collect();
    for pts in 0..FRAMES {
        for producer in &mut producers {
            producer.send(b"frame", &FrameInfo::new().with_pts(pts)).unwrap();
        }
        if pts % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn no_frame_is_lost_when_a_future_is_dropped() {
    let region = TempRegion::new();
    let mut producer = small(&region);
    let mut consumer = awaiting(&region);
    for round in 0..50 {
        let nothing = timeout(Duration::from_micros(200), consumer.next()).await;
        assert!(nothing.is_err(), "{round}");
        producer.send(b"frame", &FrameInfo::new().with_pts(round)).unwrap();
        let frame = timeout(LIMIT, consumer.next()).await.expect("in time").unwrap();
        assert_eq!((frame.info().pts, frame.missed()), (Some(round), 0));
    }
}

#[tokio::test]
async fn the_stream_ends_with_the_producers_stream_and_continues_after_it() {
    let region = TempRegion::new();
    let mut producer = small(&region);
    let mut consumer = awaiting(&region);
    producer.send(b"last", &FrameInfo::new()).unwrap();
    producer.end_of_stream().unwrap();
    producer.send(b"after", &FrameInfo::new()).unwrap();
    let mut texts = Vec::new();
    while let Some(frame) = timeout(LIMIT, StreamExt::next(&mut consumer)).await.expect("in time") {
        texts.push(frame.unwrap().to_vec());
    }
    assert_eq!(texts, [b"last"]);
    let frame = timeout(LIMIT, StreamExt::next(&mut consumer)).await.expect("in time").expect("a frame").unwrap();
    assert_eq!(frame.to_vec(), b"after");
}

// Elsewhere a region is no file.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_error_is_returned_and_the_region_is_tried_again() {
    let region = TempRegion::new();
    std::fs::write(region.path(), vec![7; 10 << 20]).unwrap();
    let mut consumer = awaiting(&region);
    assert!(matches!(timeout(LIMIT, consumer.next()).await.expect("in time"), Err(ReceiveError::Attach(_))));
    std::fs::remove_file(region.path()).unwrap();
    let mut producer = small(&region);
    producer.send(b"frame", &FrameInfo::new()).unwrap();
    let frame = timeout(LIMIT, consumer.next()).await.expect("in time").unwrap();
    assert_eq!(frame.to_vec(), b"frame");
    let mut alone = consumer.into_inner();
    producer.send(b"next", &FrameInfo::new()).unwrap();
    assert_eq!(alone.next(Some(LIMIT)).unwrap().to_vec(), b"next");
}

#[tokio::test]
async fn a_blocked_producer_is_awaited_and_other_tasks_run_meanwhile() {
    let region = TempRegion::new();
    let mut producer = blocking(&region, None);
    let mut consumer = from_start(&region).attach(Some(LIMIT)).unwrap();
    let sending = tokio::spawn(async move {
        for pts in 0..20 {
            producer.send(&LARGE, &FrameInfo::new().with_pts(pts)).await.unwrap();
        }
        producer
    });
    for pts in 0..20 {
        // On the same thread: it would wait for ever if the producer blocked it.
        let frame = loop {
            match consumer.try_next().unwrap() {
                Some(frame) => break frame,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        assert_eq!((frame.info().pts, frame.missed()), (Some(pts), 0));
    }
    timeout(LIMIT, sending).await.expect("in time").unwrap();
}

#[tokio::test]
async fn a_send_that_is_dropped_publishes_nothing_and_frees_its_memory() {
    let region = TempRegion::new();
    let mut producer = blocking(&region, None);
    let mut consumer = from_start(&region).attach(Some(LIMIT)).unwrap();
    producer.send(&LARGE, &FrameInfo::new().with_pts(1)).await.unwrap();
    assert!(timeout(SOON, producer.send(&LARGE, &FrameInfo::new().with_pts(2))).await.is_err());
    assert_eq!(consumer.next(Some(LIMIT)).unwrap().info().pts, Some(1));
    timeout(LIMIT, producer.send(&LARGE, &FrameInfo::new().with_pts(3))).await.expect("in time").unwrap();
    assert_eq!(consumer.next(Some(LIMIT)).unwrap().info().pts, Some(3));
    assert_eq!(producer.handle().stats().dropped_newest, 0);
}

#[tokio::test]
async fn the_time_limit_of_the_policy_a_cancellation_and_an_empty_audience_end_a_wait() {
    let region = TempRegion::new();
    let mut producer = blocking(&region, Some(SOON));
    let consumer = from_start(&region).attach(Some(LIMIT)).unwrap();
    producer.send(&LARGE, &FrameInfo::new()).await.unwrap();
    let late = timeout(LIMIT, producer.send(&LARGE, &FrameInfo::new())).await.expect("in time");
    assert!(matches!(late, Err(SendError::TimedOut { bytes: 40_000 })), "{late:?}");
    producer.handle().set_cancelled(true);
    let cancelled = timeout(LIMIT, producer.reserve(LARGE.len())).await.expect("in time");
    assert!(matches!(cancelled, Err(SendError::Cancelled)), "{cancelled:?}");
    producer.handle().set_cancelled(false);
    assert_eq!(producer.handle().stats().dropped_newest, 1);
    drop(consumer);
    timeout(LIMIT, producer.send(&LARGE, &FrameInfo::new())).await.expect("in time").unwrap();
}

#[tokio::test]
async fn a_full_ring_is_awaited_too() {
    let region = TempRegion::new();
    let mut producer = blocking(&region, None);
    let mut consumer = from_start(&region).attach(Some(LIMIT)).unwrap();
    while timeout(SOON, producer.send(b"x", &FrameInfo::new())).await.is_ok() {}
    let before = producer.handle().stats().published;
    consumer.next(Some(LIMIT)).unwrap();
    timeout(LIMIT, producer.send(b"y", &FrameInfo::new())).await.expect("in time").unwrap();
    assert_eq!(producer.handle().stats().published, before + 1);
}

#[test]
fn a_waker_that_panics_does_not_stop_the_other_tasks() {
    use std::task::{Context, Poll, Wake, Waker};
    struct Panics;
    impl Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("the waker of this test panics");
        }
    }
    let regions = [TempRegion::new(), TempRegion::new()];
    let (mut first, mut other) = (small(&regions[0]), small(&regions[1]));
    let mut consumers: Vec<_> = regions.iter().map(awaiting).collect();
    let waker = Waker::from(std::sync::Arc::new(Panics));
    let mut context = Context::from_waker(&waker);
    // Looks at the new attachment use the waker up, on each thread that notifies; the frame then finds one again.
    for _ in 0..20 {
        assert!(matches!(consumers[0].poll_frame(&mut context), Poll::Pending));
        std::thread::sleep(SOON / 4);
    }
    first.send(b"frame", &FrameInfo::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for round in 0..3 {
            // By a thread: what this task does itself would poll the consumer as well.
            let sending = std::thread::spawn(move || {
                std::thread::sleep(SOON);
                other.send(b"frame", &FrameInfo::new().with_pts(round)).unwrap();
                other
            });
            let begun = std::time::Instant::now();
            let frame = timeout(LIMIT, consumers[1].next()).await.expect("in time").unwrap();
            assert_eq!(frame.info().pts, Some(round));
            // At the end of the limit the consumer is polled once more.
            assert!(begun.elapsed() < LIMIT / 2, "it was not woken");
            other = sending.join().unwrap();
        }
    });
}

#[test]
fn futures_and_types_may_be_sent_between_threads() {
    fn send<T: Send>(_: &T) {}
    fn stream<T: Stream<Item = Result<shm2::Frame, ReceiveError>> + Send + Unpin>(_: &T) {}
    let region = TempRegion::new();
    let mut producer = blocking(&region, None);
    let mut consumer = awaiting(&region);
    stream(&consumer);
    send(&consumer.next());
    send(&producer.send(b"x", &FrameInfo::new()));
    send(&producer);
}
