//! What the source does while no item comes: reports of silence, and frames or gaps in place of those that are missing.

use super::fill::Slot;
use super::imp::Shm2Src;
use super::log::CAT;
use super::report::silence_message;
use super::settings::SilenceAction;
use super::stream::Stream;
use super::waits::Change;
use crate::clock::clock_time;
use crate::lock;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;

impl Shm2Src {
    /// Each begin and end of a silence becomes an element message; an error if that is set.
    #[cold]
    pub(super) fn report_silence(&self, stream: &mut Stream) -> Result<(), gst::FlowError> {
        let settings = lock(&self.settings).clone();
        let path = &settings.shm_path;
        for change in stream.waits.take_changes() {
            let message = silence_message(change, settings.silence_timeout, path);
            gst::info!(CAT, imp = self, "{message}");
            crate::post_element_message(self.obj().upcast_ref(), Some(message));
            if change == Change::Begun && settings.silence_action == SilenceAction::Error {
                let milliseconds = settings.silence_timeout / 1_000_000;
                let text = format!("the producer of {path} is alive and has sent nothing for {milliseconds} ms");
                gst::element_imp_error!(self, gst::ResourceError::Read, ("{text}"));
                return Err(gst::FlowError::Error);
            }
        }
        Ok(())
    }

    /// Fills the next slot if one is due: pushes a gap event, or returns the last frame again.
    #[cold]
    pub(super) fn fill(&self, stream: &mut Stream) -> Option<gst::Buffer> {
        let slot = stream.fill.take(stream.is_attached(), shm2::monotonic_ns())?;
        if stream.is_mapped && lock(&self.resumption).is_stale(slot.due_ns) {
            // The frame would have been skipped.
            return None;
        }
        let pts = self.slot_pts(stream, slot);
        if stream.fill.covers(pts) {
            // Around a pause the running time may go back by some milliseconds.
            return None;
        }
        if stream.followed.media().is_raw() {
            stream.fill.cover(pts);
        }
        let time = pts.and_then(|pts| stream.timeline.clock_time(pts));
        let again = stream.fill.repeat(time, slot.duration);
        let now = || stream.timeline.clock_time(self.running_ns()?.try_into().ok()?);
        if again.is_none()
            && let Some(time) = time.or_else(now)
        {
            let gap = gst::event::Gap::builder(time).duration(clock_time(slot.duration)).build();
            self.push_after_segment(stream, gap);
        }
        lock(&self.report).count_filled();
        self.notify_stats(shm2::monotonic_ns());
        again
    }

    fn slot_pts(&self, stream: &mut Stream, slot: Slot) -> Option<i64> {
        let src = self.obj();
        if src.does_timestamp() {
            // The base class sets the time of arrival.
            return None;
        }
        self.timebase(stream).zip(slot.due_ns).map(|(timebase, due)| timebase.to_running(due)).or(slot.pts)
    }

    fn running_ns(&self) -> Option<u64> {
        self.obj().current_running_time().map(gst::ClockTime::nseconds)
    }
}
