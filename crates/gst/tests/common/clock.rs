//! A pipeline clock far from the system's: ahead, drifting, and showing steps as sound cards do.

use gst::glib;
use gst::subclass::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

const AHEAD: u64 = 3 * 86_400_000_000_000;
const STEP: u64 = 500_000;

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct Card {
        pub(super) start: AtomicU64,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Card {
        const NAME: &'static str = "Shm2TestCard";
        type Type = super::Card;
        type ParentType = gst::SystemClock;
    }

    impl ObjectImpl for Card {}
    impl GstObjectImpl for Card {}
    impl SystemClockImpl for Card {}

    impl ClockImpl for Card {
        fn internal_time(&self) -> gst::ClockTime {
            gst::ClockTime::from_nseconds(self.obj().at(shm2::monotonic_ns()) / STEP * STEP)
        }
    }
}

glib::wrapper! {
    pub struct Card(ObjectSubclass<imp::Card>) @extends gst::SystemClock, gst::Clock, gst::Object;
}

impl Card {
    pub fn new() -> Self {
        let new: Self = glib::Object::new();
        new.imp().start.store(shm2::monotonic_ns(), Ordering::Relaxed);
        new
    }

    /// What it shows without its steps when the monotonic clock shows `now`: 200 ppm fast.
    pub fn at(&self, now: u64) -> u64 {
        let run = now.saturating_sub(self.imp().start.load(Ordering::Relaxed));
        AHEAD + run + run / 5000
    }
}
