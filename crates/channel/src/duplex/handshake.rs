//! The two messages of the handshake; the documentation of the module has their layout.

use super::Refusal;
use crate::Element;
use std::array;

pub(super) const BYTES: usize = 64;
pub(super) const VERSION: u32 = 1;
/// Verdicts that need more than the parameters.
pub(super) const BAD_MEMORY: u32 = 4;
pub(super) const NOT_WANTED: u32 = 5;
pub(super) const FULL: u32 = 6;
const MAGIC: u64 = u64::from_le_bytes(*b"SHM2DUP\0");

/// The parameters of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) element: u32,
    pub(super) alignment: u32,
    /// In an answer: 0 when the client is accepted.
    pub(super) verdict: u32,
    pub(super) capacity: u64,
}

impl Hello {
    pub(super) fn of<T: Element>(capacity: usize) -> Self {
        let (element, alignment) = (size_of::<T>() as u32, align_of::<T>() as u32);
        Self { version: VERSION, element, alignment, verdict: 0, capacity: capacity as u64 }
    }

    pub(super) fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        for (at, word) in [(8, self.version), (12, self.element), (16, self.alignment), (20, self.verdict)] {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[24..32].copy_from_slice(&self.capacity.to_le_bytes());
        bytes
    }

    /// `None` when the bytes are no such message.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes(array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(array::from_fn(|i| bytes[at + i]));
        (bytes.len() == BYTES && u64_at(0) == MAGIC).then(|| Self {
            version: u32_at(8),
            element: u32_at(12),
            alignment: u32_at(16),
            verdict: u32_at(20),
            capacity: u64_at(24),
        })
    }

    /// The verdict of this server about a client: 0 when the parameters match, or the reason for refusing it.
    pub(super) fn verdict_about(&self, client: &Self) -> u32 {
        if client.version != self.version {
            1
        } else if (client.element, client.alignment) != (self.element, self.alignment) {
            2
        } else if client.capacity != self.capacity {
            3
        } else {
            0
        }
    }

    /// The meaning of a server's answer to the message `ours`.
    pub(super) fn outcome(&self, ours: &[u8]) -> Result<(), Refusal> {
        let ours = Self::read(ours).unwrap_or(*self);
        Err(match self.verdict {
            0 => return Ok(()),
            1 => Refusal::Version { theirs: self.version, ours: VERSION },
            2 => Refusal::Element { bytes: self.element, alignment: self.alignment, ours: ours.element },
            3 => Refusal::Capacity { capacity: self.capacity, ours: ours.capacity },
            BAD_MEMORY => Refusal::Memory,
            NOT_WANTED => Refusal::NotWanted,
            FULL => Refusal::Full,
            other => Refusal::Other(other),
        })
    }
}
