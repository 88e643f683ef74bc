//! Reading the state of a region without attaching to it and without an effect on its producer.

use super::{ConsumerOverview, consumers};
use crate::backend::{self, ConsumerRegion, Identity, OpenRegion};
use crate::consumer::header_of;
use crate::description::{CapsRange, Description};
use crate::error::{AttachError, SpecError};
use crate::layout::{self, Header, STATE_LIVE};
use crate::name::Spec;
use crate::name::temporary::is_temporary;
use crate::sync::{Ordering, fence};
use std::fmt;
use std::fs::DirEntry;
use std::io;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// State of a region, readable by every process with read permission and without attaching. The values are what the
/// producer wrote; use them for display only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overview {
    /// Path of the region.
    pub path: PathBuf,
    /// Size of the region in bytes.
    pub bytes: u64,
    /// Random number of the generation.
    pub generation: u64,
    /// Process id of the producer, in its own namespace.
    pub producer_pid: u32,
    /// Whether the region is kept, so that the next producer reuses this memory.
    pub is_kept: bool,
    /// Start of the generation, nanoseconds of the real-time clock.
    pub created_ns: u64,
    /// What the producer does with a new frame without free space; `None` for a value that this version does not know.
    pub full_policy: Option<PolicyName>,
    /// Frames kept for consumers that attach later.
    pub history: u32,
    /// Lease entries that the producer honours of each consumer.
    pub max_leases: u32,
    /// Bytes for payloads, caps and metas.
    pub arena_bytes: u64,
    /// Oldest sequence that may still be taken.
    pub oldest: u64,
    /// Sequence of the newest item, 0 before the first.
    pub newest: u64,
    /// Time at which the newest item was published, nanoseconds of the producer's monotonic clock. `None` without an
    /// item, or while the time is not stored yet.
    pub published_ns: Option<u64>,
    /// Time since then; `None` without that time, or when the producer's clock is another one.
    pub age: Option<Duration>,
    /// Size of the newest item's payload in bytes.
    pub frame_bytes: Option<u64>,
    /// The text that describes the stream, if one was set: of the next frame, or, while it changes, of the
    /// newest one.
    pub caps: Option<Vec<u8>>,
    /// Frames retired before every attached consumer had read them.
    pub dropped_oldest: u64,
    /// New frames that were dropped for lack of free space.
    pub dropped_newest: u64,
    /// Frames that were larger than the arena.
    pub dropped_too_large: u64,
    /// The leasing consumers. Snapshot consumers leave no trace in the region.
    pub consumers: Vec<ConsumerOverview>,
}

/// Name of a [`FullPolicy`](crate::FullPolicy).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyName {
    /// Drop the oldest frames.
    DropOldest,
    /// Drop the new frame.
    DropNewest,
    /// Wait for consumers.
    Block,
}

impl PolicyName {
    fn of(code: u32) -> Option<Self> {
        [Self::DropOldest, Self::DropNewest, Self::Block].into_iter().nth(code as usize)
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::Block => "block",
        })
    }
}

impl Overview {
    /// The region's name as `shm://` text, also where its path is not UTF-8.
    ///
    /// ```
    /// # let name = format!("/dev/shm/shm2-doc-uri-{}", std::process::id());
    /// use shm2::{Producer, Overview};
    ///
    /// let producer = Producer::create(&name)?;
    /// assert_eq!(Overview::of(&name)?.uri(), format!("shm://{name}"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn uri(&self) -> String {
        Spec::of_file(self.path.clone()).to_string()
    }

    /// Reads the state of the region at `spec`, which must have a live producer.
    ///
    /// # Errors
    /// As for a consumer that attaches with [`Access::Snapshot`](crate::Access::Snapshot).
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-overview-{}", std::process::id());
    /// use shm2::{FrameInfo, Overview, Producer};
    ///
    /// let mut producer = Producer::builder(&name)?.size(8 << 20).create()?;
    /// producer.send(b"picture", &FrameInfo::new())?;
    /// let overview = Overview::of(&name)?;
    /// assert_eq!((overview.bytes, overview.newest, overview.frame_bytes), (8 << 20, 1, Some(7)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(spec: &str) -> Result<Self, AttachError> {
        let spec: Spec = spec.parse().map_err(|e: SpecError| AttachError::Spec(e))?;
        Self::read(spec.path(), &OpenRegion::open(&spec, false)?)
    }

    /// All regions with a live producer among the files of `directory` that this user may read, sorted by path. Files
    /// that are no regions are skipped, and so are files that a producer is still making (`NAME.new-` and 16 digits).
    /// Links, pipes, sockets and devices are not opened.
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-all-{}", std::process::id());
    /// use shm2::{Producer, Overview};
    /// use std::path::Path;
    ///
    /// let producer = Producer::create(&name)?;
    /// let all = Overview::all_in(Path::new("/dev/shm"));
    /// assert!(all.iter().any(|overview| overview.path == producer.path()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn all_in(directory: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let is_candidate =
            |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file()) && !is_temporary(&entry.file_name());
        let files = entries.filter(is_candidate).map(|file| file.path());
        let read = |path: PathBuf| Self::read(&path, &OpenRegion::open_listed(&path).ok()?).ok();
        let mut all: Vec<_> = files.filter_map(read).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    pub(super) fn read(path: &Path, region: &OpenRegion) -> Result<Self, AttachError> {
        let header = header_of(region)?;
        let system = |source| AttachError::System { what: "read", path: path.into(), source };
        let words = HeaderWords::read(region).map_err(system)?;
        let word = |offset| words.at(offset);
        if word(offset_of!(Header, state)) as u32 != STATE_LIVE {
            return Err(AttachError::NoProducer { path: path.into() });
        }
        let newest = word(offset_of!(Header, head));
        let mut overview = Self {
            path: path.into(),
            bytes: region.bytes(),
            generation: header.generation,
            producer_pid: word(offset_of!(Header, producer_pid)) as u32,
            is_kept: header.lease_time.is_some(),
            created_ns: word(offset_of!(Header, created_ns)),
            full_policy: PolicyName::of(word(offset_of!(Header, full_policy)) as u32),
            history: word(offset_of!(Header, history)) as u32,
            max_leases: header.max_leases as u32,
            arena_bytes: header.arena_bytes,
            oldest: word(offset_of!(Header, oldest)),
            newest,
            published_ns: None,
            age: None,
            frame_bytes: None,
            caps: None,
            dropped_oldest: word(offset_of!(Header, dropped_oldest)),
            dropped_newest: word(offset_of!(Header, dropped_newest)),
            dropped_too_large: word(offset_of!(Header, dropped_too_large)),
            consumers: consumers::read(region, newest).map_err(system)?,
        };
        if let Some((description, caps)) = newest_item(region, newest, header.arena_bytes).map_err(system)? {
            overview.published_ns = description.published_ns();
            let age = |time| Duration::from_nanos(backend::monotonic_ns().saturating_sub(time));
            overview.age = overview.published_ns.filter(|_| !header.has_other_clock).map(age);
            overview.frame_bytes = Some(description.payload().length);
            overview.caps = caps;
        }
        if let Some(caps) = current_caps(region, header.arena_bytes).map_err(system)? {
            overview.caps = Some(caps);
        }
        Ok(overview)
    }
}

/// What shows cheaply that an [`Overview`] would be the same but for its counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    identity: Identity,
    generation: u64,
    state: u32,
    lives: bool,
    /// Number of the current caps, 0 for none; `None` while they are written.
    caps: Option<u32>,
}

impl Mark {
    /// `None` if the file is too short for a header.
    pub(super) fn of(region: &OpenRegion) -> Option<Self> {
        let words = HeaderWords::read(region).ok()?;
        let word = |offset| words.at(offset);
        let is_changing = word(offset_of!(Header, caps_sequence)) % 2 != 0;
        let current = (word(offset_of!(Header, caps_length_id)) >> 32) as u32;
        Some(Self {
            identity: region.identity(),
            generation: word(offset_of!(Header, generation)),
            state: word(offset_of!(Header, state)) as u32,
            lives: region.producer_lives(),
            caps: (!is_changing).then_some(current),
        })
    }

    /// For an overview whose caps could not be read: they are read as soon as an item shows them.
    pub(super) fn without_caps(self) -> Self {
        Self { caps: self.caps.filter(|number| *number == 0), ..self }
    }

    pub(super) fn differs_in_caps_only(&self, later: &Self) -> bool {
        self.caps != later.caps && *self == Self { caps: self.caps, ..*later }
    }

    /// Whether nothing has changed from this mark to a later one, as far as the later one shows.
    pub(super) fn is_same(&self, later: &Self) -> bool {
        let caps = later.caps.or(self.caps);
        *self == Self { caps, ..*later }
    }
}

/// The newest item's description and caps; `None` when there is none, or when it was retired during the read.
fn newest_item(region: &OpenRegion, newest: u64, arena: u64) -> io::Result<Option<(Description, Option<Vec<u8>>)>> {
    if newest == 0 || newest > layout::MAX_SEQUENCE {
        return Ok(None);
    }
    let mut bytes = [0; layout::CELL_BYTES as usize];
    region.read_exact(&mut bytes, layout::cell_offset(newest))?;
    let words = layout::cell_words(&bytes);
    let Ok(description) = Description::check(&words, newest, arena) else { return Ok(None) };
    let mut caps = vec![0; description.caps().text.length as usize];
    if !caps.is_empty() {
        region.read_exact(&mut caps, description.caps().text.offset)?;
    }
    fence(Ordering::SeqCst);
    let is_there = words[layout::W_SEQUENCE] == newest && word(region, offset_of!(Header, oldest))? <= newest;
    Ok(is_there.then_some((description, (description.caps().id != 0).then_some(caps))))
}

/// The caps of the next frame; `None` before the first, from a producer that does not show them, and when they changed
/// during the read.
fn current_caps(region: &OpenRegion, arena: u64) -> io::Result<Option<Vec<u8>>> {
    let number = word(region, offset_of!(Header, caps_sequence))?;
    fence(Ordering::SeqCst);
    let words = HeaderWords::read(region)?;
    let caps = CapsRange::of_words(
        words.at(offset_of!(Header, caps_offset)),
        words.at(offset_of!(Header, caps_length_id)),
        words.at(offset_of!(Header, caps_blob)),
    );
    if caps.id == 0 || !caps.is_valid(arena) {
        return Ok(None);
    }
    let mut text = vec![0; caps.text.length as usize];
    region.read_exact(&mut text, caps.text.offset)?;
    fence(Ordering::SeqCst);
    let is_same = number % 2 == 0 && word(region, offset_of!(Header, caps_sequence))? == number;
    Ok(is_same.then_some(text))
}

/// A copy of the whole header, which its peers may change meanwhile.
struct HeaderWords([u8; size_of::<Header>()]);

impl HeaderWords {
    fn read(region: &OpenRegion) -> io::Result<Self> {
        let mut bytes = [0; size_of::<Header>()];
        region.read_exact(&mut bytes, 0)?;
        Ok(Self(bytes))
    }

    /// The eight bytes at an offset.
    fn at(&self, offset: usize) -> u64 {
        consumers::u64_at(&self.0, offset)
    }
}

fn word(region: &OpenRegion, offset: usize) -> io::Result<u64> {
    let mut bytes = [0; 8];
    region.read_exact(&mut bytes, offset as u64)?;
    Ok(u64::from_le_bytes(bytes))
}
