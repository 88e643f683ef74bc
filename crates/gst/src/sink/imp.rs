//! GObject glue of `shm2sink`.
//!
//! Lock order: `changing`, then `publisher`, then any one of `settings`, `state`, `report`, `clock`, `description`,
//! `presence`, `keyframes`, `rate_control`. No lock but `changing` and `publisher` is held over a call that may block, a
//! notification or a message. The streaming thread has no `publisher` when it takes `changing`. `signals` is held over
//! signals, notifications of clients and their request of a keyframe, with `report` or `keyframes` after it, and taken by
//! the threads that watch for clients only.

use super::due::RateControl;
use super::failures::Failures;
use super::keyframe::RequestLimit;
use super::latency::UpstreamLatency;
use super::log::CAT;
use super::preroll;
use super::publisher::{PublishError, Publisher, Reaction};
use super::region::State;
use super::report::Report;
use super::settings::{FullPolicy, Settings};
use super::watcher::Presence;
use crate::caps::Media;
use crate::clock::ClockMonitor;
use crate::events;
use crate::meta::Warning;
use crate::pool::ArenaPool;
use crate::stats::Stats;
use crate::{lock, uri};
use gst::glib::{self, subclass::Signal};
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use shm2::SendError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

#[derive(Default, glib::Properties)]
#[properties(wrapper_type = super::Shm2Sink)]
pub struct Shm2Sink {
    #[property(name = "shm-path", type = Option<String>, get = |sink: &Self| Some(lock(&sink.settings).shm_path.clone()),
        set = Self::set_shm_path, default = Some(crate::DEFAULT_PATH), mutable_ready, nick = "Shared-memory path",
        blurb = "Region to create: shm:///dev/shm/NAME or /dev/shm/NAME; winshm://Local/NAME on Windows; ivshmem:// in a virtual machine")]
    #[property(name = "shm-size", type = u64, member = shm_size, get, set, mutable_ready, nick = "Shared-memory size",
        default = Settings::default().shm_size,
        blurb = "Size of the whole region in bytes, of which 4784128 are overhead (0 = from the caps; replaced by a larger region when they grow)")]
    #[property(name = "perms", type = u32, member = perms, get, set, mutable_ready, nick = "Permissions",
        default = Settings::default().perms, maximum = 0o777,
        blurb = "Permission bits of the region's file when it is created, regardless of the umask (give it as 0660 for octal)")]
    #[property(name = "timeline-beacon-ms", type = u32, member = timeline_beacon_ms, get, set, mutable_ready,
        nick = "Timeline beacon interval", default = Settings::default().timeline_beacon_ms, minimum = 1, maximum = 60_000,
        blurb = "Milliseconds between clock pairs written to the region while frames flow")]
    #[property(name = "history", type = u32, member = history, get, set, mutable_ready, nick = "History",
        default = Settings::default().history, blurb = "Newest frames kept for consumers that attach later")]
    #[property(name = "max-leases", type = u32, member = max_leases, get, set, mutable_ready, nick = "Maximum leases",
        default = Settings::default().max_leases, minimum = 1, maximum = 64,
        blurb = "Frames that one consumer may hold in place; further frames are copied")]
    #[property(name = "keep-region", type = bool, member = keep_region, get, set, mutable_ready, nick = "Keep region",
        default = Settings::default().keep_region,
        blurb = "Reuse the existing file, with its size and permissions; never remove it")]
    #[property(name = "lease-time", type = u64, member = lease_time, get, set, mutable_ready, nick = "Lease time",
        default = Settings::default().lease_time, minimum = 100_000_000, maximum = 3_600_000_000_000,
        blurb = "Nanoseconds without a heartbeat after which a peer counts as dead where no lock shows it: in a virtual machine's memory and in kept regions")]
    #[property(name = "full-policy", type = FullPolicy, member = full_policy, get, set, mutable_ready, nick = "Full policy",
        blurb = "What to do with a new frame when the arena has too little free space",
        builder(Settings::default().full_policy))]
    #[property(name = "block-timeout", type = u64, member = block_timeout, get, set, mutable_ready, nick = "Block timeout",
        default = Settings::default().block_timeout,
        blurb = "Nanoseconds that one frame may wait for free space under full-policy=block (18446744073709551615 = no limit)")]
    #[property(name = "wait-for-connection", type = bool, member = wait_for_connection, get, set, mutable_ready,
        nick = "Wait for a connection", default = Settings::default().wait_for_connection,
        blurb = "Block the stream until a consumer is attached")]
    #[property(name = "forward-eos", type = bool, member = forward_eos, get, set, mutable_playing, nick = "Forward EOS",
        default = Settings::default().forward_eos,
        blurb = "Pass an end of stream on to the consumers; else they wait for the next producer")]
    #[property(name = "num-clients", type = u32, get = |sink: &Self| lock(&sink.report).clients(), nick = "Number of clients",
        blurb = "Consumers attached now; snapshot consumers count as one together")]
    #[property(name = "stats", type = Stats, get = |sink: &Self| Stats(sink.stats()), nick = "Statistics",
        blurb = "Counts of frames published, zero-copied, copied and dropped by reason, and the use of the arena")]
    pub(super) settings: Mutex<Settings>,
    /// Held while a region is opened, closed or replaced.
    pub(super) changing: Mutex<()>,
    pub(super) publisher: Mutex<Option<Publisher>>,
    pub(super) state: Mutex<State>,
    pub(super) report: Mutex<Report>,
    /// Sticky events of the stream.
    pub(super) description: Mutex<events::Stream>,
    pub(super) clock: Mutex<ClockMonitor>,
    /// Taken out by the streaming thread while it uses it.
    pub(super) presence: Mutex<Presence>,
    pub(super) keyframes: Mutex<RequestLimit>,
    pub(super) latency: UpstreamLatency,
    pub(super) rate_control: Mutex<RateControl>,
    pub(super) failures: Failures,
    /// Changes with each stop: handlers of an earlier run get no more signals.
    pub(super) run: AtomicU64,
    /// Held while handlers of signals run.
    pub(super) signals: Mutex<()>,
    /// Threads that need the preroll lock, which the streaming thread holds over each item: meanwhile no item waits.
    pub(super) holds: AtomicU32,
}

#[glib::object_subclass]
impl ObjectSubclass for Shm2Sink {
    const NAME: &'static str = "GstShm2Sink";
    type Type = super::Shm2Sink;
    type ParentType = gst_base::BaseSink;
    type Interfaces = (gst::URIHandler,);
}

uri::uri_handler!(Shm2Sink, gst::URIType::Sink);

impl ObjectImpl for Shm2Sink {
    fn properties() -> &'static [glib::ParamSpec] {
        Self::derived_properties()
    }

    fn signals() -> &'static [Signal] {
        static SIGNALS: LazyLock<Vec<Signal>> = LazyLock::new(|| {
            ["client-connected", "client-disconnected"]
                .map(|name| Signal::builder(name).param_types([u32::static_type()]).build())
                .into()
        });
        &SIGNALS
    }

    fn constructed(&self) {
        self.parent_constructed();
        let sink = self.obj();
        // A kept last sample would keep its frame's memory in use.
        sink.set_enable_last_sample(false);
        sink.set_processing_deadline(gst::ClockTime::ZERO);
    }

    fn set_property(&self, id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if crate::is_mutable_now(&*self.obj(), pspec, &CAT) {
            self.derived_set_property(id, value, pspec);
        }
    }

    fn property(&self, id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        self.derived_property(id, pspec)
    }
}

impl GstObjectImpl for Shm2Sink {}

impl ElementImpl for Shm2Sink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Shared-memory sink",
                "Sink",
                "Publish buffers to any number of processes through a shared-memory region",
                "The shm2 contributors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| crate::any_pad("sink", gst::PadDirection::Sink));
        &TEMPLATES
    }

    /// The base class takes the preroll lock on the way to PLAYING without a request to end what waits with it. An item
    /// that came just before would keep it.
    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            let changed = self.parent_change_state(transition);
            self.show_upstream_caps();
            return changed;
        }
        if transition != gst::StateChange::PausedToPlaying {
            return self.parent_change_state(transition);
        }
        self.hold();
        let changed = self.parent_change_state(transition);
        preroll::wake(&self.obj(), || self.release());
        changed
    }

    /// Buffers are published when they are due in this pipeline; its latency is added by consumers. So the base class
    /// gets a latency of 0, and each frame carries that of its own path. The event has the largest latency of all
    /// branches, which may include that of a source that reads this region.
    fn send_event(&self, event: gst::Event) -> bool {
        if let gst::EventView::Latency(_) = event.view() {
            let shm_path = lock(&self.settings).shm_path.clone();
            self.latency.update(self.obj().upcast_ref(), &shm_path);
            return self.parent_send_event(gst::event::Latency::new(gst::ClockTime::ZERO));
        }
        self.parent_send_event(event)
    }
}

impl BaseSinkImpl for Shm2Sink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.report) = Report::default();
        *lock(&self.description) = events::Stream::default();
        self.holds.store(0, Ordering::Release);
        self.latency.expire();
        *lock(&self.rate_control) = RateControl::default();
        self.failures.clear();
        *lock(&self.keyframes) = RequestLimit::default();
        let size = lock(&self.settings).shm_size;
        if size != 0 {
            let _changing = lock(&self.changing);
            return self.open_region(size);
        }
        lock(&self.state).replace(State::Pending);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.run.fetch_add(1, Ordering::AcqRel);
        let changing = lock(&self.changing);
        self.close_region(State::Stopped);
        drop(changing);
        lock(&self.report).set_clients(0);
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.hold();
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.release();
        Ok(())
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        self.failures.caps_refused(shm2::monotonic_ns());
        if !crate::caps::is_system_memory(caps) {
            return Err(gst::loggable_error!(CAT, "{caps} is not in system memory"));
        }
        crate::caps::check(caps).map_err(|unreadable| {
            gst::element_imp_error!(self, gst::CoreError::Negotiation, ("{unreadable}"));
            gst::loggable_error!(CAT, "{unreadable}")
        })?;
        gst::debug!(CAT, imp = self, "caps {caps}");
        self.fit_region(caps)?;
        self.latency.expire();
        lock(&self.publisher).iter_mut().for_each(|publisher| publisher.set_caps(caps));
        self.show_caps(caps);
        self.failures.caps_accepted();
        Ok(())
    }

    /// An element that could give the memory of a device, or that of the system, must learn here which one to give.
    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        Some(filter.map_or_else(gst::Caps::new_any, |filter| crate::caps::in_system_memory(filter)))
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::AcceptCaps(accept) = query.view_mut() {
            let caps = accept.caps();
            let accepted = crate::caps::is_system_memory(caps);
            if !accepted {
                self.failures.caps_refused(shm2::monotonic_ns());
            }
            accept.set_result(accepted);
            return true;
        }
        BaseSinkImplExt::parent_query(self, query)
    }

    fn event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Eos(_) => {
                gst::debug!(CAT, imp = self, "end of stream");
                self.notify_stats();
                match self.end_stream(&event) {
                    // After a flush the event is void for the base class, too.
                    Err(SendError::Cancelled) => return false,
                    Err(error) => gst::warning!(CAT, imp = self, "the end of stream was not published: {error}"),
                    Ok(()) => {}
                }
                self.parent_event(event)
            }
            gst::EventView::Gap(_) => {
                // The base class waits until the gap is due.
                let is_handled = self.parent_event(event.clone());
                if is_handled {
                    self.publish_event(&event);
                }
                is_handled
            }
            _ => {
                if matches!(event.type_(), gst::EventType::FlushStop | gst::EventType::StreamStart) {
                    self.failures.clear();
                }
                self.publish_event(&event);
                self.parent_event(event)
            }
        }
    }

    fn propose_allocation(&self, query: &mut gst::query::Allocation) -> Result<(), gst::LoggableError> {
        let allocator = lock(&self.state).region().map(|region| region.allocator().clone());
        let allocator = allocator.ok_or_else(|| gst::loggable_error!(CAT, "not started"))?;
        let (caps, need_pool) = query.get_owned();
        if let Some(info) = caps.as_deref().and_then(|caps| Media::of(caps).video) {
            if need_pool {
                let pool = ArenaPool::for_video(&allocator, caps.as_ref(), &info);
                query.add_allocation_pool(pool.as_ref(), info.size() as u32, 2, 0);
            }
            query.add_allocation_meta::<gst_video::VideoMeta>(None);
        }
        query.add_allocation_param(Some(&allocator), gst::AllocationParams::default());
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut with_metas = true;
        loop {
            let error = match self.publish(buffer, with_metas) {
                Ok(sent) => {
                    self.count_rendered(buffer);
                    let now_ns = shm2::monotonic_ns();
                    self.failures.published(now_ns);
                    if buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
                        self.forward_keyframe_requests();
                    }
                    let is_stats_due = lock(&self.report).count_sent(&sent, now_ns);
                    if !sent.warnings.is_empty() {
                        self.warn(sent.warnings);
                    }
                    if is_stats_due {
                        self.notify_stats();
                    }
                    return Ok(gst::FlowSuccess::Ok);
                }
                Err(error) => error,
            };
            match error.reaction() {
                Reaction::Retry => drop(self.obj().wait_preroll()?),
                Reaction::Drop => {
                    self.count_rendered(buffer);
                    self.report_drop(&error);
                    return Ok(gst::FlowSuccess::Ok);
                }
                Reaction::Flush => return Err(gst::FlowError::Flushing),
                Reaction::Grow { bytes } if self.grow_region(bytes) => {}
                Reaction::Grow { .. } if with_metas && self.holds(buffer) => with_metas = false,
                Reaction::Grow { .. } => return Err(self.fail(gst::ResourceError::NoSpaceLeft, &error)),
                Reaction::Refuse => {
                    self.failures.failed();
                    gst::element_imp_error!(self, gst::StreamError::Format, ("{error}"), ["{}", error.hint()]);
                    return Err(gst::FlowError::Error);
                }
                Reaction::Fail(code) => return Err(self.fail(code, &error)),
            }
        }
    }
}

/// Properties, notifications and messages.
impl Shm2Sink {
    fn set_shm_path(&self, path: Option<String>) {
        lock(&self.settings).shm_path = path.unwrap_or_else(|| crate::DEFAULT_PATH.into());
    }

    fn stats(&self) -> gst::Structure {
        let region = lock(&self.state).stats();
        lock(&self.report).stats(&region)
    }

    /// Notifies of `stats` on a thread of GStreamer's, so that a handler may block.
    fn notify_stats(&self) {
        self.obj().call_async(|sink| sink.notify("stats"));
        let region = lock(&self.state).stats();
        let path = lock(&self.settings).shm_path.clone();
        let message = lock(&self.report).drop_oldest_message(&region, &path, shm2::monotonic_ns());
        crate::post_element_message(self.obj().upcast_ref(), message);
    }

    /// Warns of what is dropped of the stream while the stream itself goes on, once for each name.
    #[cold]
    pub(super) fn warn(&self, warnings: Vec<Warning>) {
        let new = lock(&self.report).new_warnings(warnings);
        for Warning { text, .. } in new {
            gst::element_imp_warning!(self, gst::StreamError::Encode, ("{text}"), ["stats counts what follows"]);
        }
    }

    /// Logs each dropped frame, posts an element message once a second, and a warning for the first frame.
    fn report_drop(&self, error: &PublishError) {
        gst::debug!(CAT, imp = self, "{error}");
        let region = lock(&self.state).stats();
        let path = lock(&self.settings).shm_path.clone();
        let message = lock(&self.report).drop_message(&region, &path, shm2::monotonic_ns());
        crate::post_element_message(self.obj().upcast_ref(), message);
        let is_first = lock(&self.report).is_first_drop();
        if is_first {
            gst::element_imp_warning!(self, gst::ResourceError::NoSpaceLeft, ("{error}"), ["{}", error.hint()]);
        }
    }
}
