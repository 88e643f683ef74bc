//! The streaming thread: from a buffer to the publisher, with its times, and what is waited for before.

use super::imp::Shm2Sink;
use super::log::CAT;
use super::publisher::{PublishError, Sent};
use super::region::State;
use super::settings::Settings;
use super::timing::{StreamTimes, Timing};
use crate::lock;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use shm2::SendError;

impl Shm2Sink {
    /// Whether the open region has space for the buffer's own bytes, so that its metas are what is too large.
    pub(super) fn holds(&self, buffer: &gst::BufferRef) -> bool {
        lock(&self.state).region().is_some_and(|region| buffer.size() as u64 <= region.stats().arena_bytes)
    }

    pub(super) fn publish(&self, buffer: &gst::Buffer, with_metas: bool) -> Result<Sent, PublishError> {
        self.prepare_region()?;
        let timing = self.timing(StreamTimes::from(&**buffer));
        self.warn_of_untimed(buffer, timing);
        let latency = self.latency.current(self.obj().upcast_ref(), || lock(&self.settings).shm_path.clone());

        let mut publisher = lock(&self.publisher);
        let publisher = publisher.as_mut().ok_or(SendError::Closed)?;
        publisher.publish(buffer, timing, latency, with_metas)
    }

    /// Opens the region if that is due, and waits for a consumer if that is set.
    fn prepare_region(&self) -> Result<(), SendError> {
        let is_pending = matches!(*lock(&self.state), State::Pending);
        let waits = lock(&self.settings).wait_for_connection;
        if !is_pending && !waits {
            return Ok(());
        }
        let settings = lock(&self.settings).clone();
        if is_pending && !self.open_for_frame(settings.size_for(None)) {
            self.failures.failed();
            return Err(SendError::Closed);
        }
        if waits { self.wait_for_client(&settings) } else { Ok(()) }
    }

    /// Publishes the end of the stream, unless it follows a failure of this sink, or is not to be forwarded.
    pub(super) fn end_stream(&self, event: &gst::EventRef) -> Result<(), SendError> {
        let follows_failure = self.obj().static_pad("sink").is_some_and(|pad| self.failures.explain(&pad));
        if follows_failure || !lock(&self.settings).forward_eos {
            gst::info!(CAT, imp = self, "the end of stream is not published; after a failure: {follows_failure}");
            return Ok(());
        }
        self.publish_end(event)
    }

    pub(super) fn timing(&self, times: StreamTimes) -> Timing {
        let sink = self.obj();
        let timebase = lock(&self.clock).timebase(&*sink);
        let timing = Timing::new(&sink.segment(), times, timebase);
        let shift = timing.running().map(|running| lock(&self.rate_control).shift(sink.upcast_ref(), running));
        timing.due_later_by(shift.unwrap_or_default())
    }

    /// Consumers invent the times of a stream without absolute times. A muxer's headers have none in any case.
    fn warn_of_untimed(&self, buffer: &gst::Buffer, timing: Timing) {
        let has_time = timing.is_absolute();
        if !has_time && buffer.flags().contains(gst::BufferFlags::HEADER) {
            return;
        }
        if lock(&self.report).is_first_untimed(has_time) {
            self.post_untimed(buffer);
        }
    }

    #[cold]
    fn post_untimed(&self, buffer: &gst::Buffer) {
        let text = "frames have no absolute time: live consumers use the time of their publication";
        let reason = match (self.obj().segment().format(), buffer.pts()) {
            (gst::Format::Time, None) => "buffers have no timestamps: set do-timestamp=true at the source",
            (gst::Format::Time, Some(_)) => "the pipeline has no clock",
            _ => "the segment is not in time: set format=time at the source",
        };
        gst::element_imp_warning!(self, gst::StreamError::Format, ("{text}"), ["{reason}"]);
    }

    pub(super) fn count_rendered(&self, buffer: &gst::Buffer) {
        lock(&self.rate_control).count(buffer.size() as u64, self.obj().max_bitrate());
    }

    fn wait_for_client(&self, settings: &Settings) -> Result<(), SendError> {
        loop {
            let handle = lock(&self.state).handle().ok_or(SendError::Closed)?;
            if handle.is_closed() {
                // The publisher reports why.
                return Ok(());
            }
            let mut presence = std::mem::take(&mut *lock(&self.presence));
            let result = presence.wait(&handle, &self.holds, || {
                if settings.may_have_unseen_consumers() {
                    let hint = "a consumer in another virtual machine is visible with access=lease only";
                    gst::element_imp_info!(self, gst::ResourceError::NotFound, ("waiting for a consumer"), ["{hint}"]);
                }
            });
            // The region was replaced meanwhile: what is known of its clients does not hold for the next one.
            if !matches!(result, Ok(false)) {
                *lock(&self.presence) = presence;
                return result.map(drop);
            }
        }
    }

    pub(super) fn fail(&self, code: gst::ResourceError, error: &PublishError) -> gst::FlowError {
        self.failures.failed();
        let shm_size = lock(&self.settings).shm_size;
        gst::element_imp_error!(self, code, ("{error}"), ["shm-size is {shm_size} bytes"]);
        gst::FlowError::Error
    }
}
