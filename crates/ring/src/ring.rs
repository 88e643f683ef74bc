//! What both sides share: the location of the words and the elements, and copies to and from the two parts of a run.
//!
//! # Safety
//! * A [`Ring`] points to memory that is valid for reads and writes of its words and `capacity` elements, and aligned
//!   for both, for the lifetime in its type. [`channel`](crate::channel) borrows the memory; the caller of `attach`
//!   guarantees it.
//! * References are made to the words only, which are atomics. Elements are accessed by raw copies of types for which
//!   any bytes are a valid value. The peer may write at the same time; a copy is then a mix of old and new bytes.
//! * Offsets are computed from checked counts and from `at`, which is always below `capacity`.

#![expect(unsafe_code, reason = "raw access to the elements, see the head of this file")]

use crate::error::AttachError;
use crate::layout::{ELEMENTS_OFFSET, Words};
use core::marker::PhantomData;
use core::ptr::NonNull;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Plain data: any bytes are a valid value, and a value has no padding and no references. Implemented for numbers, for
/// arrays of them, and for structs that derive zerocopy's traits `FromBytes`, `IntoBytes` and `Immutable`.
pub trait Element: Copy + FromBytes + IntoBytes + Immutable {}

impl<T: Copy + FromBytes + IntoBytes + Immutable> Element for T {}

/// Location of a ring: its words and its elements.
#[derive(Debug)]
pub(crate) struct Ring<'m, T> {
    words: NonNull<Words>,
    elements: NonNull<T>,
    pub(crate) capacity: usize,
    memory: PhantomData<&'m [u8]>,
}

/// A run of elements in at most two parts: address and length of each. The second part is at the start of the memory.
pub(crate) type Parts<T> = [(NonNull<T>, usize); 2];

impl<T: Element> Ring<'_, T> {
    /// # Safety
    /// `address` must be valid for reads and writes of `bytes` bytes for as long as the result exists.
    pub(crate) unsafe fn new(address: *mut u8, bytes: usize) -> Result<Self, AttachError> {
        if size_of::<T>() == 0 {
            return Err(AttachError::ZeroSized);
        }
        let alignment = align_of::<Words>().max(align_of::<T>());
        let needed = ELEMENTS_OFFSET.saturating_add(size_of::<T>());
        let words = NonNull::new(address.cast::<Words>()).filter(|_| bytes >= needed);
        let Some(words) = words else { return Err(AttachError::TooSmall { bytes, needed }) };
        if address.addr() % alignment != 0 || ELEMENTS_OFFSET % alignment != 0 {
            return Err(AttachError::Unaligned { alignment });
        }
        let capacity = (bytes - ELEMENTS_OFFSET) / size_of::<T>();
        // SAFETY: the memory holds at least one element at this offset, as checked above.
        let elements = unsafe { words.byte_add(ELEMENTS_OFFSET).cast() };
        Ok(Self { words, elements, capacity, memory: PhantomData })
    }

    #[inline]
    pub(crate) fn words(&self) -> &Words {
        // SAFETY: see the head of this file.
        unsafe { self.words.as_ref() }
    }

    /// The run of `count` elements that starts at index `at`. `at` must be below the capacity, and `count` at most it.
    #[inline]
    pub(crate) fn parts(&self, at: usize, count: usize) -> Parts<T> {
        debug_assert!(at < self.capacity && count <= self.capacity);
        let first = count.min(self.capacity - at);
        // SAFETY: every caller passes an `at` below the capacity.
        [(unsafe { self.elements.add(at) }, first), (self.elements, count - first)]
    }

    /// The index that follows `count` elements from `at`.
    #[inline]
    pub(crate) fn advance(&self, at: usize, count: usize) -> usize {
        let next = at + count;
        if next >= self.capacity { next - self.capacity } else { next }
    }
}

/// Copies `values` into the run, starting at its element `skip`. Values that do not fit are not copied. Returns the
/// number of values copied.
#[inline]
pub(crate) fn copy_in<T: Element>(parts: &Parts<T>, skip: usize, values: &[T]) -> usize {
    let (address, length) = parts[0];
    if skip > length || values.len() > length - skip {
        return copy_in_both(parts, skip, values);
    }
    // SAFETY: the range is inside the first part, which is inside the ring; `values` is private memory.
    unsafe { address.add(skip).copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
    values.len()
}

#[cold]
fn copy_in_both<T: Element>(parts: &Parts<T>, skip: usize, values: &[T]) -> usize {
    let mut done = 0;
    let mut skip = skip;
    for (address, length) in parts {
        let count = length.saturating_sub(skip).min(values.len() - done);
        if count > 0 {
            // SAFETY: the range is inside this part, which is inside the ring; `values` is private memory.
            unsafe { address.add(skip).copy_from_nonoverlapping(NonNull::from(&values[done..]).cast(), count) };
        }
        done += count;
        skip = skip.saturating_sub(*length);
    }
    done
}

/// Copies elements of the run into `values`, starting at its element `skip`. Returns the number of elements copied.
#[inline]
pub(crate) fn copy_out<T: Element>(parts: &Parts<T>, skip: usize, values: &mut [T]) -> usize {
    let (address, length) = parts[0];
    if skip > length || values.len() > length - skip {
        return copy_out_both(parts, skip, values);
    }
    // SAFETY: the range is inside the first part, which is inside the ring; `values` is private memory.
    unsafe { address.add(skip).copy_to_nonoverlapping(NonNull::from(&mut *values).cast(), values.len()) };
    values.len()
}

#[cold]
fn copy_out_both<T: Element>(parts: &Parts<T>, skip: usize, values: &mut [T]) -> usize {
    let mut done = 0;
    let mut skip = skip;
    for (address, length) in parts {
        let count = length.saturating_sub(skip).min(values.len() - done);
        if count > 0 {
            // SAFETY: the range is inside this part, which is inside the ring; `values` is private memory.
            unsafe { address.add(skip).copy_to_nonoverlapping(NonNull::from(&mut values[done..]).cast(), count) };
        }
        done += count;
        skip = skip.saturating_sub(*length);
    }
    done
}

/// Address of element `index` of the run. `None` when the run is shorter.
#[inline]
pub(crate) fn element_at<T>(parts: &Parts<T>, index: usize) -> Option<NonNull<T>> {
    let [(first, in_first), (second, in_second)] = *parts;
    if index < in_first {
        // SAFETY: inside the first part.
        return Some(unsafe { first.add(index) });
    }
    // SAFETY: inside the second part.
    (index - in_first < in_second).then(|| unsafe { second.add(index - in_first) })
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[repr(C, align(128))]
    struct Memory([u8; 1024]);

    /// The elements of a run, by their indices in the ring.
    fn indices(capacity: usize, at: usize, count: usize) -> Vec<usize> {
        (at..at + count).map(|index| index % capacity).collect()
    }

    /// Every run of every small ring, with every position and length of a copy.
    #[test]
    fn every_run_of_a_small_ring_is_copied_as_one_piece_would_be() {
        let mut memory = Memory([0; 1024]);
        for capacity in 1..=5 {
            let bytes = ELEMENTS_OFFSET + capacity * size_of::<u16>();
            assert!(bytes <= memory.0.len());
            // SAFETY: the memory outlives the ring, and only this thread uses it.
            let ring = unsafe { Ring::<u16>::new(memory.0.as_mut_ptr(), bytes) }.unwrap();
            assert_eq!(ring.capacity, capacity);
            for (at, count) in (0..capacity).flat_map(|at| (0..=capacity).map(move |count| (at, count))) {
                let run = indices(capacity, at, count);
                assert_eq!(ring.advance(at, count), (at + count) % capacity);
                for (skip, length) in (0..=count + 1).flat_map(|skip| (0..=count + 1).map(move |n| (skip, n))) {
                    check_copies(&ring, at, &run, skip, length);
                }
            }
        }
    }

    fn check_copies(ring: &Ring<'_, u16>, at: usize, run: &[usize], skip: usize, length: usize) {
        let (parts, whole) = (ring.parts(at, run.len()), ring.parts(0, ring.capacity));
        let before: Vec<u16> = (0..ring.capacity as u16).collect();
        assert_eq!(copy_in(&whole, 0, &before), ring.capacity);
        let values: Vec<u16> = (100..100 + length as u16).collect();
        let inside: Vec<usize> = run.iter().copied().skip(skip).take(length).collect();
        assert_eq!(copy_in(&parts, skip, &values), inside.len());
        let mut expected = before;
        for (index, value) in inside.iter().zip(&values) {
            expected[*index] = *value;
        }
        let mut found = vec![0; ring.capacity];
        assert_eq!(copy_out(&whole, 0, &mut found), ring.capacity);
        assert_eq!(found, expected, "nothing but the run changes: {run:?} {skip} {length}");
        let mut read = vec![0; length];
        assert_eq!(copy_out(&parts, skip, &mut read), inside.len());
        assert_eq!(read[..inside.len()], values[..inside.len()]);
        for index in 0..run.len() + 2 {
            let address = run.get(index).map(|index| ring.elements.as_ptr().wrapping_add(*index));
            assert_eq!(element_at(&parts, index).map(NonNull::as_ptr), address);
        }
    }
}
