//! Creating a region: the data section and its objects are made and filled first, and the root section names them last.

use super::generation_objects::{Objects, SNAPSHOTS};
use super::kernel_objects::{Made, create_mutex, create_section, open_event, set};
use super::mapping::Mapping;
use super::mutex_thread::OwnedMutex;
use super::object_names::ObjectNames;
use super::producer_region::{OwnedRegion, SnapshotsSeen};
use super::root_section::RootSection;
use super::security::SecurityDescriptor;
use crate::backend::random_nonzero;
use crate::error::CreateError;
use crate::layout;
use crate::mapped::Memory;
use crate::name::Spec;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_COMMITMENT_LIMIT, ERROR_INVALID_HANDLE, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_PRIVILEGE_NOT_HELD,
};

pub(super) fn create_region<T>(
    spec: &Spec,
    bytes: u64,
    perms: u32,
    keep: bool,
    begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
) -> Result<(OwnedRegion, T), CreateError> {
    let path = spec.path();
    if keep {
        return Err(CreateError::KeptSection { path: path.into() });
    }
    let failed = |what| move |e: io::Error| create_error(what, path, bytes, e);
    let names = ObjectNames::of(spec);
    let root = RootSection::create(&names, perms).map_err(failed("make the root section of"))?;
    let for_objects = SecurityDescriptor::for_objects(perms).map_err(failed("describe the permissions of"))?;
    let liveness = lock_liveness(&names, &for_objects, path)?;
    retire_previous(&root, &names);
    let generation = random_nonzero();
    let for_data = SecurityDescriptor::for_data(perms).map_err(failed("describe the permissions of"))?;
    let (section, made) =
        create_section(&names.data(generation), bytes, &for_data).map_err(failed("make the section of"))?;
    if made == Made::Existed {
        return Err(CreateError::NotAFile { path: path.into(), what: "in use by something else" });
    }
    let mapping = Mapping::of_section(&section, 0, bytes as usize, true).map_err(failed("map"))?;
    let objects = Objects::create(&names, generation, &for_objects).map_err(failed("make the objects of"))?;
    let begun = begin(mapping, &|_| {})?;
    root.set_current(generation, bytes);
    let region = OwnedRegion {
        path: path.into(),
        names,
        generation,
        root,
        objects: Arc::new(objects),
        liveness: Mutex::new(Some(liveness)),
        snapshots: SnapshotsSeen::default(),
        _section: section,
    };
    region.announce();
    Ok((region, begun))
}

/// Ends the generation of a producer that was killed. Its consumers are woken, and do not take this producer, which has
/// the same mutex, for theirs.
fn retire_previous(root: &RootSection, names: &ObjectNames) {
    let Some((previous, _)) = root.current() else { return };
    root.clear_current(previous);
    let wakes =
        (0..layout::PAGES).map(|i| names.page(previous, i)).chain((0..SNAPSHOTS).map(|i| names.snapshot(previous, i)));
    for [_, wake] in wakes {
        if let Ok(event) = open_event(&wake) {
            set(&event);
        }
    }
}

/// Locks the producer's mutex. Another process that probes the mutex has it locked for a moment, so this is tried
/// several times.
fn lock_liveness(names: &ObjectNames, descriptor: &SecurityDescriptor, path: &Path) -> Result<OwnedMutex, CreateError> {
    let name = names.producer();
    for _ in 0..20 {
        let mutex = create_mutex(&name, descriptor).map_err(|e| create_error("make the mutex of", path, 0, e))?;
        if let Some(liveness) = OwnedMutex::try_lock(&name, mutex) {
            return Ok(liveness);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(CreateError::Busy { path: path.into() })
}

fn create_error(what: &'static str, path: &Path, bytes: u64, error: io::Error) -> CreateError {
    let path = PathBuf::from(path);
    if error.kind() == io::ErrorKind::InvalidData {
        return CreateError::NotAFile { path, what: "a section of another program" };
    }
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_ACCESS_DENIED | ERROR_PRIVILEGE_NOT_HELD) => CreateError::SectionDenied { path },
        Some(ERROR_INVALID_HANDLE) => CreateError::NotAFile { path, what: "the name of another kind of object" },
        Some(ERROR_COMMITMENT_LIMIT | ERROR_NOT_ENOUGH_MEMORY | ERROR_OUTOFMEMORY | ERROR_NO_SYSTEM_RESOURCES) => {
            CreateError::NoCommit { path, needed: bytes }
        }
        _ => CreateError::System { what, path, source: error },
    }
}
