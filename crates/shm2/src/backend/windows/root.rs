//! The root section of a region's name: which generation is the current one. It has one page and is used again by each
//! producer that follows; whoever uses the name keeps it open.

use super::access::Access;
use super::mapping::Mapping;
use super::object_names::ObjectNames;
use super::objects::{create_section, open_section};
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
pub(super) struct Root {
    mapping: Mapping,
    _section: OwnedHandle,
}

impl Root {
    /// For a producer: the section that is there, or a new one. An error of kind `InvalidData` means that it is something
    /// else.
    pub(super) fn create(names: &ObjectNames, perms: u32) -> io::Result<Self> {
        let access = Access::to_root(perms)?;
        // Another user's may be used, but making it asks for more rights than are given.
        let made = create_section(names.root(), BYTES, &access).map(|(section, _)| section);
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
            // Another program's.
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { mapping, _section: section })
    }

    /// What stands first; a region's root begins with [`MAGIC`](Self::is_root).
    pub(super) fn magic(&self) -> u64 {
        self.words().magic.load(Ordering::Acquire)
    }

    pub(super) fn is_root(&self) -> bool {
        self.magic() == MAGIC
    }

    /// The current generation and the size of its data section; `None` when there is none, or it changes right now.
    pub(super) fn current(&self) -> Option<(u64, u64)> {
        let words = self.words();
        let generation = words.generation.load(Ordering::Acquire);
        let bytes = words.bytes.load(Ordering::Acquire);
        let same = words.generation.load(Ordering::Acquire) == generation;
        (generation != 0 && same).then_some((generation, bytes))
    }

    /// Names the current generation.
    pub(super) fn show(&self, generation: u64, bytes: u64) {
        let words = self.words();
        words.generation.store(0, Ordering::Release);
        words.bytes.store(bytes, Ordering::Release);
        words.generation.store(generation, Ordering::Release);
    }

    /// Says that this generation is over, if it is the current one.
    pub(super) fn hide(&self, generation: u64) {
        let _ = self.words().generation.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    #[allow(unsafe_code)]
    fn words(&self) -> &Words {
        // SAFETY: the words are atomics and stand at the beginning of a page that lives as long as `self`.
        unsafe { self.mapping.base().cast().as_ref() }
    }
}

/// One number that all who open the section by its name have in common.
#[derive(Debug)]
pub(super) struct Shared {
    number: u64,
    // It is the same number as long as somebody has it open.
    _root: Root,
}

impl Shared {
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let root = Root::map(create_section(name, BYTES, &Access::to_root(0o666)?)?.0, true)?;
        let mine = random_nonzero();
        let word = &root.words().generation;
        let number = word.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire).map_or_else(|n| n, |_| mine);
        Ok(Self { number, _root: root })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}
