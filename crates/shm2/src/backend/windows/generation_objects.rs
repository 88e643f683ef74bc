//! The kernel objects of one generation.

use super::kernel_objects::{create_event, create_mutex, is_locked};
use super::object_names::ObjectNames;
use super::security::SecurityDescriptor;
use crate::layout;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::sync::{Mutex, PoisonError};

/// Snapshot consumers that can be woken. Further ones look at intervals.
pub(super) const SNAPSHOTS: usize = 64;

/// Kernel objects of one generation. A consumer has a pair: the mutex that it locks, and the event that wakes it.
pub(super) struct Objects {
    pub(super) pages: Vec<[OwnedHandle; 2]>,
    pub(super) snapshots: Vec<[OwnedHandle; 2]>,
    pub(super) space: OwnedHandle,
    pub(super) changed: OwnedHandle,
    /// Held while mutexes are probed. A probe locks a free mutex for a moment, and a concurrent probe in this process
    /// would take that for a consumer.
    probing: Mutex<()>,
}

impl Objects {
    pub(super) fn create(names: &ObjectNames, generation: u64, descriptor: &SecurityDescriptor) -> io::Result<Self> {
        let pair = |[mutex, event]: [String; 2]| {
            Ok([create_mutex(&mutex, descriptor)?, create_event(Some(&event), false, Some(descriptor))?])
        };
        let event = |name: String| create_event(Some(&name), false, Some(descriptor));
        Ok(Self {
            pages: (0..layout::PAGES).map(|i| pair(names.page(generation, i))).collect::<io::Result<_>>()?,
            snapshots: (0..SNAPSHOTS).map(|i| pair(names.snapshot(generation, i))).collect::<io::Result<_>>()?,
            space: event(names.space(generation))?,
            changed: event(names.changed(generation))?,
            probing: Mutex::default(),
        })
    }

    /// Index and mutex of each attached consumer, in the order given.
    pub(super) fn present<'a>(
        &self,
        consumers: impl Iterator<Item = &'a [OwnedHandle; 2]>,
    ) -> impl Iterator<Item = (usize, &'a OwnedHandle)> {
        let _probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        let mutexes = consumers.map(|[mutex, _]| mutex).enumerate();
        mutexes.filter(|(_, mutex)| is_locked(mutex)).collect::<Vec<_>>().into_iter()
    }
}
