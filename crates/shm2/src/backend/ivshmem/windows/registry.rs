//! Who in this process has which device.
//!
//! The driver maps a device once, so all users in a process share one mapping. It ends with its last user, and ending it
//! takes a request to the driver: whoever wants the device meanwhile must wait for the end, as the driver would refuse
//! him. So an entry stands in the table from before the mapping is made until after it is gone:
//!
//! 1. No entry: the caller adds one without a mapping and makes the mapping, with the table unlocked.
//! 2. An entry with a living mapping: the caller shares it.
//! 3. An entry without one: a thread is making or ending it; the caller waits for the table to change.
//!
//! The entry is removed by [`Place`], the last field of the mapping to be dropped, or by the failure to make it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// The table.
pub(super) struct Registry<T> {
    entries: Mutex<Vec<Entry<T>>>,
    changed: Condvar,
}

struct Entry<T> {
    key: String,
    shared: Weak<T>,
}

impl<T> Registry<T> {
    pub(super) fn new() -> Self {
        Self { entries: Mutex::new(Vec::new()), changed: Condvar::new() }
    }

    /// What is there under this key, or else what `make` makes. It must keep the place until all of it is gone.
    pub(super) fn share<E>(
        self: &Arc<Self>,
        key: String,
        make: impl FnOnce(Place<T>) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let place = match self.find_or_reserve(key) {
            Ok(shared) => return Ok(shared),
            Err(place) => place,
        };
        let key = place.key.clone();
        let made = Arc::new(make(place)?);
        if let Some(entry) = self.lock().iter_mut().find(|entry| entry.key == key) {
            entry.shared = Arc::downgrade(&made);
        }
        self.changed.notify_all();
        Ok(made)
    }

    fn find_or_reserve(self: &Arc<Self>, key: String) -> Result<Arc<T>, Place<T>> {
        let mut entries = self.lock();
        loop {
            let Some(entry) = entries.iter().find(|entry| entry.key == key) else {
                entries.push(Entry { key: key.clone(), shared: Weak::new() });
                return Err(Place { registry: Arc::clone(self), key });
            };
            if let Some(shared) = entry.shared.upgrade() {
                return Ok(shared);
            }
            entries = self.changed.wait(entries).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing panics while it holds the table, and each change is one step.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of the table, which goes with it.
pub(super) struct Place<T> {
    registry: Arc<Registry<T>>,
    key: String,
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.registry.lock().retain(|entry| entry.key != self.key);
        self.registry.changed.notify_all();
    }
}
