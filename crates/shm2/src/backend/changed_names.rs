//! Names in a folder whose files have changed since the last look.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names kept. When more files change between two looks, the whole folder is looked at.
const NAMES: usize = 1024;

/// Filled by a watch on a folder, emptied by the thread that looks at the files.
#[derive(Debug, Default)]
pub(crate) struct ChangedNames(Mutex<Changed>);

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) names: HashSet<OsString>,
    /// Other files may have changed too.
    pub(crate) is_incomplete: bool,
}

impl ChangedNames {
    /// A file has changed; without a name, or with too many, any may have.
    #[cfg_attr(
        not(any(all(target_os = "linux", not(miri)), test)),
        expect(dead_code, reason = "no folder is watched there")
    )]
    pub(crate) fn add(&self, name: Option<&OsStr>) {
        let mut changed = self.lock();
        match name {
            Some(name) if changed.names.len() < NAMES => drop(changed.names.insert(name.into())),
            _ => changed.is_incomplete = true,
        }
    }

    /// What has changed since the last call.
    pub(crate) fn take(&self) -> Changed {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_make_the_list_incomplete() {
        let changed = ChangedNames::default();
        for number in 0..=NAMES {
            changed.add(Some(OsStr::new(&number.to_string())));
        }
        let all = changed.take();
        assert_eq!((all.names.len(), all.is_incomplete), (NAMES, true));
        assert_eq!(changed.take(), Changed::default());
    }
}
