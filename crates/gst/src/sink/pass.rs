//! Events on their way to the consumers.

use super::imp::{CAT, Shm2Sink};
use crate::events::Passage;
use crate::lock;
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::{FrameInfo, SendError};
use std::time::Duration;

/// Time between two attempts to send an event while the pipeline changes its state.
const RETRY: Duration = Duration::from_millis(1);

impl Shm2Sink {
    /// Sends an event to the consumers, if it is one for them.
    pub(super) fn pass_on(&self, event: &gst::EventRef) {
        let passage = lock(&self.described).take(event);
        let passed = match passage {
            Passage::Local => true,
            Passage::Described | Passage::DescribedInPart => {
                let blob = lock(&self.described).bytes();
                lock(&self.stream).iter_mut().for_each(|stream| stream.set_blob(blob.clone()));
                passage == Passage::Described
            }
            Passage::Between(list) => {
                let info = self.event_info(event);
                self.publish_event(&info, &list).is_ok()
            }
            Passage::LeftBehind => false,
        };
        if !passed {
            gst::debug!(CAT, imp = self, "left behind: {event:?}");
            lock(&self.counters).events_left_behind += 1;
        }
    }

    /// Under `block` this may wait. A pause in between does not lose the event, a flush does.
    fn publish_event(&self, info: &FrameInfo, list: &[u8]) -> Result<(), SendError> {
        loop {
            let sent = lock(&self.stream).as_mut().map(|stream| stream.publish_event(info, list));
            let is_flushing =
                || self.obj().static_pad("sink").is_none_or(|p| p.pad_flags().contains(gst::PadFlags::FLUSHING));
            match sent {
                Some(Err(SendError::Cancelled)) if !is_flushing() => std::thread::sleep(RETRY),
                sent => return sent.unwrap_or(Err(SendError::Closed)),
            }
        }
    }

    fn event_info(&self, event: &gst::EventRef) -> FrameInfo {
        let mut info = FrameInfo::new();
        if let gst::EventView::Gap(gap) = event.view() {
            let (time, duration) = gap.get();
            let timing = self.timing(Some(time), None, duration);
            (info.pts, info.time, info.duration) = (timing.pts, timing.time, timing.duration);
        }
        info
    }
}
