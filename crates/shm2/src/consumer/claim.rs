//! Claiming a consumer page.

use crate::backend::{ConsumerRegion, OpenRegion};
use crate::error::AttachError;
use crate::header::RegionHeader;
use crate::layout;
use crate::mapped::{Memory, OwnPage};
use crate::protocol;
use crate::sync::{AtomicU32, Ordering};

/// Claims the first free page; returns it and the value of its `claimed` word. The producer's scan ends at the first
/// page that was never used, so pages come into use in order: a consumer marks each page as used before it tries to
/// claim it. No consumer waits for another.
///
/// # Errors
/// [`AttachError::Full`] without a free page; [`AttachError::Denied`] when the device drops stores silently (QEMU's
/// `readonly=on`).
pub(super) fn claim(
    region: &OpenRegion,
    memory: &Memory,
    header: &RegionHeader,
    by_heartbeat: bool,
) -> Result<(OwnPage, u32), AttachError> {
    for index in 0..layout::PAGES {
        let claimed = &memory.page(index).claimed;
        if !protocol::is_used(claimed) {
            protocol::mark_used(&own_page(region, index)?.words().claimed);
            if !protocol::is_used(claimed) {
                return Err(AttachError::Denied { path: region.path().into() });
            }
        }
        let taken = match by_heartbeat {
            false => claim_by_lock(region, index)?,
            true if claimed.load(Ordering::Acquire) != layout::FREE => None,
            true => {
                let page = own_page(region, index)?;
                let shown = layout::CLAIMING
                    | layout::BY_HEARTBEAT
                    | owner_number(&page.words().claims, header.generation) << 16;
                let taken = protocol::take_page(&page.words().claimed, layout::FREE, shown);
                let is_kept = || claimed.load(Ordering::Acquire) == shown;
                (taken && is_kept()).then_some((page, shown))
            }
        };
        if let Some(taken) = taken {
            return Ok(taken);
        }
    }
    Err(AttachError::Full { path: region.path().into() })
}

/// A number that none of the 65,534 previous owners had in this generation; not 0, which means an owner with a lock.
/// The generation is part of it because a clear of the memory resets `claims`.
fn owner_number(claims: &AtomicU32, generation: u64) -> u32 {
    // Relaxed: the value only has to be unique.
    let claim = u64::from(claims.fetch_add(1, Ordering::Relaxed));
    (claim.wrapping_add(generation) % 0xffff) as u32 + 1
}

/// Claims page `index` if its lock is free and no owner by heartbeat has it. The page is then free, or a dead
/// consumer's.
fn claim_by_lock(region: &OpenRegion, index: usize) -> Result<Option<(OwnPage, u32)>, AttachError> {
    let system = |source| AttachError::System { what: "lock a page of", path: region.path().into(), source };
    if !region.try_claim(index).map_err(system)? {
        return Ok(None);
    }
    let page = own_page(region, index)?;
    let claimed = &page.words().claimed;
    let found = claimed.load(Ordering::Acquire);
    if found & layout::BY_HEARTBEAT == 0 && protocol::take_page(claimed, found, layout::CLAIMING) {
        return Ok(Some((page, layout::CLAIMING)));
    }
    region.unclaim(index);
    Ok(None)
}

fn own_page(region: &OpenRegion, index: usize) -> Result<OwnPage, AttachError> {
    Ok(OwnPage::new(region.map(layout::page_offset(index), layout::PAGE_USED as usize, true)?, index))
}
