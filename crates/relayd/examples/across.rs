//! A stream from one region to another across a network, and the age of its pictures at the end. Each picture carries its
//! time of creation as black and white columns, which survive any codec.
//!
//! ```text
//! across source REGION             pictures with their time, 320x240 at 30/s
//! across run PIPELINE              a pipeline; shm2sink and shm2src are built in
//! across measure REGION SECONDS    ages of the pictures, by the clock of this kernel
//! across vsock CID PORT SECONDS    a connection that is held for so long
//! across lossy FROM TO PERCENT MS  UDP from one address to another and back, with loss and delay both ways
//! ```

use gst::prelude::*;
use gst_app::{AppSink, AppSrc};
use hdrhistogram::Histogram;
use shm2_testing::Rng;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const CAPS: &str = "video/x-raw,format=I420,width=320,height=240,framerate=30/1";
const WIDTH: usize = 320;
const HEIGHT: usize = 240;
const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// Columns, one for each bit of the time in milliseconds.
const BITS: usize = 32;

fn main() {
    gst::init().unwrap();
    gstshm2::plugin_register_static().unwrap();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        ["source", region] => source(region),
        ["run", pipeline] => run(pipeline),
        ["measure", region, seconds] => measure(region, seconds.parse().unwrap()),
        ["vsock", cid, port, seconds] => hold(cid.parse().unwrap(), port.parse().unwrap(), seconds.parse().unwrap()),
        ["lossy", from, to, percent, ms] => lossy(from, to, percent.parse().unwrap(), ms.parse().unwrap()),
        _ => panic!("source REGION, run PIPELINE, or measure REGION SECONDS"),
    }
}

fn now() -> u32 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000) as u32
}

fn playing(text: &str) -> gst::Pipeline {
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline
}

fn run(text: &str) {
    let pipeline = playing(text);
    let message = pipeline.bus().unwrap().timed_pop_filtered(None, &[gst::MessageType::Eos, gst::MessageType::Error]);
    println!("{message:?}");
}

fn source(region: &str) {
    let text =
        format!("appsrc name=src is-live=true format=time do-timestamp=true caps={CAPS} ! shm2sink shm-path={region}");
    let pipeline = playing(&text);
    let src = pipeline.by_name("src").unwrap().downcast::<AppSrc>().unwrap();
    let mut next = Instant::now();
    loop {
        let mut picture = vec![128; WIDTH * HEIGHT * 3 / 2];
        let time = now();
        for (at, luma) in picture[..WIDTH * HEIGHT].iter_mut().enumerate() {
            let bit = at % WIDTH * BITS / WIDTH;
            *luma = if time >> bit & 1 == 1 { 235 } else { 16 };
        }
        src.push_buffer(gst::Buffer::from_mut_slice(picture)).unwrap();
        next += PERIOD;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn hold(cid: u32, port: u32, seconds: u64) {
    let _connection = vsock::VsockStream::connect_with_cid_port(cid, port).unwrap();
    std::thread::sleep(Duration::from_secs(seconds));
}

/// For kernels without a network emulator.
fn lossy(from: &str, to: &str, percent: u64, ms: u64) {
    let near = Arc::new(UdpSocket::bind(from).unwrap());
    let far = Arc::new(UdpSocket::bind("0.0.0.0:0").unwrap());
    let to: SocketAddr = to.parse().unwrap();
    // Answers go to the last sender.
    let client = Arc::new(Mutex::new(None));
    let (delay, back) = (Duration::from_millis(ms), client.clone());
    let (a, b) = (near.clone(), far.clone());
    let there = move || {
        pass(&a, &b, percent, delay, move |sender| {
            *client.lock().unwrap() = Some(sender);
            Some(to)
        })
    };
    let there = std::thread::spawn(there);
    pass(&far, &near, percent, delay, move |_| *back.lock().unwrap());
    there.join().unwrap();
}

fn pass(
    from: &UdpSocket,
    to: &UdpSocket,
    percent: u64,
    delay: Duration,
    target: impl Fn(SocketAddr) -> Option<SocketAddr>,
) {
    let (sender, receiver) = mpsc::channel::<(Instant, SocketAddr, Vec<u8>)>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (time, target, bytes) in receiver {
                std::thread::sleep(time.saturating_duration_since(Instant::now()));
                // Without a receiver the packet is lost.
                let _ = to.send_to(&bytes, target);
            }
        });
        let (mut rng, mut bytes) = (Rng::with_seed(percent), vec![0; 65_536]);
        loop {
            // A reported error of an earlier packet: there was no receiver.
            let Ok((count, source)) = from.recv_from(&mut bytes) else { continue };
            if let Some(target) = target(source).filter(|_| rng.u64(..100) >= percent) {
                sender.send((Instant::now() + delay, target, bytes[..count].to_vec())).unwrap();
            }
        }
    });
}

fn time_in(picture: &[u8]) -> Option<u32> {
    let middle = |bit: usize| picture[WIDTH * HEIGHT / 2 + (2 * bit + 1) * WIDTH / BITS / 2];
    // Grey is neither bit: the picture is damaged.
    let is_clear = (0..BITS).all(|bit| !(70..180).contains(&middle(bit)));
    is_clear.then(|| (0..BITS).fold(0, |time, bit| time | u32::from(middle(bit) > 125) << bit))
}

fn measure(region: &str, seconds: u64) {
    let pipeline =
        playing(&format!("shm2src shm-path={region} ! videoconvert ! {CAPS} ! appsink name=sink sync=false"));
    let sink = pipeline.by_name("sink").unwrap().downcast::<AppSink>().unwrap();
    let limit = gst::ClockTime::from_seconds(20);
    // The first pictures have waited for a keyframe.
    for _ in 0..15 {
        sink.try_pull_sample(limit).expect("pictures");
    }
    let mut ages = Histogram::<u64>::new_with_bounds(1, 10_000, 3).unwrap();
    let (begun, mut damaged) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let sample = sink.try_pull_sample(limit).expect("pictures");
        let picture = sample.buffer().unwrap().map_readable().unwrap();
        // An impossible age is damage, too.
        match time_in(&picture).map(|time| now().wrapping_sub(time)).filter(|age| *age < 10_000) {
            Some(age) => ages.record(age.into()).unwrap(),
            None => damaged += 1,
        }
    }
    let expected = begun.elapsed().as_nanos() / PERIOD.as_nanos();
    println!(
        "{} of {expected} pictures and {damaged} damaged, age p50 {} ms, p99 {} ms, at most {} ms",
        ages.len(),
        ages.value_at_quantile(0.5),
        ages.value_at_quantile(0.99),
        ages.max()
    );
}
