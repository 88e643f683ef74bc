//! The connection to PipeWire, and the loop of the program.

use crate::camera::Camera;
use crate::entered::Entered;
use crate::pauses::Pauses;
use pipewire::context::ContextRc;
use pipewire::core::{CoreRc, Listener};
use pipewire::loop_::Timeout;
use pipewire::types::ObjectType;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm2_cli::complain;
use shm2_cli::stop::Stop;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Time for PipeWire to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The code with which PipeWire reports the end of a connection.
const EPIPE: i32 = rustix::io::Errno::PIPE.raw_os_error();
/// Time for a name to become free: the node of a program that was killed goes a moment after it.
const RELEASE: Duration = Duration::from_secs(1);

/// A connection.
pub struct Session {
    // In the order in which they must go.
    _listener: Listener,
    core: CoreRc,
    _context: ContextRc,
    main: Entered,
    reported: Rc<Reported>,
}

#[derive(Default)]
struct Reported {
    is_lost: Cell<bool>,
    is_done: Cell<bool>,
}

impl Session {
    /// # Errors
    /// A sentence when PipeWire does not run here.
    pub fn connect() -> Result<Self, String> {
        Self::try_connect().map_err(|error| {
            let folder = ["PIPEWIRE_RUNTIME_DIR", "XDG_RUNTIME_DIR"].into_iter().find_map(std::env::var_os);
            let place = folder.map_or("(XDG_RUNTIME_DIR is not set)".into(), |f| format!("in {}", f.display()));
            format!(
                "cannot connect to PipeWire {place}: {error}: start it, such as with `systemctl --user start pipewire \
                 wireplumber`, as the user of this program"
            )
        })
    }

    fn try_connect() -> Result<Self, pipewire::Error> {
        let main = Entered::new()?;
        let context = ContextRc::new(main.main(), None)?;
        let core = context.connect_rc(None)?;
        let reported = Rc::new(Reported::default());
        let (lost, done) = (reported.clone(), reported.clone());
        let listener = core.add_listener_local();
        // Errors of single objects, and of requests that came too late, do not end the connection.
        let listener =
            listener.error(move |id, _, code, _| lost.is_lost.set(lost.is_lost.get() || (id == 0 && code == -EPIPE)));
        let listener = listener.done(move |_, _| done.is_done.set(true)).register();
        Ok(Self { _listener: listener, core, _context: context, main, reported })
    }

    /// Gives each camera a name that no other node has. `given` is the name that the user wants.
    ///
    /// # Errors
    /// A sentence when the given name is taken, or PipeWire does not answer.
    pub fn name(&self, cameras: &mut [Camera], given: Option<&str>) -> Result<(), String> {
        let nodes = Rc::new(RefCell::new(HashMap::new()));
        let (added, removed) = (nodes.clone(), nodes.clone());
        let failed = |error: pipewire::Error| format!("cannot list the nodes of PipeWire: {error}");
        let registry = self.core.get_registry_rc().map_err(failed)?;
        let listener = registry.add_listener_local();
        let listener = listener.global(move |global| {
            let name = global.props.and_then(|properties| properties.get("node.name"));
            if let Some(name) = name.filter(|_| global.type_ == ObjectType::Node) {
                added.borrow_mut().insert(global.id, name.to_owned());
            }
        });
        let _listener = listener.global_remove(move |id| drop(removed.borrow_mut().remove(&id))).register();
        self.core.sync(0).map_err(failed)?;
        self.iterate(ANSWER, || self.reported.is_done.get());
        if !self.reported.is_done.get() {
            return Err("PipeWire does not answer: look at its log, or start it again".into());
        }
        let mut own: Vec<String> = Vec::new();
        for camera in cameras {
            let wanted = given.map_or_else(|| default_name(&camera.region), str::to_owned);
            let is_taken = |name: &str| {
                own.iter().any(|other| other == name) || nodes.borrow().values().any(|other| other == name)
            };
            self.iterate(RELEASE, || !is_taken(&wanted));
            camera.name = match given {
                Some(name) if is_taken(name) => {
                    return Err(format!("a node of PipeWire has the name {name:?} already: give another --node-name"));
                }
                Some(name) => name.to_owned(),
                None => free_name(&wanted, is_taken),
            };
            own.push(camera.name.clone());
        }
        Ok(())
    }

    /// Runs PipeWire's loop until `is_done`, or for `limit`.
    fn iterate(&self, limit: Duration, is_done: impl Fn() -> bool) {
        let deadline = Instant::now() + limit;
        while !is_done() && !self.reported.is_lost.get() && Instant::now() < deadline {
            self.main.iterate(Timeout::Finite(Duration::from_millis(50)));
        }
    }

    /// Shows the cameras until a stop is requested (true), or PipeWire goes (false).
    fn run(&self, cameras: &mut [Camera], stop: &Stop, stopped: &OwnedFd) -> bool {
        for camera in cameras.iter_mut() {
            if camera.connect(&self.core).is_err() {
                return false;
            }
        }
        loop {
            self.main.iterate(Timeout::Finite(Duration::ZERO));
            if stop.is_set() || self.reported.is_lost.get() {
                return stop.is_set();
            }
            let next = cameras.iter_mut().map(|camera| camera.step(&self.core)).min();
            self.wait(cameras, stopped, next.unwrap_or_else(Instant::now));
        }
    }

    fn wait(&self, cameras: &mut [Camera], stopped: &OwnedFd, until: Instant) {
        let mut places = vec![PollFd::new(stopped, PollFlags::IN)];
        places.push(PollFd::from_borrowed_fd(self.main.loop_().fd(), PollFlags::IN));
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        places.extend(cameras.iter_mut().filter_map(Camera::descriptor).map(readable));
        // A millisecond more, so that the time has passed for sure.
        let time = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        // An interrupted wait only ends early.
        let _ = poll(&mut places, Some(&time));
    }
}

/// Shows cameras until a stop is requested, over restarts of PipeWire.
pub fn serve(first: Session, cameras: &mut [Camera], stop: &Stop, stopped: &OwnedFd) {
    let (mut session, mut pauses) = (Some(first), Pauses::new());
    while !stop.is_set() {
        if let Some(session) = session.take() {
            pauses.made();
            if session.run(cameras, stop, stopped) {
                break;
            }
            complain!("shm2-camera: the connection to PipeWire is lost; trying again");
        }
        cameras.iter_mut().for_each(Camera::disconnect);
        stop.pause(pauses.next());
        session = Session::connect().ok();
        if session.is_some() {
            complain!("shm2-camera: connected to PipeWire again");
        }
    }
    cameras.iter_mut().for_each(Camera::disconnect);
}

/// The last part of a region's name.
pub fn short_name(region: &str) -> &str {
    region.rsplit('/').find(|part| !part.is_empty()).unwrap_or(region)
}

fn default_name(region: &str) -> String {
    format!("shm2.{}", short_name(region))
}

fn free_name(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number: u32| format!("{wanted}-{number}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_the_region_with_a_number_if_it_is_taken() {
        assert_eq!(default_name("shm:///dev/shm/front-door"), "shm2.front-door");
        let taken = ["shm2.a", "shm2.a-2"];
        assert_eq!(free_name("shm2.a", |name| taken.contains(&name)), "shm2.a-3");
        assert_eq!(free_name("shm2.b", |name| taken.contains(&name)), "shm2.b");
    }
}
