//! The mappings of this process, one for each device.
//!
//! The driver maps a device once, so all users in a process share one mapping. Its last user ends it by a request to
//! the driver, and until that request is done the driver refuses another mapping. So the table has an entry for a
//! device from before its mapping is made until after it has ended:
//!
//! 1. No entry: the caller adds one without a mapping and makes the mapping, with the table unlocked.
//! 2. An entry with a mapping: the caller shares it.
//! 3. An entry without one: another thread is making or ending it. The caller waits until the table changes.
//!
//! The entry is removed by the [`TableEntry`], which the mapping owns and drops last, or which is dropped when the
//! mapping cannot be made.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// The table.
pub(super) struct ProcessTable<T> {
    entries: Mutex<Vec<Entry<T>>>,
    changed: Condvar,
}

struct Entry<T> {
    key: String,
    shared: Weak<T>,
}

impl<T> ProcessTable<T> {
    pub(super) fn new() -> Self {
        Self { entries: Mutex::new(Vec::new()), changed: Condvar::new() }
    }

    /// Returns the value of this key, or makes it. The new value must own the entry, and drop it after everything else.
    pub(super) fn share<E>(
        self: &Arc<Self>,
        key: String,
        make: impl FnOnce(TableEntry<T>) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let entry = match self.find_or_reserve(key) {
            Ok(shared) => return Ok(shared),
            Err(entry) => entry,
        };
        let key = entry.key.clone();
        let made = Arc::new(make(entry)?);
        if let Some(entry) = self.lock().iter_mut().find(|entry| entry.key == key) {
            entry.shared = Arc::downgrade(&made);
        }
        self.changed.notify_all();
        Ok(made)
    }

    fn find_or_reserve(self: &Arc<Self>, key: String) -> Result<Arc<T>, TableEntry<T>> {
        let mut entries = self.lock();
        loop {
            let Some(entry) = entries.iter().find(|entry| entry.key == key) else {
                entries.push(Entry { key: key.clone(), shared: Weak::new() });
                return Err(TableEntry { registry: Arc::clone(self), key });
            };
            if let Some(shared) = entry.shared.upgrade() {
                return Ok(shared);
            }
            entries = self.changed.wait(entries).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A poisoned table is used: each change to it is one step, so it is never half changed.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of the table, removed when dropped.
pub(super) struct TableEntry<T> {
    registry: Arc<ProcessTable<T>>,
    key: String,
}

impl<T> Drop for TableEntry<T> {
    fn drop(&mut self) {
        self.registry.lock().retain(|entry| entry.key != self.key);
        self.registry.changed.notify_all();
    }
}
