//! The live regions of a directory, followed by looks that cost little while nothing changes.
//!
//! A change of caps and the death of a producer are visible only in the region itself and in its lock, so a live region
//! is opened every [`LIVE_ROUNDS`] rounds; some words are then compared. A file that is no live region changes its times
//! before it can become one, so it is opened again when they differ, for some rounds after that, and rarely otherwise.

use super::overview::{Mark, Overview};
use crate::backend::{OpenRegion, Stamp, stamp_of};
use crate::name::temporary::is_temporary;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Rounds between two looks at a live region.
const LIVE_ROUNDS: u64 = 2;
/// Rounds between two looks at another file whose times do not change.
const OTHER_ROUNDS: u64 = 16;
/// Rounds in which a file is looked at after its times changed: its producer may still be at the beginning.
const CHANGED_ROUNDS: u64 = 5;

/// A change that a [`Watch`](super::Watch) reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListingChange {
    /// The region has a live producer now.
    Appeared(Overview),
    /// The region has another producer, or other caps.
    Changed(Overview),
    /// The region of this path has no live producer any more, or no file.
    Gone(PathBuf),
}

/// The regions with a live producer in a directory: a call of [`update`](Self::update) costs much less than
/// [`Overview::all_in`] while nothing changes.
#[derive(Debug)]
pub(super) struct Listing {
    directory: PathBuf,
    files: HashMap<OsString, File>,
    /// Folders in the directory, as the last update found them.
    folders: Vec<OsString>,
    round: u64,
    discovered: u64,
    #[cfg(test)]
    work: Work,
}

/// Looks so far.
#[cfg(test)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Work {
    opened: u64,
    read: u64,
}

#[derive(Debug)]
struct File {
    /// Spreads the looks over the rounds.
    number: u64,
    /// Round of the last look at the directory that found it.
    seen: u64,
    /// What the file's times and identity were, and the round in which they were found; for a file that is no live
    /// region.
    stamp: Option<Stamp>,
    stamp_round: u64,
    live: Option<Mark>,
}

impl Listing {
    /// Nothing is read before the first [`update`](Self::update), which reports every live region.
    pub(super) fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            files: HashMap::new(),
            folders: Vec::new(),
            round: 0,
            discovered: 0,
            #[cfg(test)]
            work: Work::default(),
        }
    }

    /// What has changed since the last call, sorted by path. A new region is found at once. A change of caps and the
    /// exit of a producer are found by the second call after it.
    pub(super) fn update(&mut self) -> Vec<ListingChange> {
        self.round += 1;
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut changes = Vec::new();
        self.folders.clear();
        for entry in entries {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.folders.push(entry.file_name()),
                Ok(kind) if kind.is_file() => changes.extend(self.look(entry.file_name(), false)),
                _ => {}
            }
        }
        let (directory, round) = (&self.directory, self.round);
        self.files.retain(|name, file| {
            let is_there = file.seen == round;
            if !is_there && file.live.is_some() {
                changes.push(ListingChange::Gone(directory.join(name)));
            }
            is_there
        });
        changes.sort_by(|a, b| a.path().cmp(b.path()));
        changes
    }

    /// Looks at these files now, whether they are due or not.
    pub(super) fn look_at(&mut self, names: impl IntoIterator<Item = OsString>) -> Vec<ListingChange> {
        names.into_iter().filter_map(|name| self.look(name, true)).collect()
    }

    /// Folders in the directory, as the last update found them. Links are not among them.
    pub(super) fn folders(&self) -> &[OsString] {
        &self.folders
    }

    fn look(&mut self, name: OsString, is_due: bool) -> Option<ListingChange> {
        if is_temporary(&name) {
            return None;
        }
        let round = self.round;
        let path = self.directory.join(&name);
        let discovered = &mut self.discovered;
        let file = self.files.entry(name).or_insert_with(|| {
            *discovered += 1;
            File { number: *discovered, seen: round, stamp: None, stamp_round: round, live: None }
        });
        file.seen = round;
        if !file.is_due(round, &path) && !is_due {
            return None;
        }
        #[cfg(test)]
        {
            self.work.opened += 1;
        }
        let region = OpenRegion::open_listed(&path).ok();
        let mark = region.as_ref().and_then(Mark::of);
        let known = file.live.zip(mark);
        if known.is_some_and(|(known, mark)| known.is_same(&mark)) {
            return None;
        }
        #[cfg(test)]
        {
            self.work.read += 1;
        }
        let overview = region.as_ref().and_then(|region| Overview::read(&path, region).ok());
        let shows_caps = overview.as_ref().is_some_and(|overview| overview.caps.is_some());
        if known.is_some_and(|(known, mark)| known.differs_in_caps_only(&mark)) && overview.is_some() && !shows_caps {
            // The newest item was retired in between. The next look finds the caps.
            return None;
        }
        // The mark is older than the overview: a change in between is found by the next look.
        let mark = mark.map(|mark| if shows_caps { mark } else { mark.without_caps() });
        let was_live = std::mem::replace(&mut file.live, overview.as_ref().and(mark)).is_some();
        match overview.filter(|_| file.live.is_some()) {
            Some(overview) if was_live => Some(ListingChange::Changed(overview)),
            Some(overview) => Some(ListingChange::Appeared(overview)),
            None => was_live.then_some(ListingChange::Gone(path)),
        }
    }
}

impl File {
    fn is_due(&mut self, round: u64, path: &Path) -> bool {
        if self.live.is_some() {
            return (round + self.number) % LIVE_ROUNDS == 0;
        }
        let stamp = stamp_of(path);
        if stamp != self.stamp {
            (self.stamp, self.stamp_round) = (stamp, round);
        }
        stamp.is_none() || round - self.stamp_round < CHANGED_ROUNDS || (round + self.number) % OTHER_ROUNDS == 0
    }
}

impl ListingChange {
    /// State of the region; `None` when it is gone.
    pub fn into_overview(self) -> Option<Overview> {
        match self {
            Self::Appeared(overview) | Self::Changed(overview) => Some(overview),
            Self::Gone(_) => None,
        }
    }

    /// Path of the region.
    pub fn path(&self) -> &Path {
        match self {
            Self::Appeared(overview) | Self::Changed(overview) => &overview.path,
            Self::Gone(path) => path,
        }
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use crate::{FrameInfo, Producer};
    use shm2_testing::TempRegion;

    /// A directory with `count` live regions, and a listing that has found them.
    fn regions(count: usize) -> (TempRegion, Vec<Producer>, Listing) {
        let directory = TempRegion::new();
        std::fs::create_dir(directory.path()).unwrap();
        let begin = |index| region(directory.path(), index, b"caps");
        let producers: Vec<_> = (0..count).map(begin).collect();
        let mut listing = Listing::new(directory.path());
        assert_eq!(listing.update().len(), count);
        listing.update();
        (directory, producers, listing)
    }

    fn region(directory: &Path, index: usize, caps: &[u8]) -> Producer {
        let name = directory.join(index.to_string());
        let mut producer = Producer::builder(name.to_str().unwrap()).unwrap().size(5 << 20).create().unwrap();
        producer.set_caps(caps).unwrap();
        producer.send(b"frame", &FrameInfo::new()).unwrap();
        producer
    }

    /// What `rounds` updates find, and their work.
    fn follow(listing: &mut Listing, rounds: u64) -> (Vec<ListingChange>, Work) {
        let before = listing.work;
        let changes = (0..rounds).flat_map(|_| listing.update()).collect();
        let Work { opened, read } = listing.work;
        (changes, Work { opened: opened - before.opened, read: read - before.read })
    }

    #[test]
    fn regions_that_do_not_change_are_opened_every_second_round_and_never_read_again() {
        let (_directory, mut producers, mut listing) = regions(12);
        for _ in 0..5 {
            producers.iter_mut().for_each(|producer| drop(producer.send(b"frame", &FrameInfo::new())));
            assert_eq!(follow(&mut listing, 2), (Vec::new(), Work { opened: 12, read: 0 }));
        }
        let (changes, Work { opened, .. }) = follow(&mut listing, 1);
        assert_eq!((changes.len(), opened), (0, 6));
    }

    #[test]
    fn files_that_are_no_live_regions_are_rarely_opened() {
        let (directory, _producers, mut listing) = regions(2);
        for other in 0..32 {
            std::fs::write(directory.path().join(format!("other-{other}")), [other; 4096]).unwrap();
        }
        follow(&mut listing, CHANGED_ROUNDS);
        let (changes, Work { opened, .. }) = follow(&mut listing, OTHER_ROUNDS);
        assert_eq!((changes.len(), opened), (0, 32 + 2 * OTHER_ROUNDS / LIVE_ROUNDS));
    }

    #[test]
    fn a_change_is_found_by_two_updates_and_costs_one_reading() {
        let (directory, mut producers, mut listing) = regions(8);
        producers[3].set_caps(b"other caps").unwrap();
        producers[3].send(b"frame", &FrameInfo::new()).unwrap();
        let (changes, work) = follow(&mut listing, LIVE_ROUNDS);
        assert!(matches!(&changes[..], [ListingChange::Changed(new)] if new.caps.as_deref() == Some(b"other caps")));
        assert_eq!(work.read, 1);

        // Removes its file.
        producers.remove(5);
        let (changes, _) = follow(&mut listing, LIVE_ROUNDS);
        assert_eq!(changes, [ListingChange::Gone(directory.path().join("5"))]);

        // Another producer at the same name.
        drop(producers.remove(0));
        producers.push(region(directory.path(), 0, b"third caps"));
        let (changes, _) = follow(&mut listing, LIVE_ROUNDS);
        assert!(matches!(&changes[..], [ListingChange::Changed(new)] if new.caps.as_deref() == Some(b"third caps")));
    }

    #[test]
    fn a_kept_region_is_found_when_its_producer_begins_and_ends() {
        let (directory, _producers, mut listing) = regions(1);
        let path = directory.path().join("kept");
        std::fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
        follow(&mut listing, 3 * OTHER_ROUNDS);
        for _ in 0..2 {
            let kept = Producer::builder(path.to_str().unwrap()).unwrap().keep_region(true).create().unwrap();
            let (changes, _) = follow(&mut listing, 1);
            assert!(matches!(&changes[..], [ListingChange::Appeared(new)] if new.path == path), "{changes:?}");
            drop(kept);
            let (changes, _) = follow(&mut listing, LIVE_ROUNDS);
            assert_eq!(changes, [ListingChange::Gone(path.clone())]);
        }
    }

    #[test]
    fn a_region_without_caps_is_reported_again_when_it_has_some() {
        let (directory, _producers, mut listing) = regions(1);
        let name = directory.path().join("late");
        let mut producer = Producer::builder(name.to_str().unwrap()).unwrap().size(5 << 20).create().unwrap();
        assert!(matches!(&listing.update()[..], [ListingChange::Appeared(new)] if new.caps.is_none()));
        producer.set_caps(b"caps").unwrap();
        producer.send(b"frame", &FrameInfo::new()).unwrap();
        let (changes, _) = follow(&mut listing, LIVE_ROUNDS);
        assert!(matches!(&changes[..], [ListingChange::Changed(new)] if new.caps.as_deref() == Some(b"caps")));
    }
}
