//! Readers of a video device as demand: a browser that shows the device of a `v4l2sink` switches the camera on.

use super::v4l2::Device;
use crate::event::{Event, Events};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{info, warn};

/// Interval at which the state is read anew, so that an event that was lost does no lasting harm.
const REFRESH: Duration = Duration::from_secs(10);
/// Pause before a device that failed is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// A device that reports how many programs read from it.
trait Usage: Sized {
    /// Opens it; the first event is its present state.
    fn open(path: &Path) -> io::Result<Self>;
    /// Waits for an event, up to a time. False if none came.
    fn wait(&self, time: Duration) -> io::Result<bool>;
    /// The number of readers in the next event; `None` if there is no event now.
    fn next_count(&self) -> io::Result<Option<u32>>;
}

/// Reports the readers of a device by [`Event::VideoDevice`] until this process ends.
///
/// # Errors
/// When the device does not report its readers.
pub fn watch_video_device(path: PathBuf, number: usize, events: Events) -> io::Result<()> {
    let mut follower = Follower::<Device>::new(path, number, events)?;
    let follow = move || {
        loop {
            std::thread::sleep(follower.step());
        }
    };
    std::thread::Builder::new().name("video-device".into()).spawn(follow).map(drop)
}

impl Usage for Device {
    fn open(path: &Path) -> io::Result<Self> {
        Self::open(path)
    }

    fn wait(&self, time: Duration) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut polled = [PollFd::new(self, PollFlags::PRI)];
        let time = rustix::time::Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut polled, Some(&time)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
            // A device that is gone has this flag, too: the next event is an error.
            Ok(_) if polled[0].revents().contains(PollFlags::PRI) => Ok(true),
            Ok(_) => {
                // Not an event: the device is opened anew, but not at once.
                std::thread::sleep(PAUSE);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn next_count(&self) -> io::Result<Option<u32>> {
        self.next_count()
    }
}

/// Follows one device.
struct Follower<U> {
    path: PathBuf,
    number: usize,
    events: Events,
    /// `None` after a failure.
    device: Option<U>,
    /// What was reported last.
    is_used: bool,
    is_failure_logged: bool,
}

impl<U: Usage> Follower<U> {
    fn new(path: PathBuf, number: usize, events: Events) -> io::Result<Self> {
        let device = Some(U::open(&path)?);
        Ok(Self { path, number, events, device, is_used: false, is_failure_logged: false })
    }

    /// Waits for events and reports what changed. Returns the time to sleep before the next call.
    fn step(&mut self) -> Duration {
        match self.follow() {
            Ok(()) => {
                self.is_failure_logged = false;
                Duration::ZERO
            }
            Err(error) => {
                self.device = None;
                if !std::mem::replace(&mut self.is_failure_logged, true) {
                    warn!("readers of {} are not seen: {error}", self.path.display());
                }
                // Of a device that is there and cannot be opened now, the last state holds.
                let gone = [Errno::NOENT, Errno::NODEV, Errno::NXIO].map(|gone| Some(gone.raw_os_error()));
                let is_gone = gone.contains(&error.raw_os_error());
                if is_gone {
                    self.report(false);
                }
                PAUSE
            }
        }
    }

    fn follow(&mut self) -> io::Result<()> {
        let device = match self.device.take() {
            Some(device) => device,
            None => U::open(&self.path)?,
        };
        if device.wait(REFRESH)? {
            let mut last = None;
            while let Some(count) = device.next_count()? {
                last = Some(count);
            }
            last.into_iter().for_each(|count| self.report(count > 0));
            self.device = Some(device);
        }
        // Without an event the device is opened again: the first event is its state.
        Ok(())
    }

    fn report(&mut self, is_used: bool) {
        if std::mem::replace(&mut self.is_used, is_used) != is_used {
            info!("{} {}", self.path.display(), if is_used { "is read" } else { "is not read any more" });
            self.events.send(Event::VideoDevice(self.number, is_used));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// What happens to the device, in order.
    #[derive(Clone, Copy)]
    enum Happening {
        Counts(&'static [u32]),
        Silence,
        Failure,
        Busy,
    }

    thread_local! {
        static HAPPENINGS: RefCell<VecDeque<Happening>> = const { RefCell::new(VecDeque::new()) };
        static OPENED: RefCell<usize> = const { RefCell::new(0) };
    }

    struct Fake(RefCell<VecDeque<u32>>);

    impl Usage for Fake {
        fn open(_: &Path) -> io::Result<Self> {
            OPENED.with_borrow_mut(|count| *count += 1);
            Ok(Self(RefCell::default()))
        }

        fn wait(&self, _: Duration) -> io::Result<bool> {
            match HAPPENINGS.with_borrow_mut(VecDeque::pop_front).expect("no further call") {
                Happening::Counts(counts) => self.0.borrow_mut().extend(counts),
                Happening::Silence => return Ok(false),
                Happening::Failure => return Err(Errno::NODEV.into()),
                Happening::Busy => return Err(Errno::BUSY.into()),
            }
            Ok(true)
        }

        fn next_count(&self) -> io::Result<Option<u32>> {
            Ok(self.0.borrow_mut().pop_front())
        }
    }

    #[test]
    fn changes_of_the_readers_are_reported_once_and_a_lost_event_or_device_does_no_lasting_harm() {
        let (events, inbox) = Events::new();
        let mut follower = Follower::<Fake>::new("/dev/video10".into(), 3, events).unwrap();
        let mut reports = |happening| {
            HAPPENINGS.with_borrow_mut(|all| all.push_back(happening));
            let pause = follower.step();
            let is_used = inbox.try_iter().map(|event| match event {
                Event::VideoDevice(3, is_used) => is_used,
                other => panic!("{other:?}"),
            });
            (is_used.collect::<Vec<_>>(), pause)
        };
        let now = Duration::ZERO;
        assert_eq!(reports(Happening::Counts(&[0])), (vec![], now), "the state at the start");
        assert_eq!(reports(Happening::Counts(&[1])), (vec![true], now));
        assert_eq!(reports(Happening::Counts(&[2, 1])), (vec![], now));
        assert_eq!(reports(Happening::Counts(&[0, 1, 0])), (vec![false], now), "only the last event counts");
        assert_eq!(reports(Happening::Silence), (vec![], now));
        assert_eq!(reports(Happening::Counts(&[1])), (vec![true], now), "an event was lost");
        assert_eq!(reports(Happening::Busy), (vec![], PAUSE), "the last state holds");
        assert_eq!(reports(Happening::Failure), (vec![false], PAUSE));
        assert_eq!(reports(Happening::Counts(&[1])), (vec![true], now));
        assert_eq!(OPENED.with_borrow(|count| *count), 4);
    }
}
