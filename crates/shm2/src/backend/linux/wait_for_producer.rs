//! Waiting until a producer appears at a name: the directory and the file at the name are watched.
//!
//! A path can begin to lead to a region in ways that no watch of its last directory reports: an ancestor is renamed or
//! mounted over, or a symbolic link leads elsewhere. So the directory is compared with the watched one at each look, and
//! the consumer looks at intervals in any case.

use super::futex::Event;
use super::region_file::{directory, identity_at};
use super::watch::{Watch, watch_directory, watch_restart};
use crate::backend::{AwaitProducer, ChangeWatch, Identity, ProcessEvent};
use crate::name::Spec;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Interval between looks if watches cannot be had, or do not report what happens behind a symbolic link.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Interval between looks if watches report what happens in the directory.
const WATCHED_LOOK_EVERY: Duration = Duration::from_millis(900);

#[derive(Default)]
pub(crate) struct ProducerWatch {
    directory: Option<(Identity, Watch)>,
    file: Option<(Identity, Watch)>,
    /// True if watches report every change in the directory and of the file.
    is_watched: bool,
}

impl AwaitProducer for ProducerWatch {
    fn arm(&mut self, spec: &Spec, event: &Arc<Event>) -> bool {
        if spec.is_device() {
            return false;
        }
        let path = spec.path();
        let file = identity_at(path);
        if !is_current(&self.file, file) {
            // A producer may begin another generation in this very file.
            self.file = file.and_then(|file| Some((file, watch_restart(path, event)?)));
            if self.file.is_some() {
                return true;
            }
        }
        let directory = directory(path);
        let found = identity_at(directory);
        if !is_current(&self.directory, found) {
            let watch = found.and_then(|found| Some((found, watch_directory(directory, event)?)));
            // A directory that is replaced at this moment is watched at the next look.
            self.directory = watch.filter(|(found, _)| identity_at(directory) == Some(*found));
            if self.directory.is_some() {
                return true;
            }
        }
        self.is_watched = self.directory.is_some() && self.file.is_some() >= file.is_some() && !has_links(path);
        false
    }

    fn reports_all(&self) -> bool {
        self.is_watched
    }

    fn interval(&self) -> Duration {
        if self.is_watched { WATCHED_LOOK_EVERY } else { LOOK_EVERY }
    }

    fn wait(&self, event: &Event, seen: u32, timeout: Option<Duration>) {
        let slice = self.interval();
        event.wait(seen, Some(timeout.map_or(slice, |timeout| timeout.min(slice))));
    }
}

/// Whether `watch` is of the file or directory found, and still reports changes.
fn is_current(watch: &Option<(Identity, Watch)>, found: Option<Identity>) -> bool {
    watch.as_ref().is_some_and(|(of, watch)| Some(*of) == found && watch.is_alive())
}

/// Whether a symbolic link is in the path, or may be.
fn has_links(path: &Path) -> bool {
    let directory = directory(path);
    path.is_symlink() || !directory.canonicalize().is_ok_and(|real| real == directory)
}
