//! A pipeline that feeds the output. It is built for each run; at the end of a run it closes all its devices.

use crate::event::{Event, Events, Role};
use crate::forward::{Forward, error_text, parse_text};
use gst::glib::translate::IntoGlib;
use gst::prelude::*;
use gst_app::{AppSink, AppSinkCallbacks};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Name of the sink that is appended to the pipeline.
const SINK: &str = "relay-end";
/// Interval of the check whether the run is still wanted.
const SLICE: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// Called with the pipeline before it starts.
type Prepare = Box<dyn FnOnce(&gst::Pipeline) + Send>;

enum Order {
    Start(u64, String, Prepare),
    Stop,
}

/// Starts and stops the pipeline of one role in its own thread: a device may block either for a while.
pub struct Runner {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

/// State shared by the runner's thread and its owner.
struct Shared {
    role: Role,
    forward: Arc<Forward>,
    events: Events,
    /// Milliseconds since `begun` at which the last buffer passed.
    last: AtomicU64,
    /// The wanted run, or 0. An older run stops by itself.
    wanted: AtomicU64,
    /// Milliseconds for a pipeline to be ready to play; 0 is no limit.
    start_timeout: AtomicU64,
    begun: Instant,
}

impl Runner {
    /// An idle runner. `begun` is the zero of [`last`](Self::last).
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(role: Role, forward: Arc<Forward>, events: Events, begun: Instant) -> std::io::Result<Self> {
        let zero = || AtomicU64::new(0);
        let (last, wanted, start_timeout) = (zero(), zero(), zero());
        let shared = Arc::new(Shared { role, forward, events, last, wanted, start_timeout, begun });
        let (orders, next) = mpsc::channel();
        let own = shared.clone();
        std::thread::Builder::new().name(format!("{role:?}").to_lowercase()).spawn(move || work(&own, &next))?;
        Ok(Self { orders, shared })
    }

    /// Starts a run of this pipeline; the result is an event.
    pub fn start(&self, run: u64, text: &str) {
        self.start_with(run, text, |_| ());
    }

    /// As [`start`](Self::start), and calls `prepare` with the pipeline before it starts.
    pub fn start_with(&self, run: u64, text: &str, prepare: impl FnOnce(&gst::Pipeline) + Send + 'static) {
        self.shared.wanted.store(run, Ordering::Release);
        self.shared.forward.begin_run(self.shared.role, run);
        // The thread ends only with its owner, so that it receives this.
        let _ = self.orders.send(Order::Start(run, text.into(), Box::new(prepare)));
    }

    /// Sets the time for a pipeline to be ready to play, after which its run fails. Zero, the default, is no limit.
    pub fn set_start_timeout(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.shared.start_timeout.store(ms, Ordering::Relaxed);
    }

    /// Ends the run; [`Event::Stopped`] follows when its devices are closed.
    pub fn stop(&self) {
        self.shared.forward.end_run(self.shared.role);
        self.shared.wanted.store(0, Ordering::Release);
        let _ = self.orders.send(Order::Stop);
    }

    /// When the last buffer passed.
    pub fn last(&self) -> Duration {
        Duration::from_millis(self.shared.last.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn is_wanted(&self, run: u64) -> bool {
        self.wanted.load(Ordering::Acquire) == run
    }
}

fn work(shared: &Arc<Shared>, orders: &mpsc::Receiver<Order>) {
    let mut feed: Option<Feed> = None;
    for order in orders {
        match order {
            // Stopped before it was started.
            Order::Start(run, ..) if !shared.is_wanted(run) => {}
            Order::Start(run, text, prepare) => match Feed::start(shared, run, &text, prepare) {
                Ok(started) => feed = started,
                Err(why) => shared.events.send(Event::Failed(shared.role, run, why)),
            },
            Order::Stop => {
                drop(feed.take());
                shared.events.send(Event::Stopped(shared.role));
            }
        }
    }
}

/// Checks that a text describes a pipeline that can feed the output.
///
/// # Errors
/// The reason as text.
pub fn check(role: Role, text: &str) -> Result<(), String> {
    build(role, text).map(|_| ())
}

fn build(role: Role, text: &str) -> Result<(gst::Pipeline, AppSink), String> {
    let name = format!("{role:?}").to_lowercase();
    let mut text = parse_text(text);
    // Trailing caps are a filter and need an element after them.
    if ends_with_caps(&text) {
        text.push_str(" ! identity");
    }
    let bin = gst::parse::bin_from_description_with_name(&text, false, &name);
    let bin = bin.map_err(|e| format!("the {name} is not a pipeline: {}", e.message()))?;
    // Only the end becomes a pad of the bin. A sink that waits for a pad of rtspsrc or decodebin is open as well, and
    // could not be linked any more.
    let end = bin.find_unlinked_pad(gst::PadDirection::Src).and_then(|end| gst::GhostPad::with_target(&end).ok());
    let Some(end) = end else {
        return Err(format!("the {name} has no open end: leave out its sink, the daemon appends its own"));
    };
    bin.add_pad(&end).map_err(|e| format!("the {name}: {e}"))?;
    let sink = AppSink::builder().name(SINK).sync(true).drop(true).max_buffers(4).enable_last_sample(false).build();
    let pipeline = gst::Pipeline::with_name(&format!("{name}-pipeline"));
    let parts = [bin.upcast_ref::<gst::Element>(), sink.upcast_ref()];
    pipeline.add_many(parts).and_then(|()| gst::Element::link_many(parts)).map_err(|e| format!("the {name}: {e}"))?;
    Ok((pipeline, sink))
}

/// Whether the last part is caps, such as `video/x-raw, width=64`.
fn ends_with_caps(text: &str) -> bool {
    let last = text.rsplit('!').next().unwrap_or_default().trim_start();
    let media = last.split([',', '(', ' ']).next().unwrap_or_default();
    media.split_once('/').is_some_and(|(kind, _)| kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
        && !media.starts_with('/')
        && !media.contains('=')
}

/// A running pipeline, set to NULL on drop.
struct Feed {
    pipeline: gst::Pipeline,
}

impl Feed {
    /// `None` if the run was stopped before the pipeline played.
    fn start(shared: &Arc<Shared>, run: u64, text: &str, prepare: Prepare) -> Result<Option<Self>, String> {
        let (pipeline, sink) = build(shared.role, text)?;
        prepare(&pipeline);
        let feed = Self { pipeline };
        forward_queries(&sink, &shared.forward);
        if let Some(caps) = shared.forward.wanted_caps() {
            sink.set_caps(Some(&caps));
        }
        let clock = gst::SystemClock::obtain();
        feed.pipeline.use_clock(Some(&clock));
        feed.pipeline.set_start_time(gst::ClockTime::NONE);
        watch_bus(&feed.pipeline, shared, run);
        if !feed.preroll(shared, run, &sink)? {
            return Ok(None);
        }
        // The running time begins now, for a live source and for a file.
        let base_time = clock.time();
        feed.pipeline.set_base_time(base_time);
        receive(&sink, shared, run, base_time);
        let failed = |_| feed.error().unwrap_or_else(|| "it does not play".into());
        feed.pipeline.set_state(gst::State::Playing).map_err(failed)?;
        report_latency(&feed.pipeline, shared);
        Ok(Some(feed))
    }

    /// False if the run is no longer wanted.
    fn preroll(&self, shared: &Shared, run: u64, sink: &AppSink) -> Result<bool, String> {
        let failed = |_| self.error().unwrap_or_else(|| "it does not start".into());
        let mut state = self.pipeline.set_state(gst::State::Paused).map_err(failed)?;
        let begun = Instant::now();
        while state == gst::StateChangeSuccess::Async {
            if !shared.is_wanted(run) {
                return Ok(false);
            }
            let limit = shared.start_timeout.load(Ordering::Relaxed);
            if limit != 0 && begun.elapsed() > Duration::from_millis(limit) {
                return Err(format!("it is not ready after {limit} ms"));
            }
            state = self.pipeline.state(SLICE).0.map_err(failed)?;
        }
        // A live source sets its own pace; any other is synchronised to the clock.
        sink.set_sync(state != gst::StateChangeSuccess::NoPreroll);
        Ok(true)
    }

    fn error(&self) -> Option<String> {
        self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error]).map(|message| error_text(&message))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        // The change to NULL does not fail.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Forwards queries of the feed's elements to the output: they negotiate its caps and write into its memory.
fn forward_queries(sink: &AppSink, forward: &Arc<Forward>) {
    let Some(pad) = sink.static_pad("sink") else { return };
    let (forward, has_caps) = (Arc::downgrade(forward), forward.wanted_caps().is_some());
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, move |_, info| {
        let (Some(forward), Some(query)) = (forward.upgrade(), info.query_mut()) else {
            return gst::PadProbeReturn::Ok;
        };
        // Caps from the output's description are set on the sink.
        let is_for_output = match query.type_() {
            gst::QueryType::Allocation => true,
            gst::QueryType::Caps | gst::QueryType::AcceptCaps => !has_caps,
            _ => false,
        };
        if is_for_output && forward.answer(query) { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
}

fn receive(sink: &AppSink, shared: &Arc<Shared>, run: u64, base_time: gst::ClockTime) {
    let shared = shared.clone();
    let take = move |sample: Result<gst::Sample, _>| {
        let sample = sample.map_err(|_| gst::FlowError::Eos)?;
        // A buffer that does not pass does not count against the frame timeout.
        if shared.forward.push(shared.role, run, base_time, sample) {
            let now = shared.begun.elapsed().as_millis() as u64;
            shared.last.store(now, Ordering::Relaxed);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(AppSinkCallbacks::builder().new_sample(move |sink| take(sink.pull_sample())).build());
}

fn watch_bus(pipeline: &gst::Pipeline, shared: &Arc<Shared>, run: u64) {
    let Some(bus) = pipeline.bus() else { return };
    let (weak, shared) = (pipeline.downgrade(), shared.clone());
    bus.set_sync_handler(move |_, message| {
        let failed = |why| shared.events.send(Event::Failed(shared.role, run, why));
        match message.view() {
            gst::MessageView::Error(error) => {
                let left_over = weak.upgrade().and_then(|pipeline| left_over(&pipeline)).unwrap_or_default();
                failed(failure_text(message, error, &shared) + &left_over);
                // The error stays on the bus for the code that starts the pipeline.
                return gst::BusSyncReply::Pass;
            }
            gst::MessageView::Eos(_) => failed("the stream ended".into()),
            gst::MessageView::Latency(_) => {
                if let Some(pipeline) = weak.upgrade() {
                    report_latency(&pipeline, &shared);
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// Says which streams of a source no element takes, as those of a camera with another codec than the text expects.
fn left_over(pipeline: &gst::Pipeline) -> Option<String> {
    let open = |element: gst::Element| {
        let pads = element.src_pads().into_iter();
        pads.filter(|pad| !pad.is_linked()).filter_map(|pad| stream_name(&pad)).collect::<Vec<_>>()
    };
    let elements = pipeline.iterate_recurse().into_iter().flatten();
    let mut names: Vec<_> = elements.flat_map(open).collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| format!("; no element of the pipeline takes {}", names.join(" and ")))
}

/// What a pad carries: the codec of RTP, else the name of its caps.
fn stream_name(pad: &gst::Pad) -> Option<String> {
    let caps = pad.current_caps()?;
    let structure = caps.structure(0)?;
    let codec = structure.get::<&str>("encoding-name").ok();
    Some(codec.map_or_else(|| structure.name().to_string(), |codec| format!("{codec} ({})", structure.name())))
}

/// An error message in one line. That of a format which the output does not take names the formats that it takes.
fn failure_text(message: &gst::Message, error: &gst::message::Error, shared: &Shared) -> String {
    let flow = error.details().and_then(|details| details.get::<i32>("flow-return").ok());
    if flow != Some(gst::FlowError::NotNegotiated.into_glib()) {
        return error_text(message);
    }
    let taken = shared.forward.formats().map(|formats| format!("; the output takes {formats}")).unwrap_or_default();
    format!("its elements and the output agree on no format{taken}; end it with videoconvert, videoscale and videorate")
}

/// Recalculates the pipeline's latency and passes it to the output.
fn report_latency(pipeline: &gst::Pipeline, shared: &Arc<Shared>) {
    let shared = shared.clone();
    pipeline.call_async(move |pipeline| {
        // When this fails now, another latency message follows.
        let _ = pipeline.recalculate_latency();
        let mut query = gst::query::Latency::new();
        // Queried upstream of the sink: the sink adds nothing, and answers 0 when it does not synchronise to the clock.
        let end = pipeline.by_name(SINK).and_then(|sink| sink.static_pad("sink"));
        if shared.role == Role::Input && end.is_some_and(|pad| pad.peer_query(&mut query)) {
            let (_, min, max) = query.result();
            shared.forward.set_latency(min, max);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::ends_with_caps;

    #[test]
    fn trailing_caps_are_recognised_by_their_media_type() {
        for text in
            ["a ! video/x-raw", "a ! video/x-raw,width=1", "a ! audio/x-raw(memory:X), rate=1", "video/x-raw, a=b"]
        {
            assert!(ends_with_caps(text), "{text}");
        }
        for text in ["a ! b", "filesrc location=/a/b", "a ! b location=x/y", "a ! /b/c", ""] {
            assert!(!ends_with_caps(text), "{text}");
        }
    }
}
