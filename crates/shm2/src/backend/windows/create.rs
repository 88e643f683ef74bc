//! Making a region: a data section and its objects, filled, and only then named by the root section.

use super::access::Access;
use super::keeper::{self, Kept};
use super::object_names::ObjectNames;
use super::objects::{
    Made, create_event, create_mutex, create_section, is_taken, open_event, release, set, try_take, wait,
};
use super::root::Root;
use super::watch::watch_consumers;
use crate::backend::{Event, Mapping, ProducerRegion, Watch, random_nonzero};
use crate::error::CreateError;
use crate::layout;
use crate::mapped::Memory;
use crate::name::Spec;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::io;
use std::os::windows::io::OwnedHandle;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_COMMITMENT_LIMIT, ERROR_INVALID_HANDLE, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_PRIVILEGE_NOT_HELD,
};

/// Snapshot consumers that are woken; more of them look by the clock.
pub(super) const SNAPSHOTS: usize = 64;
/// New snapshot consumers take the lowest free number, so so many above the highest one ever seen are looked at.
const BEYOND: usize = 8;

/// What consumers of one generation live by, in the order page mutex, event.
pub(super) struct Objects {
    pub(super) pages: Vec<[OwnedHandle; 2]>,
    pub(super) snapshots: Vec<[OwnedHandle; 2]>,
    pub(super) space: OwnedHandle,
    pub(super) look: OwnedHandle,
    /// Held while mutexes are tried: whoever tries one owns it for a moment, and must not be taken for a consumer.
    probing: Mutex<()>,
}

impl Objects {
    fn create(names: &ObjectNames, generation: u64, access: &Access) -> io::Result<Self> {
        let pair = |[mutex, event]: [String; 2]| {
            Ok([create_mutex(&mutex, access)?, create_event(Some(&event), false, Some(access))?])
        };
        let event = |name: String| create_event(Some(&name), false, Some(access));
        Ok(Self {
            pages: (0..layout::PAGES).map(|i| pair(names.page(generation, i))).collect::<io::Result<_>>()?,
            snapshots: (0..SNAPSHOTS).map(|i| pair(names.snapshot(generation, i))).collect::<io::Result<_>>()?,
            space: event(names.space(generation))?,
            look: event(names.look(generation))?,
            probing: Mutex::default(),
        })
    }

    /// Which of the consumers are there; in the order given.
    pub(super) fn present<'a>(
        &self,
        consumers: impl Iterator<Item = &'a [OwnedHandle; 2]>,
    ) -> impl Iterator<Item = (usize, &'a OwnedHandle)> {
        let _probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        let there: Vec<_> = consumers.map(|[life, _]| life).enumerate().filter(|(_, life)| is_taken(life)).collect();
        there.into_iter()
    }
}

/// A region that this process produces.
pub(crate) struct OwnedRegion {
    path: PathBuf,
    names: ObjectNames,
    generation: u64,
    root: Root,
    objects: Arc<Objects>,
    life: Mutex<Option<Kept>>,
    /// Snapshot consumers that were seen at the last look, a bit each, and the highest number ever seen plus one.
    present: AtomicU64,
    highest: AtomicUsize,
    // Its name lasts as long as this.
    _section: OwnedHandle,
}

impl OwnedRegion {
    pub(super) fn create<T>(
        spec: &Spec,
        bytes: u64,
        perms: u32,
        keep: bool,
        begin: impl FnOnce(Mapping, &dyn Fn(&Memory)) -> Result<T, CreateError>,
    ) -> Result<(Self, T), CreateError> {
        let path = spec.path();
        if keep {
            return Err(CreateError::KeptSection { path: path.into() });
        }
        let failed = |what| move |e: io::Error| create_error(what, path, bytes, e);
        let names = ObjectNames::of(spec);
        let root = Root::create(&names, perms).map_err(failed("make the root section of"))?;
        let access = Access::to_objects(perms).map_err(failed("describe the permissions of"))?;
        let life = take_generation(&names, &access, path)?;
        retire_last(&root, &names);
        let generation = random_nonzero();
        let data = Access::to_data(perms).map_err(failed("describe the permissions of"))?;
        let (section, made) =
            create_section(&names.data(generation), bytes, &data).map_err(failed("make the section of"))?;
        if made == Made::Existed {
            return Err(CreateError::NotAFile { path: path.into(), what: "in use by something else" });
        }
        let mapping = Mapping::of_section(&section, 0, bytes as usize, true).map_err(failed("map"))?;
        let objects = Objects::create(&names, generation, &access).map_err(failed("make the objects of"))?;
        let begun = begin(mapping, &|_| {})?;
        root.show(generation, bytes);
        let (present, highest) = (AtomicU64::new(0), AtomicUsize::new(0));
        let (life, objects) = (Mutex::new(Some(life)), Arc::new(objects));
        let path = path.into();
        let new = Self { path, names, generation, root, objects, life, present, highest, _section: section };
        new.ring();
        Ok((new, begun))
    }

    /// Tells consumers that wait for a producer.
    fn ring(&self) {
        if let Ok(bell) = open_event(&self.names.bell()) {
            set(&bell);
        }
    }

    fn wake_snapshots(&self, which: u64) {
        bits(which).for_each(|i| set(&self.objects.snapshots[i][1]));
    }
}

impl ProducerRegion for OwnedRegion {
    fn path(&self) -> &Path {
        &self.path
    }

    fn try_lock_page(&self, index: usize) -> bool {
        try_take(&self.objects.pages[index][0])
    }

    fn unlock_page(&self, index: usize) {
        release(&self.objects.pages[index][0]);
    }

    fn has_snapshots(&self) -> bool {
        // Relaxed: the producer's own notes.
        let end = (self.highest.load(Ordering::Relaxed) + BEYOND).min(SNAPSHOTS);
        let present: u64 = self.objects.present(self.objects.snapshots[..end].iter()).map(|(i, _)| 1 << i).sum();
        let new = present & !self.present.swap(present, Ordering::Relaxed);
        // They may sleep since before they were known.
        self.wake_snapshots(new);
        self.highest.fetch_max(64 - present.leading_zeros() as usize, Ordering::Relaxed);
        present != 0
    }

    fn notify_watchers(&self) {
        set(&self.objects.look);
    }

    fn remove_name(&self) -> bool {
        self.root.hide(self.generation);
        true
    }

    fn end_generation(&self) {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn wake(&self, _word: &AtomicU32, pages: u64) {
        bits(pages).for_each(|i| set(&self.objects.pages[i][1]));
        self.wake_snapshots(self.present.load(Ordering::Relaxed));
    }

    fn wait_for_space(&self, _words: &[(&AtomicU32, u32)], timeout: Duration) {
        wait(&[&self.objects.space], Some(timeout));
    }

    fn watch(&self, event: &Arc<Event>) -> Option<Watch> {
        watch_consumers(&self.objects, event)
    }
}

/// The numbers of the bits that are set.
fn bits(mask: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |i| mask >> i & 1 != 0)
}

/// Those who read the generation of a producer that was killed must not take this one for it, nor sleep on.
fn retire_last(root: &Root, names: &ObjectNames) {
    let Some((last, _)) = root.current() else { return };
    root.hide(last);
    let wakes = (0..layout::PAGES).map(|i| names.page(last, i)).chain((0..SNAPSHOTS).map(|i| names.snapshot(last, i)));
    for [_, wake] in wakes {
        if let Ok(event) = open_event(&wake) {
            set(&event);
        }
    }
}

/// The mutex that only the one living producer owns. Whoever looks whether it is owned has it for a moment.
fn take_generation(names: &ObjectNames, access: &Access, path: &Path) -> Result<Kept, CreateError> {
    let name = names.producer();
    for _ in 0..20 {
        let mutex = create_mutex(&name, access).map_err(|e| create_error("make the mutex of", path, 0, e))?;
        if let Some(life) = keeper::take(&name, mutex) {
            return Ok(life);
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
