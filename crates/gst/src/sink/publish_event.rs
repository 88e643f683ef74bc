//! Events on their way into the region. The base class passes them to the element on the streaming thread, with its
//! preroll lock held; a state change or a flush takes that lock. So a call that was cancelled waits for the pipeline
//! with [`wait_preroll`](BaseSinkExt::wait_preroll), which releases it.

use super::imp::Shm2Sink;
use super::log::CAT;
use super::publisher::Publisher;
use crate::events::Transport;
use crate::lock;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use shm2::{FrameInfo, SendError};

impl Shm2Sink {
    /// Publishes an event, or makes it part of the stream's description.
    pub(super) fn publish_event(&self, event: &gst::EventRef) {
        let transport = lock(&self.description).take(event);
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
                self.send_over_pauses(|publisher| publisher.publish_event(&info, &items)).is_ok()
            }
            Transport::Dropped => false,
        };
        if !is_whole {
            gst::debug!(CAT, imp = self, "dropped, at least in part: {event:?}");
            lock(&self.report).count_dropped_event();
        }
    }

    /// Publishes the end of the stream, with sticky events that no frame took along.
    pub(super) fn publish_end(&self) -> Result<(), SendError> {
        self.send_over_pauses(Publisher::end_of_stream)
    }

    /// Blocks under `full-policy=block`. What a pause cancels is sent when the pipeline plays again;
    /// [`SendError::Cancelled`] if it is flushed instead.
    fn send_over_pauses(&self, mut send: impl FnMut(&mut Publisher) -> Result<(), SendError>) -> Result<(), SendError> {
        loop {
            let sent = lock(&self.publisher).as_mut().map_or(Err(SendError::Closed), &mut send);
            // Without a flush the wait ends when the pipeline plays, or when it is to step: the item is sent then, too.
            let is_cancelled = sent == Err(SendError::Cancelled);
            if !is_cancelled || self.obj().wait_preroll() == Err(gst::FlowError::Flushing) {
                return sent;
            }
        }
    }
}
