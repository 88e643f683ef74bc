//! Events on their way into the region. The base class passes them to the element on the streaming thread, with its
//! preroll lock held; a state change or a flush takes that lock. So a call that finds no free space before PLAYING, or
//! that was cancelled, waits for the pipeline by the functions of the base class that release the lock.

use super::imp::Shm2Sink;
use super::log::CAT;
use super::preroll::preroll;
use super::publisher::Publisher;
use super::settings::FullPolicy;
use crate::events::Transport;
use crate::lock;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use shm2::{FrameInfo, SendError};

impl Shm2Sink {
    /// Publishes an event, or makes it part of the stream's description.
    pub(super) fn publish_event(&self, event: &gst::EventRef) {
        let (transport, warnings) = {
            let mut description = lock(&self.description);
            (description.take(event), description.take_warnings())
        };
        self.warn(warnings);
        let is_whole = match transport {
            Transport::Local => true,
            Transport::Described | Transport::DescribedInPart => {
                let description = lock(&self.description).bytes();
                let mut publisher = lock(&self.publisher);
                publisher.iter_mut().for_each(|publisher| publisher.set_description(description.clone()));
                transport == Transport::Described
            }
            Transport::Between(items) => {
                let info = match event.view() {
                    gst::EventView::Gap(gap) => self.timing(gap.into()).frame_info(),
                    _ => FrameInfo::new(),
                };
                self.send_over_pauses(event, |publisher| publisher.publish_event(&info, &items)).is_ok()
            }
            Transport::Dropped => false,
        };
        if !is_whole {
            gst::debug!(CAT, imp = self, "dropped, at least in part: {event:?}");
            lock(&self.report).count_dropped_event();
        }
    }

    /// Publishes the end of the stream, with sticky events that no frame took along.
    pub(super) fn publish_end(&self, event: &gst::EventRef) -> Result<(), SendError> {
        self.send_over_pauses(event, Publisher::end_of_stream)
    }

    /// Blocks under `full-policy=block`, in PLAYING only. What a pause cancels is sent when the pipeline plays again;
    /// [`SendError::Cancelled`] if it is flushed instead.
    fn send_over_pauses(
        &self,
        event: &gst::EventRef,
        mut send: impl FnMut(&mut Publisher) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let mut send = || lock(&self.publisher).as_mut().map_or(Err(SendError::Closed), &mut send);
        loop {
            if lock(&self.settings).full_policy == FullPolicy::Block {
                // The change to PLAYING takes the preroll lock without an `unlock` before it.
                match self.without_waiting(&mut send) {
                    Err(SendError::Cancelled | SendError::Recovering) => {}
                    sent => return sent,
                }
                if preroll(&self.obj(), event) == Err(gst::FlowError::Flushing) {
                    return Err(SendError::Cancelled);
                }
            }
            let sent = send();
            // Without a flush the wait ends when the pipeline plays, or when it is to step.
            let is_cancelled = sent == Err(SendError::Cancelled);
            if !is_cancelled || self.obj().wait_preroll() == Err(gst::FlowError::Flushing) {
                return sent;
            }
        }
    }
}
