//! What a sink tells of its clients: the property `num-clients`, the signals, and the request for a keyframe. Handlers
//! may do anything, also change the element's state or wait for a thread that does. So they run on the threads that
//! watch for clients, and no other thread ever waits for these.

use super::imp::Shm2Sink;
use super::keyframe::{self, Admission};
use super::log::CAT;
use super::region::Region;
use super::report::ClientChange;
use super::watcher::Watch;
use crate::lock;
use gst::prelude::*;
use gst::subclass::prelude::*;
use std::sync::atomic::Ordering;

impl Shm2Sink {
    /// Called on a watching thread of the run with this number. After the end of that run nothing more is emitted.
    pub(super) fn clients_are(&self, clients: u32, watch: &Watch, run: u64) {
        // The next region has another watching thread, while a handler may still run on this one.
        let _turn = lock(&self.signals);
        let change = {
            let mut report = lock(&self.report);
            // A watch ends before `stop` takes this lock to set the number to 0.
            if watch.is_over() { None } else { report.set_clients(clients) }
        };
        let sink = self.obj();
        let is_running = || self.run.load(Ordering::Acquire) == run;
        if change.is_some() && is_running() {
            gst::info!(CAT, imp = self, "{clients} consumers");
            sink.notify("num-clients");
        }
        if change == Some(ClientChange::Connected) && is_running() {
            // A new consumer can decode nothing before a keyframe.
            self.request_keyframe();
        }
        let Some(change) = change else { return };
        if is_running() {
            let signal = match change {
                ClientChange::Connected => "client-connected",
                ClientChange::Disconnected => "client-disconnected",
            };
            sink.emit_by_name::<()>(signal, &[&clients]);
        }
    }

    /// Passes requests of consumers on. Called on the thread that watches the region, which their requests wake, and on the
    /// streaming thread, as there may be no such watch.
    pub(super) fn forward_keyframe_requests(&self) {
        let is_requested = lock(&self.state).region().is_some_and(Region::has_new_keyframe_request);
        if is_requested {
            self.request_keyframe();
        }
    }

    /// Asks upstream for a keyframe: at once, or when the last request is 300 ms old. Elements upstream and probes on
    /// their pads handle the event on the calling thread. Of this element's locks it holds `signals` at most.
    pub(super) fn request_keyframe(&self) {
        let admission = lock(&self.keyframes).admit(shm2::monotonic_ns());
        match admission {
            Admission::Send => self.push_keyframe_request(),
            Admission::Join => {}
            Admission::Wait(time) => {
                let run = self.run.load(Ordering::Acquire);
                self.obj().call_async(move |sink| {
                    std::thread::sleep(time);
                    // The next run has requests of its own.
                    if sink.imp().run.load(Ordering::Acquire) == run {
                        lock(&sink.imp().keyframes).end_wait(shm2::monotonic_ns());
                        sink.imp().push_keyframe_request();
                    }
                });
            }
        }
    }

    fn push_keyframe_request(&self) {
        let Some(pad) = self.obj().static_pad("sink") else { return };
        gst::debug!(CAT, imp = self, "asking for a keyframe");
        pad.push_event(keyframe::event(pad.current_caps().as_deref()));
    }
}
