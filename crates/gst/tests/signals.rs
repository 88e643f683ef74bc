//! Handlers of the sink's signals may change the state, or wait for a thread that does: neither a stop nor a region that
//! is replaced waits for them, and a stopped sink emits nothing more.

mod common;

use gst::prelude::*;
use shm2_testing::{LIMIT, TempRegion, until};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time in which a state change, or a frame with larger caps, gets to the point at which it once waited for a handler.
const UNDERWAY: Duration = Duration::from_millis(200);

const SMALL: &str = "video/x-raw,format=GRAY8,width=64,height=48,framerate=60/1";
const LARGE: &str = "video/x-raw,format=GRAY8,width=3840,height=2160,framerate=60/1";

/// A playing sink. It is not stopped at the end of a test that failed, which would hang with it.
struct Sink {
    pipeline: gst::Pipeline,
    sink: gst::Element,
    name: TempRegion,
}

impl Sink {
    fn playing() -> Self {
        common::init();
        let name = TempRegion::new();
        let line = format!(
            "videotestsrc is-live=true ! capsfilter name=filter caps={SMALL} ! shm2sink name=sink shm-size=0 shm-path={}",
            &*name
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let sink = pipeline.by_name("sink").unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let new = Self { pipeline, sink, name };
        until("a region", || common::stat(&new.sink, "published") > 2);
        new
    }

    /// Calls `handler` on the first client. Returns the attached client, and a receiver of the handler's beginning and
    /// end.
    fn handle_client(&self, handler: impl Fn() + Send + Sync + 'static) -> (shm2::Consumer, Receiver<&'static str>) {
        let (events, seen) = channel();
        self.sink.connect("client-connected", false, move |_| {
            let _ = events.send("begun");
            handler();
            let _ = events.send("ended");
            None
        });
        let consumer = shm2::Consumer::builder(&self.name).unwrap().attach(Some(LIMIT)).unwrap();
        assert_eq!(seen.recv_timeout(LIMIT), Ok("begun"));
        (consumer, seen)
    }

    /// Stops on a thread, and reports the end of that.
    fn stop(&self) -> Receiver<()> {
        let (done, ended) = channel();
        let pipeline = self.pipeline.clone();
        std::thread::spawn(move || {
            pipeline.set_state(gst::State::Null).unwrap();
            let _ = done.send(());
        });
        ended
    }
}

/// Waits until the receiver's sender sends or is gone.
fn released(gate: &Mutex<Receiver<()>>) {
    let _ = gate.lock().unwrap().recv_timeout(LIMIT);
}

fn gate() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (open, opened) = channel();
    (open, Mutex::new(opened))
}

#[track_caller]
fn in_time<T>(what: &str, receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("not within 10 s: {what}"))
}

#[test]
fn a_handler_that_changes_the_state_does_not_wait_for_a_stop_for_ever() {
    let sink = Sink::playing();
    let pipeline = sink.pipeline.clone();
    let (consumer, seen) = sink.handle_client(move || {
        std::thread::sleep(UNDERWAY);
        pipeline.set_state(gst::State::Null).unwrap();
    });
    let stopped = sink.stop();
    in_time("the stop", &stopped);
    assert_eq!(in_time("the handler", &seen), "ended");
    drop(consumer);
}

#[test]
fn a_handler_that_stops_the_sink_does_not_wait_for_a_larger_region_for_ever() {
    let sink = Sink::playing();
    let pipeline = sink.pipeline.clone();
    let (begin, begun) = gate();
    let (_consumer, seen) = sink.handle_client(move || {
        released(&begun);
        std::thread::sleep(UNDERWAY);
        pipeline.set_state(gst::State::Null).unwrap();
    });
    let larger: gst::Caps = LARGE.parse().unwrap();
    sink.pipeline.by_name("filter").unwrap().set_property("caps", &larger);
    begin.send(()).unwrap();
    assert_eq!(in_time("the handler", &seen), "ended");
    in_time("a second stop", &sink.stop());
}

#[test]
fn a_handler_may_wait_for_a_thread_that_stops_the_sink() {
    let sink = Sink::playing();
    let (open, opened) = gate();
    let (_consumer, seen) = sink.handle_client(move || released(&opened));
    in_time("the stop", &sink.stop());
    open.send(()).unwrap();
    assert_eq!(in_time("the handler", &seen), "ended");
}

#[test]
fn a_region_is_replaced_while_a_handler_runs_and_signals_keep_their_order() {
    let sink = Sink::playing();
    let (open, opened) = gate();
    let log = Arc::new(Mutex::new(Vec::new()));
    for signal in ["client-connected", "client-disconnected"] {
        let log = log.clone();
        sink.sink.connect(signal, false, move |values| {
            log.lock().unwrap().push((signal, values[1].get::<u32>().unwrap()));
            None
        });
    }
    let (consumer, seen) = sink.handle_client(move || released(&opened));
    let larger: gst::Caps = LARGE.parse().unwrap();
    sink.pipeline.by_name("filter").unwrap().set_property("caps", &larger);
    let size = || shm2::Overview::of(&sink.name).map_or(0, |region| region.bytes);
    until("a larger region", || size() > 60 << 20);
    let before = common::stat(&sink.sink, "published");
    until("frames in it", || common::stat(&sink.sink, "published") > before + 3);
    drop(consumer);
    assert_eq!(log.lock().unwrap()[..], [("client-connected", 1)], "the handler still runs");
    open.send(()).unwrap();
    assert_eq!(in_time("the handler", &seen), "ended");
    until("the change after it", || log.lock().unwrap().len() == 2);
    assert_eq!(log.lock().unwrap()[1], ("client-disconnected", 0));
    in_time("the stop", &sink.stop());
}

#[test]
fn a_stopped_sink_emits_nothing_more() {
    let sink = Sink::playing();
    let (open, opened) = gate();
    let opened = Arc::new(opened);
    let (notified, notification) = channel();
    sink.sink.connect_notify(Some("num-clients"), move |sink, _| {
        let _ = notified.send(sink.property::<u32>("num-clients"));
        released(&opened);
    });
    let (connected, connection) = channel();
    sink.sink.connect("client-connected", false, move |_| {
        let _ = connected.send(());
        None
    });
    let consumer = shm2::Consumer::builder(&sink.name).unwrap().attach(Some(LIMIT)).unwrap();
    assert_eq!(in_time("the notification", &notification), 1);
    in_time("the stop", &sink.stop());
    assert_eq!(sink.sink.property::<u32>("num-clients"), 0);
    open.send(()).unwrap();
    drop(consumer);
    // The signal would follow the notification at once, on the same thread.
    assert!(connection.recv_timeout(Duration::from_millis(500)).is_err(), "a signal after the stop");
    assert!(notification.try_recv().is_err(), "a notification after the stop");
    assert_eq!(sink.sink.property::<u32>("num-clients"), 0);
}

// Windows has no directory of regions.
#[cfg(unix)]
#[test]
fn a_handler_of_a_device_message_may_stop_the_provider() {
    common::init();
    let provider = gst::DeviceProviderFactory::by_name("shm2deviceprovider").unwrap();
    let name = TempRegion::new();
    let suffix = name.rsplit('/').next().unwrap().to_owned();
    let (stopped, stop) = channel();
    provider.start().unwrap();
    let handled = provider.clone();
    provider.bus().set_sync_handler(move |_, message| {
        if let gst::MessageView::DeviceAdded(added) = message.view()
            && added.device().display_name() == suffix
        {
            handled.stop();
            let _ = stopped.send(());
        }
        gst::BusSyncReply::Drop
    });
    let _producer = shm2::Producer::create(&name).unwrap();
    in_time("the stop in the handler", &stop);
    assert!(!provider.is_started());
}
