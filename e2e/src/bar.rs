//! A plain file that stands for the memory of a device.

use crate::{Name, Peer};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

/// Its size.
pub const BYTES: u64 = 6 << 20;

/// The backing file of a device: its host names it by its path, a guest by [`guest`](Self::guest).
pub struct Bar(Name);

impl Bar {
    /// A fresh one, all zeros.
    ///
    /// # Panics
    /// When there is no room.
    #[allow(clippy::new_without_default, clippy::unwrap_used)]
    pub fn new() -> Self {
        let name = Name::new();
        File::create(name.path()).unwrap().set_len(BYTES).unwrap();
        Self(name)
    }

    /// Its name in a guest.
    pub fn guest(&self) -> String {
        format!("ivshmem://{}", &*self.0)
    }

    /// Its name on the host.
    pub fn host(&self) -> &str {
        &self.0
    }

    /// The file itself, to read and write.
    ///
    /// # Panics
    /// When it is gone.
    #[allow(clippy::unwrap_used)]
    pub fn file(&self) -> File {
        OpenOptions::new().read(true).write(true).open(self.0.path()).unwrap()
    }

    /// Fills the beginning with zeros, as the firmware of a starting machine may.
    ///
    /// # Panics
    /// When it cannot.
    #[allow(clippy::unwrap_used)]
    pub fn wipe(&self, bytes: u64) {
        self.file().write_all_at(&vec![0; bytes as usize], 0).unwrap();
    }
}

/// A peer at either of its names.
pub fn peer(role: &str, place: &str, options: &str) -> Peer {
    Peer::start(&format!("{role} {place} {options}"))
}
