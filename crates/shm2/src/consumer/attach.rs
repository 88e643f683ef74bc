//! Attaching: opens the region, checks its header, and claims a page or shows presence.

use super::builder::{Access, Liveness, Settings};
use super::claim::claim;
use super::lease::LeasedRegion;
use super::leasing::Leasing;
use super::ownership::{Heartbeating, Locked, Ownership};
use super::position::Position;
use super::producer_liveness::FirstHeartbeat;
use super::reader::Reader;
use super::ring_reader::{RingReader, View};
use super::snapshots::Snapshots;
use super::start::Start;
use crate::backend::{self, ConsumerRegion, OpenRegion, Poll, mapping_bytes};
use crate::error::AttachError;
use crate::header::{FIXED, RawHeader, RegionHeader};
use crate::heartbeat::{self, Heartbeat};
use crate::kill_points::point;
use crate::layout::{Header, LEASES, STATE_LIVE};
use crate::mapped::{Memory, OwnPage, WakeWord};
use crate::name::Spec;
use crate::protocol::Tickets;
use crate::sync::{Ordering, fence};
use std::mem::offset_of;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Result of an attach.
pub(super) struct Attached {
    pub(super) reader: Box<dyn Reader>,
    pub(super) position: Position,
    /// The lease time, if only heartbeats show whether the producer is alive.
    pub(super) lease: Option<Duration>,
}

/// A region whose header was checked.
struct Checked {
    header: RegionHeader,
    lease: Option<Duration>,
}

/// Attaches with the access that `settings` choose.
pub(super) fn attach(spec: &Spec, settings: &Settings, first: &mut FirstHeartbeat) -> Result<Attached, AttachError> {
    match settings.access {
        Access::Lease => attach_leasing(spec, settings, first),
        Access::Snapshot => attach_snapshots(spec, settings, first),
        Access::Auto => match attach_leasing(spec, settings, first) {
            Err(AttachError::Denied { .. } | AttachError::Full { .. }) => attach_snapshots(spec, settings, first),
            other => other,
        },
    }
}

/// Checks the header, and that the region has a producer, as far as locks show that.
fn check(region: &OpenRegion, liveness: Liveness) -> Result<Checked, AttachError> {
    let path = region.path();
    let found = read_complete(region)?;
    // A dead producer's region may be of any version, because the next producer replaces it. So liveness is checked
    // first.
    let by_heartbeat = !region.has_locks() || liveness == Liveness::Heartbeat || found.is_kept_by_heartbeat();
    if !by_heartbeat && !region.producer_lives() {
        return Err(AttachError::NoProducer { path: path.into() });
    }
    let header = found.parse(region.bytes(), path)?;
    if by_heartbeat && header.lease_time.is_none() {
        return Err(AttachError::NoHeartbeat { path: path.into() });
    }
    let (backed, needed) = (region.backed_bytes(), header.arena_bytes);
    // A guest's producer cannot reserve the memory of the host's file.
    if backed < needed && !header.is_kept_by_heartbeat {
        return Err(AttachError::NotBacked { path: path.into(), backed, needed });
    }
    Ok(Checked { header, lease: header.lease_time.filter(|_| by_heartbeat) })
}

/// The header of a region whose producer has finished it.
pub(super) fn read_complete(region: &OpenRegion) -> Result<RawHeader, AttachError> {
    let path = region.path();
    if region.bytes() == 0 {
        // The file is empty: it was prepared for a producer.
        return Err(AttachError::NotFound { path: path.into() });
    }
    let read = || read_header(region).map_err(|source| AttachError::System { what: "read", path: path.into(), source });
    let found = read()?;
    if found.magic() != 0 && !found.is_region() {
        return Err(AttachError::NotARegion { path: path.into(), magic: found.magic() });
    }
    // The magic number is written last: what is read after it is complete.
    fence(Ordering::Acquire);
    let complete = read()?;
    // Without it the memory has no region yet, or a producer is about to begin, or it was cleared in between.
    if found.is_region() && complete.is_region() {
        Ok(complete)
    } else {
        Err(AttachError::NoProducer { path: path.into() })
    }
}

/// Opens a region for reading and checks its header, without attaching.
pub(crate) fn header_of(region: &OpenRegion) -> Result<RegionHeader, AttachError> {
    Ok(check(region, Liveness::Lock)?.header)
}

/// The header's fixed part, or as much of it as a short file has.
fn read_header(region: &OpenRegion) -> std::io::Result<RawHeader> {
    let mut bytes = [0; FIXED];
    let length = usize::try_from(region.bytes()).map_or(FIXED, |bytes| bytes.min(FIXED));
    region.read_exact(&mut bytes[..length], 0)?;
    Ok(RawHeader::new(bytes))
}

/// Whether a producer on another kernel may begin a generation at this name, which no file watch would report.
pub(super) fn may_restart_unseen(spec: &Spec) -> bool {
    let Ok(region) = OpenRegion::open(spec, false) else { return false };
    // Memory without a region may have been prepared for a virtual machine.
    !region.has_locks() || read_header(&region).is_ok_and(|header| header.magic() == 0 || header.is_kept())
}

fn attach_leasing(spec: &Spec, settings: &Settings, first: &mut FirstHeartbeat) -> Result<Attached, AttachError> {
    let region = OpenRegion::open(spec, true)?;
    let path = spec.path();
    point!("attach.opened");
    if check(&region, settings.liveness)?.lease.is_some() && settings.prefers_snapshots() {
        return Err(AttachError::Denied { path: path.into() });
    }
    let bytes = mapping_bytes(region.bytes());
    let bytes = bytes.map_err(|source| AttachError::System { what: "map", path: path.into(), source })?;
    let memory = Memory::new(region.map(0, bytes, false)?);
    let Checked { header, lease } = check_mapped(&region, &memory, settings.liveness)?;
    if lease.is_some() {
        // The generation is compared after this, because a heartbeat of another generation does not count.
        first.await_change(memory.header().heartbeat.load(Ordering::Acquire), &header, path)?;
        if memory.header().generation.load(Ordering::Acquire) != header.generation {
            return Err(AttachError::NoProducer { path: path.into() });
        }
    }
    let (page, claimed) = claim(&region, &memory, &header, lease.is_some())?;
    point!("attach.claimed");
    let claim = Claim { region, memory, page, claimed, header };
    match lease {
        None => claim.enter::<Locked>(settings, None, |_| Ok(())),
        Some(lease) => claim.enter::<Heartbeating>(settings, Some(lease), |region| {
            let heartbeat: Weak<dyn Heartbeat> = Arc::downgrade(region) as Weak<dyn Heartbeat>;
            heartbeat::start(heartbeat, lease)
        }),
    }
}

/// As [`check`], and checks that the generation in `memory` is live and did not change.
fn check_mapped(region: &OpenRegion, memory: &Memory, liveness: Liveness) -> Result<Checked, AttachError> {
    let is_live = || memory.header().state.load(Ordering::Acquire) == STATE_LIVE;
    let absent = || AttachError::NoProducer { path: region.path().into() };
    if !is_live() {
        return Err(absent());
    }
    // Checked again, because the first read may have been of the previous generation, or of a mix of two.
    let checked = check(region, liveness)?;
    let is_same = memory.header().generation.load(Ordering::Acquire) == checked.header.generation;
    if is_same && is_live() { Ok(checked) } else { Err(absent()) }
}

/// A claimed page that is not visible yet.
struct Claim {
    region: OpenRegion,
    memory: Memory,
    page: OwnPage,
    claimed: u32,
    header: RegionHeader,
}

impl Claim {
    /// Makes the page valid, and only then visible. `start` starts the heartbeat, if there is one, before that.
    fn enter<O: Ownership>(
        self,
        settings: &Settings,
        lease: Option<Duration>,
        start: impl FnOnce(&Arc<LeasedRegion<O>>) -> std::io::Result<()>,
    ) -> Result<Attached, AttachError>
    where
        Leasing<O>: View,
    {
        let Self { region, memory, page, claimed, header } = self;
        let path: std::path::PathBuf = region.path().into();
        let tickets = Tickets::new(&page.words().ticket);
        let leased = Arc::new(LeasedRegion {
            tickets,
            memory,
            page,
            region,
            owner: O::new(claimed),
            generation: header.generation,
            budget: settings.max_leases.min(header.max_leases),
            most_held: header.arena_bytes / 3,
            blocks: header.blocks,
            poll: lease.map(|_| Poll::default()),
            busy: [const { AtomicBool::new(false) }; LEASES],
        });
        let what = "start the heartbeat thread for";
        start(&leased).map_err(|source| AttachError::System { what, path: path.clone(), source })?;
        let ring = RingReader::new(Leasing::new(leased), header);
        // A consumer that was paused here for longer than the lease time has lost its page, and attaches again.
        let position = enter_page(&ring, settings.start).ok_or(AttachError::NoProducer { path })?;
        point!("attach.entered");
        ring.region().notify_watchers();
        Ok(Attached { reader: Box::new(ring), position, lease })
    }
}

fn enter_page<O: Ownership>(ring: &RingReader<Leasing<O>>, start: Start) -> Option<Position>
where
    Leasing<O>: View,
{
    let (view, relaxed) = (&ring.view, Ordering::Relaxed);
    let page = view.page.words();
    for counter in [&page.received, &page.missed, &page.skipped, &page.copied] {
        counter.store(0, relaxed);
    }
    page.pid.store(backend::process_id(), relaxed);
    page.attached_ns.store(backend::monotonic_ns(), relaxed);
    page.generation.store(view.generation, relaxed);
    let header = view.memory.header();
    let (oldest, head) = (header.oldest.load(Ordering::Acquire), header.head.load(Ordering::Acquire));
    let next = start.first(oldest, head, ring.header.history, |sequence| ring.kind_of(sequence));
    page.cursor.store(next, relaxed);
    heartbeat::advance(&page.heartbeat);
    if !view.owner.enter(page) {
        return None;
    }
    // Items that were retired before the page was visible do not count as missed.
    let next = next.max(header.oldest.load(Ordering::Acquire));
    page.cursor.store(next, Ordering::Release);
    Some(Position { next, ..Position::default() })
}

fn attach_snapshots(spec: &Spec, settings: &Settings, first: &mut FirstHeartbeat) -> Result<Attached, AttachError> {
    let region = OpenRegion::open(spec, false)?;
    let path = spec.path();
    check(&region, settings.liveness)?;
    let wake = WakeWord::new(region.map(0, WakeWord::BYTES, false)?);
    let absent = || AttachError::NoProducer { path: path.into() };
    let Checked { header, .. } = check(&region, settings.liveness)?;
    let mut ring = RingReader::new(Snapshots::new(region, wake), header);
    if ring.is_closed() {
        return Err(absent());
    }
    // Checked again, because the first read may have been of the previous generation, or of a mix of two.
    let Checked { header, lease } = check(ring.region(), settings.liveness)?;
    ring.header = header;
    let word = |offset| header_word(&ring.view, offset, path);
    if word(offset_of!(Header, state))? as u32 != STATE_LIVE || ring.is_other_generation() {
        return Err(absent());
    }
    if lease.is_some() {
        first.await_change(word(offset_of!(Header, heartbeat))?, &ring.header, path)?;
        // A heartbeat of another generation does not count.
        fence(Ordering::Acquire);
        if ring.is_other_generation() {
            return Err(absent());
        }
    }
    let (oldest, head) = (word(offset_of!(Header, oldest))?, word(offset_of!(Header, head))?);
    let next = settings.start.first(oldest, head, ring.header.history, |sequence| ring.kind_of(sequence));
    // The starting point is chosen: a producer that waits for a consumer may publish from here on.
    let shown = ring.region().show_presence();
    shown.map_err(|source| AttachError::System { what: "lock", path: path.into(), source })?;
    point!("snapshot.shown");
    // Items that were retired before the consumer was visible do not count as missed.
    let next = next.max(header_word(&ring.view, offset_of!(Header, oldest), path)?);
    ring.view.mark_attached(lease.map(|_| Poll::default()));
    ring.region().notify_watchers();
    Ok(Attached { reader: Box::new(ring), position: Position { next, ..Position::default() }, lease })
}

fn header_word(view: &Snapshots, offset: usize, path: &Path) -> Result<u64, AttachError> {
    view.u64_at(offset).map_err(|source| AttachError::System { what: "read", path: path.into(), source })
}
