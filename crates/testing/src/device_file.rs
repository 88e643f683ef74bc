//! A plain file that stands for the memory of a shared-memory device.

use crate::TempRegion;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

/// The file behind a device's memory. The host names it by its path, a guest names it `ivshmem://` and the path.
#[derive(Debug)]
pub struct DeviceFile(TempRegion);

impl DeviceFile {
    /// Size in bytes.
    pub const BYTES: u64 = 6 << 20;

    /// A new file of zeros.
    ///
    /// # Panics
    /// When the file cannot be created.
    #[expect(clippy::new_without_default, reason = "it creates a file")]
    pub fn new() -> Self {
        let name = TempRegion::new();
        File::create(name.path()).unwrap().set_len(Self::BYTES).unwrap();
        Self(name)
    }

    /// The device's name in a guest.
    pub fn guest(&self) -> String {
        format!("ivshmem://{}", &*self.0)
    }

    /// The device's name on the host: the path of the file.
    pub fn host(&self) -> &str {
        &self.0
    }

    /// The file, opened for reading and writing.
    ///
    /// # Panics
    /// When the file is missing.
    pub fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(self.0.path()).unwrap()
    }

    /// Writes zeros over the first `bytes` bytes, as a virtual machine's firmware may do when it starts.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn clear(&self, bytes: u64) {
        self.open().write_all_at(&vec![0; bytes as usize], 0).unwrap();
    }

    /// The 32-bit word at `offset`.
    ///
    /// # Panics
    /// When the file cannot be read.
    pub fn word32(&self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.open().read_exact_at(&mut bytes, offset).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// The 64-bit word at `offset`.
    ///
    /// # Panics
    /// When the file cannot be read.
    pub fn word64(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.open().read_exact_at(&mut bytes, offset).unwrap();
        u64::from_le_bytes(bytes)
    }
}
