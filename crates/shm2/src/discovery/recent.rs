//! The last items of a region: when each was published, and its size.

use super::overview::Overview;
use crate::backend::{ConsumerRegion, OpenRegion};
use crate::consumer::header_of;
use crate::description::{Description, Kind};
use crate::error::{AttachError, SpecError};
use crate::layout::{self, CELL_BYTES, CELLS};
use crate::name::Spec;

/// A frame in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecentFrame {
    /// Its sequence.
    pub sequence: u64,
    /// Time of publication, nanoseconds of the producer's monotonic clock.
    pub published_ns: u64,
    /// Presentation time in nanoseconds.
    pub pts: Option<u64>,
    /// Size of the payload in bytes.
    pub bytes: u64,
}

impl Overview {
    /// The frames after sequence `after` whose cells the producer has not used again, oldest first: at most 4,096. Their
    /// bytes are not read, so they may have been retired.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    ///
    /// ```
    /// # let name = format!("shm:///dev/shm/shm2-doc-recent-{}", std::process::id());
    /// use shm2::{FrameInfo, Overview, Producer};
    ///
    /// let mut producer = Producer::create(&name)?;
    /// for _ in 0..3 {
    ///     producer.send(b"picture", &FrameInfo::new())?;
    /// }
    /// let frames = Overview::recent_frames(&name, 1)?;
    /// assert_eq!(frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>(), [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recent_frames(spec: &str, after: u64) -> Result<Vec<RecentFrame>, AttachError> {
        let spec: Spec = spec.parse().map_err(|e: SpecError| AttachError::Spec(e))?;
        let region = OpenRegion::open(&spec, false)?;
        let arena = header_of(&region)?.arena_bytes;
        let newest = Self::read(spec.path(), &region)?.newest;
        let first = after.max(newest.saturating_sub(CELLS - 1)).saturating_add(1);
        let system = |source| AttachError::System { what: "read", path: spec.path().into(), source };
        let mut frames = Vec::new();
        let mut next = first;
        // In one read, or in two where the cells go on at the beginning of the ring.
        while next <= newest.min(layout::MAX_SEQUENCE) {
            let last = newest.min(next | (CELLS - 1));
            let mut cells = vec![0; ((last - next + 1) * CELL_BYTES) as usize];
            region.read_exact(&mut cells, layout::cell_offset(next)).map_err(system)?;
            let cells = cells.chunks_exact(CELL_BYTES as usize).filter_map(|cell| cell.try_into().ok());
            frames.extend((next..).zip(cells).filter_map(|(at, cell)| of_cell(at, &layout::cell_words(cell), arena)));
            next = last + 1;
        }
        Ok(frames)
    }
}

/// `None` for another item, an event, and while the time is not stored yet.
fn of_cell(sequence: u64, words: &[u64; 16], arena: u64) -> Option<RecentFrame> {
    let is_there = words[layout::W_SEQUENCE] == sequence;
    let description = Description::check(words, sequence, arena).ok().filter(|_| is_there)?;
    let published_ns = description.published_ns().filter(|_| description.kind() == Kind::Frame)?;
    Some(RecentFrame { sequence, published_ns, pts: description.info().pts, bytes: description.payload().length })
}
