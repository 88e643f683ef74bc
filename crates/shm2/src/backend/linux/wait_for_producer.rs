//! Waiting until a producer appears at a name: the directory and the file at the name are watched.

use super::futex::Event;
use super::region_file::identity_at;
use super::watch::{Watch, watch_directory, watch_restart};
use crate::backend::{AwaitProducer, ChangeWatch, Identity, ProcessEvent};
use crate::name::Spec;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Interval between looks if watches cannot be had.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(crate) struct ProducerWatch {
    directory: Option<Watch>,
    file: Option<(Identity, Watch)>,
    /// True if watches report every way in which a producer can appear.
    is_watched: bool,
}

impl AwaitProducer for ProducerWatch {
    fn arm(&mut self, spec: &Spec, event: &Arc<Event>) -> bool {
        if spec.is_device() {
            return false;
        }
        let file = identity_at(spec.path());
        let is_current = self.file.as_ref().is_some_and(|(of, watch)| Some(*of) == file && watch.is_alive());
        if let Some(file) = file.filter(|_| !is_current) {
            // A producer may begin another generation in this very file.
            self.file = watch_restart(spec.path(), event).map(|watch| (file, watch));
            if self.file.is_some() {
                return true;
            }
        }
        if !self.directory.as_ref().is_some_and(Watch::is_alive) {
            let directory = spec.path().parent().unwrap_or(Path::new("/"));
            self.directory = watch_directory(directory, event);
            if self.directory.is_some() {
                return true;
            }
        }
        self.is_watched = self.directory.is_some() && self.file.is_some() >= file.is_some();
        false
    }

    fn wait(&self, event: &Event, seen: u32, timeout: Option<Duration>) {
        let slice = (!self.is_watched).then_some(LOOK_EVERY);
        event.wait(seen, [timeout, slice].into_iter().flatten().min());
    }
}
