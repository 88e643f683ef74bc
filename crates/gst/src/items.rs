//! Lists of encoded metas and events. Each item is kind (u16), zero (u16), length (u32), then that many bytes, all
//! little-endian. Items of an unknown kind are skipped.

/// Bytes of an item besides its content.
pub(crate) const ITEM_HEAD: usize = 8;

/// Appends an item.
pub(crate) fn item(list: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    list.extend(kind.to_le_bytes());
    list.extend([0; 2]);
    list.extend((bytes.len() as u32).to_le_bytes());
    list.extend(bytes);
}

/// The unread rest of a list or an item.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length (u32), then that many bytes.
    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub(crate) fn item(&mut self) -> Option<(u16, &'a [u8])> {
        let kind = u16::from_le_bytes(self.array()?);
        let _zero: [u8; 2] = self.array()?;
        Some((kind, self.sized()?))
    }
}
