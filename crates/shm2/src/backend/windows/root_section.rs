//! The root section of a region's name: it says which generation is the current one. It has one page, and each
//! following producer uses it again. Every producer and consumer keeps it open.

use super::kernel_objects::{create_section, open_section};
use super::mapping::Mapping;
use super::object_names::ObjectNames;
use super::security::SecurityDescriptor;
use crate::backend::{MappedBytes, random_nonzero};
use crate::sync::{AtomicU64, Ordering};
use std::io;
use std::os::windows::io::OwnedHandle;

const BYTES: u64 = 4096;
/// `SHM2ROT`, a zero byte.
const MAGIC: u64 = u64::from_le_bytes(*b"SHM2ROT\0");

/// All words are zero in a fresh section.
#[repr(C)]
struct Words {
    magic: AtomicU64,
    /// 0 while there is no producer.
    generation: AtomicU64,
    /// Size of that generation's data section.
    bytes: AtomicU64,
}

#[derive(Debug)]
pub(super) struct RootSection {
    mapping: Mapping,
    _section: OwnedHandle,
}

impl RootSection {
    /// For a producer: makes the section or opens the existing one. An error of kind `InvalidData` means that the name
    /// is that of another program's section.
    pub(super) fn create(names: &ObjectNames, perms: u32) -> io::Result<Self> {
        let descriptor = SecurityDescriptor::for_root(perms)?;
        // The section of another user may be open to this one, but creating asks for more rights than opening.
        let made = create_section(names.root(), BYTES, &descriptor).map(|(section, _)| section);
        let section = made.or_else(|e| open_section(names.root(), true).map_err(|_| e))?;
        let root = Self::map(section, true)?;
        match root.words().magic.compare_exchange(0, MAGIC, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(MAGIC) => Ok(root),
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// For a consumer.
    pub(super) fn open(names: &ObjectNames) -> io::Result<Self> {
        Self::map(open_section(names.root(), false)?, false)
    }

    fn map(section: OwnedHandle, writable: bool) -> io::Result<Self> {
        let mapping = Mapping::of_whole_section(&section, writable)?;
        if mapping.len() as u64 != BYTES {
            // Another program's section.
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { mapping, _section: section })
    }

    /// First word of the section.
    pub(super) fn magic(&self) -> u64 {
        self.words().magic.load(Ordering::Acquire)
    }

    pub(super) fn is_root(&self) -> bool {
        self.magic() == MAGIC
    }

    /// The current generation and the size of its data section. `None` if there is none, or if it changes at this
    /// moment.
    pub(super) fn current(&self) -> Option<(u64, u64)> {
        let words = self.words();
        let generation = words.generation.load(Ordering::Acquire);
        let bytes = words.bytes.load(Ordering::Acquire);
        let same = words.generation.load(Ordering::Acquire) == generation;
        (generation != 0 && same).then_some((generation, bytes))
    }

    /// Makes this the current generation.
    pub(super) fn set_current(&self, generation: u64, bytes: u64) {
        let words = self.words();
        words.generation.store(0, Ordering::Release);
        words.bytes.store(bytes, Ordering::Release);
        words.generation.store(generation, Ordering::Release);
    }

    /// Ends this generation, if it is the current one.
    pub(super) fn clear_current(&self, generation: u64) {
        let _ = self.words().generation.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    #[expect(unsafe_code, reason = "one reference, to words in a mapping")]
    fn words(&self) -> &Words {
        // SAFETY: the words are atomics at the beginning of a page that `self` keeps mapped.
        unsafe { self.mapping.base().cast().as_ref() }
    }
}

/// A random number that all processes share that open the section by its name.
#[derive(Debug)]
pub(super) struct SharedNumber {
    number: u64,
    // The number lasts as long as any process has the section open.
    _root: RootSection,
}

impl SharedNumber {
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let root = RootSection::map(create_section(name, BYTES, &SecurityDescriptor::for_root(0o666)?)?.0, true)?;
        let mine = random_nonzero();
        let word = &root.words().generation;
        let number = word.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire).map_or_else(|n| n, |_| mine);
        Ok(Self { number, _root: root })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}
