//! Which regions there are, and their states.

#![expect(unsafe_code, reason = "exports names of C")]

use crate::boundary::{Handle, Outcome, Place, Structure, Text, call, give, handle, known, value};
use crate::fork;
use crate::frame::NONE;
use crate::status::{Failure, Status, c_text};
use crate::stream::Stream;
use shm2::discovery::{self, PolicyName};
use shm2::{Overview, discovery::ConsumerOverview};
use std::ffi::{CString, c_char};
use std::path::PathBuf;
use std::ptr::null;

/// `shm2_region`.
pub struct Region {
    fork_depth: u32,
    name: CString,
    path: CString,
    caps: Option<Stream>,
    overview: Overview,
}

impl Handle for Region {
    const NAME: &'static str = "region";

    fn fork_depth(&self) -> u32 {
        self.fork_depth
    }
}

/// `shm2_regions`.
pub struct Regions {
    fork_depth: u32,
    all: Vec<Region>,
}

impl Handle for Regions {
    const NAME: &'static str = "regions";

    fn fork_depth(&self) -> u32 {
        self.fork_depth
    }
}

impl Region {
    fn new(overview: Overview) -> Self {
        let caps = overview.caps.as_deref().map(|caps| Stream::new(1, caps));
        let path = c_text(overview.path.as_os_str().as_encoded_bytes());
        Self { fork_depth: fork::depth(), name: c_text(overview.uri()), path, caps, overview }
    }
}

/// `shm2_region_state`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RegionState {
    bytes: u64,
    arena_bytes: u64,
    generation: u64,
    producer_pid: u32,
    is_kept: u32,
    full_policy: u32,
    history: u32,
    max_leases: u32,
    consumers: u32,
    created_ns: u64,
    oldest: u64,
    newest: u64,
    frame_bytes: u64,
    published_ns: u64,
    age_ns: u64,
    dropped_oldest: u64,
    dropped_newest: u64,
    dropped_too_large: u64,
}

/// `shm2_region_consumer`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RegionConsumer {
    pid: u32,
    page: u32,
    held: u64,
    held_bytes: u64,
    lag: u64,
    received: u64,
    missed: u64,
    skipped: u64,
    copied: u64,
    attached_ns: u64,
}

impl From<&ConsumerOverview> for RegionConsumer {
    fn from(consumer: &ConsumerOverview) -> Self {
        Self {
            pid: consumer.pid,
            page: consumer.page as u32,
            held: consumer.held.into(),
            held_bytes: consumer.held_bytes,
            lag: consumer.lag,
            received: consumer.received,
            missed: consumer.missed,
            skipped: consumer.skipped,
            copied: consumer.copied,
            attached_ns: consumer.attached_ns,
        }
    }
}

#[cfg(unix)]
fn folder(bytes: &[u8]) -> Outcome<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn folder(bytes: &[u8]) -> Outcome<PathBuf> {
    let text = std::str::from_utf8(bytes).map_err(|error| Failure::invalid(format!("folder is not UTF-8: {error}")))?;
    Ok(text.into())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_regions_list(name: Text, regions: Place<'_, *mut Regions>) -> Status {
    call(|| {
        let regions = handle(regions, "regions")?;
        let folder = if name.is_null() { "/dev/shm".into() } else { folder(name.bytes("folder")?)? };
        let all = discovery::all_below(folder).into_iter().map(Region::new).collect();
        give(regions, Regions { fork_depth: fork::depth(), all });
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_regions_free(regions: Option<Box<Regions>>) {
    value((), || {
        drop(regions);
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_regions_count(regions: Option<&Regions>) -> usize {
    value(0, || Ok(known(regions)?.all.len()))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_regions_at(regions: Option<&Regions>, index: usize) -> *const Region {
    value(null(), || Ok(known(regions)?.all.get(index).map_or(null(), std::ptr::from_ref)))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_region_inspect(name: Text, region: Place<'_, *mut Region>) -> Status {
    call(|| {
        let region = handle(region, "region")?;
        give(region, Region::new(Overview::of(name.str("name")?)?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_region_free(region: Option<Box<Region>>) {
    value((), || {
        drop(region);
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_region_name(region: Option<&Region>) -> *const c_char {
    value(null(), || Ok(known(region)?.name.as_ptr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_region_path(region: Option<&Region>) -> *const c_char {
    value(null(), || Ok(known(region)?.path.as_ptr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_region_caps(region: Option<&Region>, size: Place<'_, usize>) -> *const c_char {
    let (text, length) = value((null(), 0), || {
        let caps = known(region)?.caps.as_ref();
        Ok(caps.map_or((null(), 0), |caps| (caps.text_pointer(), caps.caps().len())))
    });
    if let Some(size) = size {
        size.write(length);
    }
    text.cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_region_get_state(
    region: Option<&Region>,
    mut state: Structure<RegionState>,
    size: usize,
) -> Status {
    call(|| {
        let now = &known(region)?.overview;
        let policy = match now.full_policy {
            Some(PolicyName::DropOldest) => 0,
            Some(PolicyName::DropNewest) => 1,
            Some(PolicyName::Block) => 2,
            None => u32::MAX,
        };
        let content = RegionState {
            bytes: now.bytes,
            arena_bytes: now.arena_bytes,
            generation: now.generation,
            producer_pid: now.producer_pid,
            is_kept: now.is_kept.into(),
            full_policy: policy,
            history: now.history,
            max_leases: now.max_leases,
            consumers: now.consumers.len() as u32,
            created_ns: now.created_ns,
            oldest: now.oldest,
            newest: now.newest,
            frame_bytes: now.frame_bytes.unwrap_or(NONE),
            published_ns: now.published_ns.unwrap_or(NONE),
            age_ns: now.age.map_or(NONE, |age| age.as_nanos() as u64),
            dropped_oldest: now.dropped_oldest,
            dropped_newest: now.dropped_newest,
            dropped_too_large: now.dropped_too_large,
        };
        state.fill(size, &content, "state")
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_region_get_consumer(
    region: Option<&Region>,
    index: usize,
    mut consumer: Structure<RegionConsumer>,
    size: usize,
) -> Status {
    call(|| {
        let all = &known(region)?.overview.consumers;
        let absent = || Failure::invalid(format!("consumer {index} is not there: the region has {}", all.len()));
        consumer.fill(size, &all.get(index).ok_or_else(absent)?.into(), "consumer")
    })
}
