//! Creating a region: the file is built without a name ([`draft`](super::draft)) and then put at its path in one step,
//! so no other process sees an unfinished one.
//!
//! * A dead producer's file at the path is removed first ([`takeover`](super::takeover)), so that its memory is free
//!   again before the new region's is reserved.
//! * If nothing is at the path, the finished file is linked there. Of several producers the first succeeds, and the
//!   others get `EEXIST`.
//! * A live producer's file at the path is an error.

use super::draft::{Draft, remove_leftovers};
use super::mapping::Mapping;
use super::producer_region::OwnedRegion;
use super::reserve::refuse_over_limit;
use super::takeover::{adopt, clear_name};
use crate::backend::{Keep, ProducerRegion, mapping_bytes};
use crate::error::CreateError;
use crate::kill_points::point;
use crate::mapped::Memory;
use crate::name::Spec;

pub(super) fn create_region<T>(
    spec: &Spec,
    bytes: u64,
    perms: u32,
    keep: Keep,
    begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
) -> Result<(OwnedRegion, T), CreateError> {
    let path = spec.path();
    mapping_bytes(bytes).map_err(|source| CreateError::System { what: "map", path: path.into(), source })?;
    let adopted = if keep.is_set() { adopt(path, bytes, keep)? } else { None };
    if let Some((region, bytes)) = adopted {
        let mapping = region.map(bytes)?;
        let begun = begin(mapping, &|memory| region.clear_dead(memory))?;
        region.announce();
        return Ok((region, begun));
    }
    refuse_over_limit(path, bytes)?;
    if !keep.is_set() {
        clear_name(path, false)?;
    }
    remove_leftovers(path);
    let mut draft = Draft::new(path, bytes, perms)?;
    draft.region.keep = keep.is_set();
    point!("create.reserved");
    let mapping = draft.region.map(bytes)?;
    let begun = begin(mapping, &|_| {})?;
    point!("create.filled");
    Ok((draft.install()?, begun))
}
