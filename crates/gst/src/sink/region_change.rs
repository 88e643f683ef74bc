//! Opening, closing and replacing the region of a running sink.

use super::imp::Shm2Sink;
use super::log::CAT;
use super::publisher::Publisher;
use super::region::{self, Region, State};
use super::watcher::{Presence, Watch};
use crate::lock;
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::producer::LostName;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

impl Shm2Sink {
    pub(super) fn open_region(&self, size: u64) -> Result<(), gst::ErrorMessage> {
        let (region, publisher) = self.make_region(size)?;
        *lock(&self.publisher) = Some(publisher);
        *lock(&self.presence) = Presence::default();
        let mut state = lock(&self.state);
        // A flush that began while there was no region found no handle to cancel.
        region.set_cancelled(self.is_held());
        state.replace(State::Open(region));
        Ok(())
    }

    fn make_region(&self, size: u64) -> Result<(Region, Publisher), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let description = lock(&self.description).bytes();
        let thread = format!("{}:peers", self.obj().name());
        let (sink, run) = (self.obj().downgrade(), self.run.load(Ordering::Acquire));
        let mut reported = None;
        let on_count = move |clients, watch: &Watch| {
            let Some(sink) = sink.upgrade() else { return ControlFlow::Break(()) };
            // The thread of a region that is opened counts before that region is the element's.
            if sink.imp().is_watched_by(watch) {
                sink.imp().handle_lost_name(&mut reported, watch);
                sink.imp().clients_are(clients, watch, run);
                sink.imp().forward_keyframe_requests();
            }
            ControlFlow::Continue(())
        };
        let opened = Region::open(&settings, size, description, thread, on_count);
        let (region, publisher) = opened.map_err(|error| error.message())?;
        let arena = region.stats().arena_bytes;
        gst::info!(CAT, imp = self, "opened {}, an arena of {arena} bytes, with {settings:?}", settings.shm_path);
        Ok((region, publisher))
    }

    pub(super) fn close_region(&self, next: State) {
        let region = lock(&self.state).replace(next);
        if let Some(region) = region {
            lock(&self.report).region_closed(&region.stats());
            region.close();
        }
        drop(lock(&self.publisher).take());
        gst::info!(CAT, imp = self, "closed");
    }

    /// With `shm-size=0`, replaces the region if frames of these caps need a larger one; consumers attach to the new
    /// one.
    pub(super) fn fit_region(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let settings = lock(&self.settings).clone();
        let size = settings.size_for(Some(caps));
        let is_large_enough = settings.shm_size != 0 || size <= lock(&self.state).size();
        if !is_large_enough && !self.replace_region(size) {
            return Err(gst::loggable_error!(CAT, "no region for {caps}"));
        }
        let arena = lock(&self.state).region().map(|region| region.stats().arena_bytes);
        if let Some(warning) = arena.and_then(|arena| region::few_frames_warning(arena, caps)) {
            gst::element_imp_warning!(self, gst::ResourceError::NoSpaceLeft, ("{warning}"));
        }
        Ok(())
    }

    /// The same for a frame that is larger than its caps say.
    pub(super) fn grow_region(&self, frame_bytes: u64) -> bool {
        let settings = lock(&self.settings).clone();
        let before = lock(&self.state).size();
        let is_replaced = settings.larger_size(before, frame_bytes).is_some_and(|size| self.replace_region(size));
        if is_replaced {
            lock(&self.publisher).iter_mut().for_each(|publisher| self.set_current_caps(publisher));
            self.renegotiate();
        }
        is_replaced
    }

    fn is_watched_by(&self, watch: &Watch) -> bool {
        lock(&self.state).region().is_some_and(|region| region.is_watched_by(watch))
    }

    /// Opens a region that has lost its name again. While that fails, posts one warning and tries again at each count.
    /// Called on the region's watching thread.
    fn handle_lost_name(&self, reported: &mut Option<LostName>, watch: &Watch) {
        let Some(lost) = lock(&self.state).region().and_then(Region::lost_name) else {
            *reported = None;
            return;
        };
        let reason = match lost {
            LostName::Removed => match self.reopen_region(watch) {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
            _ => "remove that file, or stop what makes it".into(),
        };
        if reported.replace(lost) != Some(lost) {
            let text = format!("new consumers cannot find the region of {}: {lost}", lock(&self.settings).shm_path);
            gst::element_imp_warning!(self, gst::ResourceError::NotFound, ("{text}"), ["{reason}"]);
        }
    }

    /// Replaces the open region by another one at the same path, which is free because the old region has lost its name.
    /// No frame is refused in between, and the stream continues. Does nothing for a region that `watch` does not watch.
    fn reopen_region(&self, watch: &Watch) -> Result<(), gst::ErrorMessage> {
        let changing = lock(&self.changing);
        if !self.is_watched_by(watch) {
            return Ok(());
        }
        let size = lock(&self.state).size();
        let (region, publisher) = self.make_region(size)?;
        let old = {
            let mut current = lock(&self.publisher);
            let mut state = lock(&self.state);
            region.set_cancelled(self.is_held());
            let producer = current.as_mut().map(|current| current.replace_producer(publisher.into_producer()));
            (state.replace(State::Open(region)), producer)
        };
        *lock(&self.presence) = Presence::default();
        if let (Some(region), producer) = old {
            lock(&self.report).region_closed(&region.stats());
            region.close();
            drop(producer);
        }
        drop(changing);
        gst::warning!(CAT, imp = self, "the region's file was removed: another one is in its place");
        self.renegotiate();
        Ok(())
    }

    /// Shows the caps that upstream will send, where it has only one choice: an idle source sends none, and a program
    /// that looks for a camera shall find it.
    pub(super) fn show_upstream_caps(&self) {
        let caps = self.obj().static_pad("sink").filter(|pad| !pad.has_current_caps());
        let caps = caps.and_then(|pad| pad.peer()).map(|peer| peer.query_caps(None));
        if let Some(caps) = caps.filter(|caps| caps.is_fixed() && crate::caps::is_system_memory(caps)) {
            self.show_caps(&caps);
        }
    }

    pub(super) fn show_caps(&self, caps: &gst::CapsRef) {
        self.without_waiting(|| lock(&self.publisher).iter_mut().for_each(|publisher| publisher.show_caps(caps)));
    }

    fn set_current_caps(&self, publisher: &mut Publisher) {
        if let Some(caps) = self.obj().static_pad("sink").and_then(|pad| pad.current_caps()) {
            publisher.set_caps(&caps);
        }
    }

    /// Opens the region for a frame that came without caps. True if it is open; else an error was posted.
    pub(super) fn open_for_frame(&self, size: u64) -> bool {
        let changing = lock(&self.changing);
        let opened = self.open_region(size);
        drop(changing);
        let is_open = opened.map_err(|error| self.post_error_message(error)).is_ok();
        if is_open {
            lock(&self.publisher).iter_mut().for_each(|publisher| self.set_current_caps(publisher));
            self.renegotiate();
        }
        is_open
    }

    /// Has upstream ask for memory again, where no caps follow with which it would.
    fn renegotiate(&self) {
        self.obj().static_pad("sink").map(|pad| pad.push_event(gst::event::Reconfigure::new()));
    }

    /// True if the new region is open; else an error was posted.
    fn replace_region(&self, size: u64) -> bool {
        let changing = lock(&self.changing);
        self.close_region(State::Pending);
        let opened = self.open_region(size);
        drop(changing);
        opened.map_err(|error| self.post_error_message(error)).is_ok()
    }

    /// Calls `send`, which returns [`SendError::Cancelled`](shm2::SendError::Cancelled) instead of waiting.
    pub(super) fn without_waiting<T>(&self, send: impl FnOnce() -> T) -> T {
        let set_cancelled = |is_cancelled: &dyn Fn() -> bool| {
            let state = lock(&self.state);
            state.handle().into_iter().for_each(|handle| handle.set_cancelled(is_cancelled()));
        };
        set_cancelled(&|| true);
        let sent = send();
        set_cancelled(&|| self.is_held());
        sent
    }

    fn is_held(&self) -> bool {
        self.holds.load(Ordering::Acquire) > 0
    }

    /// Ends waiting calls of the streaming thread until a [`release`](Self::release) for each hold.
    pub(super) fn hold(&self) {
        self.change_holds(|holds| holds + 1);
    }

    pub(super) fn release(&self) {
        self.change_holds(|holds| holds.saturating_sub(1));
    }

    fn change_holds(&self, change: impl Fn(u32) -> u32) {
        // Under the lock, so that a region that is opened meanwhile gets the same value.
        let state = lock(&self.state);
        self.holds.store(change(self.holds.load(Ordering::Acquire)), Ordering::Release);
        state.region().into_iter().for_each(|region| region.set_cancelled(self.is_held()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Shm2Sink, publisher::PublishError, settings::FullPolicy, timing::Timing};
    use super::*;
    use shm2::SendError;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_region_that_is_opened_while_the_pipeline_flushes_does_not_wait_for_consumers() {
        gst::init().unwrap();
        let directory = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
        let path = format!("{directory}shm2-gst-unit-{}-flushing", std::process::id());
        let sink = gst::glib::Object::builder::<Shm2Sink>()
            .property("shm-path", &path)
            .property("shm-size", 0u64)
            .property("full-policy", FullPolicy::Block)
            .build();
        sink.imp().open_region(16 << 20).unwrap();
        sink.imp().hold();
        assert!(sink.imp().replace_region(24 << 20));
        let consumer = shm2::Consumer::builder(&path).unwrap().start(shm2::Start::Oldest).attach(Some(LIMIT)).unwrap();
        let (ended, end) = channel();
        let streaming = sink.clone();
        std::thread::spawn(move || {
            let mut publisher = lock(&streaming.imp().publisher);
            let publisher = publisher.as_mut().unwrap();
            let mut publish = || publisher.publish(&gst::Buffer::new(), Timing::default(), 0, true);
            let sent = (0..=shm2::layout::CELLS).try_for_each(|_| publish().map(drop));
            let _ = ended.send(sent);
        });
        let sent = end.recv_timeout(LIMIT).expect("the streaming thread waits for the consumer");
        assert_eq!(sent, Err(PublishError::Send(SendError::Cancelled)));
        sink.imp().release();
        drop(consumer);
        let next =
            lock(&sink.imp().publisher).as_mut().unwrap().publish(&gst::Buffer::new(), Timing::default(), 0, true);
        assert!(next.is_ok(), "{next:?}");
        sink.imp().close_region(State::Stopped);
    }
}
