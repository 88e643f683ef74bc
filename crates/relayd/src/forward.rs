//! The output pipeline. Buffers enter it by reference, with times that increase across each switch.

use crate::demand::takes_no_pictures;
use crate::event::{Event, Events, Role};
use gst::glib;
use gst::prelude::*;
use gst_app::AppSrc;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// Buffers that may be queued for the output.
const MOST_BUFFERS: u64 = 8;
/// Structures of caps that an error message shows.
const MOST_CAPS: usize = 3;
/// Largest lead of a buffer's time over the clock.
const MOST_AHEAD: gst::ClockTime = gst::ClockTime::from_seconds(3);

/// Why the output could not be built or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The text does not describe a pipeline.
    #[error("the output is not a pipeline: {0}")]
    Syntax(String),
    /// It has no element for buffers to enter.
    #[error(
        "the output has no element named appsrc: begin it with \"appsrc name=appsrc is-live=true format=time ! ...\""
    )]
    NoAppsrc,
    /// That element has another type.
    #[error("the output's element named appsrc is a {0}, not an appsrc")]
    OtherElement(String),
    /// It did not start.
    #[error("the output does not start: {0}")]
    Start(String),
    /// Its video device is a camera now.
    #[error(
        "the output does not start: {path} takes no pictures, because another program writes to it or it is a camera; \
         `fuser -v {path}` names the program",
        path = .0.display()
    )]
    Taken(PathBuf),
}

/// The output pipeline.
pub struct Forward {
    pipeline: gst::Pipeline,
    appsrc: AppSrc,
    base_time: gst::ClockTime,
    /// Caps of `appsrc` in the description.
    wanted: Option<gst::Caps>,
    /// Sinks whose consumers are counted.
    sinks: Mutex<Vec<glib::WeakRef<gst::Element>>>,
    state: Mutex<State>,
    events: Events,
}

#[derive(Debug)]
struct State {
    /// Role whose buffers pass.
    active: Role,
    /// Current run of each role; buffers of other runs do not pass.
    runs: [u64; 2],
    caps: Option<gst::Caps>,
    last: Option<gst::ClockTime>,
    is_first: bool,
    counts: Counts,
}

impl State {
    /// Whether these times are after those of the last buffer.
    fn is_next(&self, (pts, dts): (gst::ClockTime, Option<gst::ClockTime>)) -> bool {
        self.last.is_none_or(|last| dts.unwrap_or(pts) > last)
    }

    /// Counts a buffer; returns whether it is the first after a switch.
    fn passes(&mut self, role: Role, order: gst::ClockTime) -> bool {
        self.last = Some(order);
        match role {
            Role::Input => self.counts.input += 1,
            Role::Splash => self.counts.splash += 1,
        }
        let is_first = std::mem::take(&mut self.is_first);
        self.counts.switches += u64::from(is_first);
        is_first
    }
}

/// Counts of buffers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Buffers of the input.
    pub input: u64,
    /// Buffers of the splash.
    pub splash: u64,
    /// Buffers dropped because their time was not after the last one's, or too far ahead of the clock.
    pub late: u64,
    /// Switches between input and splash.
    pub switches: u64,
}

/// Replaces `\!` by `!`, as a shell would.
pub(crate) fn parse_text(text: &str) -> String {
    text.replace("\\!", "!")
}

impl Forward {
    /// Builds the pipeline; it does not run yet.
    ///
    /// # Errors
    /// When the text is not a pipeline, or has no `appsrc name=appsrc`.
    pub fn new(text: &str, events: Events) -> Result<Self, OutputError> {
        let parsed = gst::parse::launch(&parse_text(text)).map_err(|e| OutputError::Syntax(e.message().into()))?;
        let pipeline = parsed.downcast::<gst::Pipeline>().map_err(|_| OutputError::NoAppsrc)?;
        let element = pipeline.by_name("appsrc").ok_or(OutputError::NoAppsrc)?;
        let other = |element: gst::Element| {
            OutputError::OtherElement(element.factory().map(|factory| factory.name().to_string()).unwrap_or_default())
        };
        let appsrc = element.downcast::<AppSrc>().map_err(other)?;
        appsrc.set_format(gst::Format::Time);
        appsrc.set_is_live(true);
        appsrc.set_block(false);
        if appsrc.leaky_type() == gst_app::AppLeakyType::None {
            appsrc.set_max_buffers(MOST_BUFFERS);
            appsrc.set_max_bytes(0);
            appsrc.set_leaky_type(gst_app::AppLeakyType::Downstream);
        }
        let clock = gst::SystemClock::obtain();
        pipeline.use_clock(Some(&clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        let base_time = clock.time();
        pipeline.set_base_time(base_time);
        let state = State {
            active: Role::Splash,
            runs: [0; 2],
            caps: None,
            last: None,
            is_first: true,
            counts: Counts::default(),
        };
        let wanted = appsrc.caps();
        Ok(Self { pipeline, appsrc, base_time, wanted, sinks: Mutex::default(), state: Mutex::new(state), events })
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &gst::Pipeline {
        &self.pipeline
    }

    /// Starts the pipeline.
    ///
    /// # Errors
    /// The pipeline's error.
    pub fn start(&self) -> Result<(), OutputError> {
        let events = self.events.clone();
        let bus = self.pipeline.bus().ok_or_else(|| OutputError::Start("it has no bus".into()))?;
        let started = self.pipeline.set_state(gst::State::Playing);
        if started.is_err() {
            if let Some(device) = self.video_devices().into_iter().find(|device| takes_no_pictures(device)) {
                return Err(OutputError::Taken(device));
            }
            let message = bus.pop_filtered(&[gst::MessageType::Error]);
            return Err(OutputError::Start(message.map_or("no reason was given".into(), |m| error_text(&m))));
        }
        let weak = self.pipeline.downgrade();
        bus.set_sync_handler(move |_, message| {
            match message.view() {
                gst::MessageView::Error(_) => events.send(Event::OutputFailed(error_text(message))),
                gst::MessageView::Eos(_) => events.send(Event::OutputEnded),
                gst::MessageView::Warning(warning) => events.send(Event::OutputWarns(warning.error().to_string())),
                gst::MessageView::Latency(_) => {
                    if let Some(pipeline) = weak.upgrade() {
                        pipeline.call_async(|pipeline| drop(pipeline.recalculate_latency()));
                    }
                }
                _ => {}
            }
            gst::BusSyncReply::Drop
        });
        // Messages from before the handler was set.
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
            self.events.send(Event::OutputFailed(error_text(&message)));
        }
        Ok(())
    }

    /// Sends an event when the number of consumers of the output's regions changes. False without such a region.
    pub fn watch_consumers(&self) -> bool {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        for element in self.region_sinks() {
            let events = self.events.clone();
            element.connect_notify(Some("num-clients"), move |_, _| events.send(Event::ConsumersChanged));
            sinks.push(element.downgrade());
        }
        !sinks.is_empty()
    }

    fn region_sinks(&self) -> impl Iterator<Item = gst::Element> {
        let elements = self.pipeline.iterate_recurse().into_iter().flatten();
        elements.filter(|element| element.factory().is_some_and(|factory| factory.name() == "shm2sink"))
    }

    /// Number of consumers of the output's regions.
    pub fn consumers(&self) -> u32 {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.iter().filter_map(glib::WeakRef::upgrade).map(|sink| sink.property::<u32>("num-clients")).sum()
    }

    /// Caps of `appsrc` in the description, if any.
    pub(crate) fn wanted_caps(&self) -> Option<gst::Caps> {
        self.wanted.clone()
    }

    /// Answers a query downstream of the output's `appsrc`.
    pub(crate) fn answer(&self, query: &mut gst::QueryRef) -> bool {
        self.appsrc.static_pad("src").is_some_and(|pad| pad.peer_query(query))
    }

    /// What the output takes: its caps if they are few, else their formats; `None` if it names none.
    pub(crate) fn formats(&self) -> Option<String> {
        let mut query = gst::query::Caps::new(None);
        let caps = self.answer(&mut query).then(|| query.result_owned()).flatten()?;
        if (1..=MOST_CAPS).contains(&caps.size()) {
            return Some(caps.to_string());
        }
        let mut names = BTreeSet::new();
        for format in caps.iter().filter_map(|structure| structure.value("format").ok()) {
            match format.get::<gst::List>() {
                Ok(list) => names.extend(list.iter().filter_map(|name| name.get::<String>().ok())),
                Err(_) => names.extend(format.get::<String>()),
            }
        }
        (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// The devices that the output's sinks of V4L2 write to.
    pub(crate) fn video_devices(&self) -> Vec<PathBuf> {
        let elements = self.pipeline.iterate_recurse().into_iter().flatten();
        let sinks = elements.filter(|element| element.factory().is_some_and(|factory| factory.name() == "v4l2sink"));
        sinks.filter_map(|sink| sink.property::<Option<String>>("device")).map(PathBuf::from).collect()
    }

    /// From now on only buffers of this run pass for the role.
    pub(crate) fn begin_run(&self, role: Role, run: u64) {
        self.lock().runs[role as usize] = run;
    }

    /// No buffer of this role passes from now on. After the input, buffers of the splash pass.
    pub(crate) fn end_run(&self, role: Role) {
        let mut state = self.lock();
        state.runs[role as usize] = 0;
        if role == Role::Input && state.active == Role::Input {
            state.active = Role::Splash;
            state.is_first = true;
        }
    }

    /// The input's latency becomes the output's.
    pub(crate) fn set_latency(&self, min: gst::ClockTime, max: Option<gst::ClockTime>) {
        if self.appsrc.latency() != (Some(min), max) {
            self.appsrc.set_latency(min, max);
            self.pipeline.call_async(|pipeline| drop(pipeline.recalculate_latency()));
        }
    }

    /// Pushes a buffer of a run whose running time 0 is `base_time` of the clock. Returns whether it passed.
    pub(crate) fn push(&self, role: Role, run: u64, base_time: gst::ClockTime, sample: gst::Sample) -> bool {
        let mut state = self.lock();
        let Some(mut buffer) = sample.buffer_owned().filter(|_| state.runs[role as usize] == run) else { return false };
        let is_awaited = role == Role::Input && (state.active == Role::Splash || state.is_first);
        // A decoder can only start at a keyframe.
        if is_awaited && buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) || !is_awaited && state.active != role {
            return false;
        }
        let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>().cloned());
        let caps = sample.caps_owned();
        // Leaves the buffer with one owner: its times can be changed without a copy.
        drop(sample);
        let times = self.times(&buffer, segment.as_ref(), base_time);
        if is_awaited && times.is_some() && state.active == Role::Splash {
            // The splash ends here: else its next buffer would be ahead of the input's next, for as long as the input
            // has a latency above the splash's interval.
            state.active = Role::Input;
            state.is_first = true;
        }
        let Some((pts, dts)) = times.filter(|times| state.is_next(*times)) else {
            state.counts.late += 1;
            return false;
        };
        if is_awaited {
            self.events.send(Event::Delivers(run));
        }
        if caps.is_some() && caps != state.caps {
            self.appsrc.set_caps(caps.as_ref());
            state.caps = caps;
        }
        let metadata = buffer.make_mut();
        metadata.set_pts(pts);
        metadata.set_dts(dts);
        if state.passes(role, dts.unwrap_or(pts)) {
            metadata.set_flags(gst::BufferFlags::DISCONT);
        }
        // The output reports its end or failure on its bus.
        let _ = self.appsrc.push_buffer(buffer);
        true
    }

    /// Running times in the output. `None` when a time is before its start or outside of the segment.
    fn times(
        &self,
        buffer: &gst::Buffer,
        segment: Option<&gst::FormattedSegment<gst::ClockTime>>,
        base_time: gst::ClockTime,
    ) -> Option<(gst::ClockTime, Option<gst::ClockTime>)> {
        let here = |time: gst::ClockTime| {
            let running = segment.map_or(Some(time), |segment| segment.to_running_time(time))?;
            base_time.checked_add(running)?.checked_sub(self.base_time)
        };
        let now = gst::SystemClock::obtain().time().checked_sub(self.base_time)?;
        let pts = match buffer.pts().or(buffer.dts()) {
            Some(time) => here(time)?,
            // A buffer without times gets the current time.
            None => now,
        };
        // A buffer far ahead would make all later ones late.
        (pts <= now + MOST_AHEAD).then(|| (pts, buffer.dts().and_then(here)))
    }

    /// Counts of buffers so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Current caps of the output.
    pub fn caps(&self) -> Option<gst::Caps> {
        self.lock().caps.clone()
    }

    /// Sends an end of stream, by which files are completed; the output answers with [`Event::OutputEnded`]. Consumers
    /// of its regions get none: they wait for the next start of the daemon.
    pub fn finish(&self) {
        // A plugin of an older version has no such property.
        let sinks = self.region_sinks().filter(|sink| sink.has_property("forward-eos"));
        sinks.for_each(|sink| sink.set_property("forward-eos", false));
        // An unlinked or flushing output has ended already.
        let _ = self.appsrc.end_of_stream();
    }

    /// Ends the pipeline.
    pub fn stop(&self) {
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        // The change to NULL does not fail.
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As [`Forward::stop`], but does not wait longer than `time` for the output.
pub(crate) fn stop_within(forward: &Arc<Forward>, time: Duration) {
    let (done, stopped) = mpsc::channel();
    let forward = forward.clone();
    let stop = move || {
        forward.stop();
        // The receiver is gone after the time.
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("stop".into()).spawn(stop).is_ok() {
        let _ = stopped.recv_timeout(time);
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // A pipeline must not be dropped while it runs.
        self.stop();
    }
}

/// An error message in one line.
pub(crate) fn error_text(message: &gst::Message) -> String {
    let gst::MessageView::Error(error) = message.view() else { return "no error".into() };
    let from = error.src().map(|src| src.name().to_string()).unwrap_or_default();
    let text = match error.debug() {
        Some(debug) => format!("{from}: {} ({})", error.error(), debug.lines().last().unwrap_or_default()),
        None => format!("{from}: {}", error.error()),
    };
    match error.error().kind::<gst::ResourceError>() {
        Some(gst::ResourceError::NotAuthorized) => {
            format!("{text}: check user and password, user-id and user-pw of rtspsrc")
        }
        _ => text,
    }
}
