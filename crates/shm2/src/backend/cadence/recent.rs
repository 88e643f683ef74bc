//! The last item, and the last values of a quantity.

/// Distances and delays that are remembered.
pub(super) const REMEMBERED: usize = 16;
/// Most items between two waits whose mean distance is used.
pub(super) const MOST_ITEMS: u64 = 1024;

/// Identity of an item that was taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    /// 0 before the first item.
    pub(crate) sequence: u64,
    /// Time of the producer's clock.
    pub(crate) ns: u64,
}

/// The last `N` values.
#[derive(Debug, Clone)]
pub(super) struct Recent<const N: usize = REMEMBERED> {
    values: [i64; N],
    pub(super) count: usize,
    next: usize,
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self { values: [0; N], count: 0, next: 0 }
    }
}

impl<const N: usize> Recent<N> {
    pub(super) fn add(&mut self, value: i64) {
        self.values[self.next] = value;
        self.next = (self.next + 1) % N;
        self.count = (self.count + 1).min(N);
    }

    pub(super) fn values(&self) -> &[i64] {
        &self.values[..self.count]
    }

    /// The smallest value after the `passed` smallest ones.
    pub(super) fn smallest(&self, passed: usize) -> Option<i64> {
        let mut values = self.values;
        let values = &mut values[..self.count];
        values.sort_unstable();
        values.get(passed).copied()
    }

    /// The largest value before the `passed` largest ones.
    pub(super) fn largest(&self, passed: usize) -> Option<i64> {
        self.smallest(self.count.checked_sub(passed + 1)?)
    }
}
