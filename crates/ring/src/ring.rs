//! What both sides have in common: where the words and the elements are, and the parts at the wrap.
//!
//! # Safety
//! * A [`Ring`] points to memory that is valid for reads and writes of its words and `capacity` elements, and aligned for
//!   both, for the lifetime in its type: [`channel`] borrows it, `attach` leaves it to its caller.
//! * References are made to the words only, which are atomics. Elements are reached by raw copies of types for which any
//!   bytes are a value. The peer may write at the same time; a copy is then a mix of old and new bytes.
//! * Offsets come from counts that were checked, and from `at`, which is below `capacity` always.

#![allow(unsafe_code)]

use crate::error::AttachError;
use crate::layout::{ELEMENTS_OFFSET, Words};
use crate::receiver::Receiver;
use crate::sender::Sender;
use core::marker::PhantomData;
use core::ptr::NonNull;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Plain data: any bytes are a value, and a value is nothing but its bytes. Numbers, arrays of them, and structs that
/// derive zerocopy's traits.
pub trait Element: Copy + FromBytes + IntoBytes + Immutable {}

impl<T: Copy + FromBytes + IntoBytes + Immutable> Element for T {}

/// What a step left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// For a sender free slots, for a receiver elements to read; at least so many.
    pub remaining: usize,
    /// The other side asked for a signal: it may be asleep.
    pub signal: bool,
}

/// A sender and a receiver on `memory`, of which as many elements as fit are used. What stood there is gone.
///
/// # Errors
/// When the memory is too small or not aligned for words of 8 bytes and elements.
pub fn channel<T: Element>(memory: &mut [u8]) -> Result<(Sender<'_, T>, Receiver<'_, T>), AttachError> {
    memory.iter_mut().take(ELEMENTS_OFFSET).for_each(|byte| *byte = 0);
    let (address, bytes) = (memory.as_mut_ptr(), memory.len());
    // SAFETY: the memory is borrowed for as long as both live, and this is one sender and one receiver.
    unsafe { Ok((Sender::attach(address, bytes)?, Receiver::attach(address, bytes)?)) }
}

#[derive(Debug)]
pub(crate) struct Ring<'m, T> {
    words: NonNull<Words>,
    elements: NonNull<T>,
    pub(crate) capacity: usize,
    memory: PhantomData<&'m [u8]>,
}

/// A run of elements, in at most two parts.
pub(crate) type Parts<T> = [(NonNull<T>, usize); 2];

impl<T: Element> Ring<'_, T> {
    /// # Safety
    /// `address` is valid for reads and writes of `bytes` bytes as long as the result lives.
    pub(crate) unsafe fn new(address: *mut u8, bytes: usize) -> Result<Self, AttachError> {
        if size_of::<T>() == 0 {
            return Err(AttachError::ZeroSized);
        }
        let alignment = align_of::<Words>().max(align_of::<T>());
        let needed = ELEMENTS_OFFSET.saturating_add(size_of::<T>());
        let words = NonNull::new(address.cast::<Words>()).filter(|_| bytes >= needed);
        let Some(words) = words else { return Err(AttachError::TooSmall { bytes, needed }) };
        if !address.addr().is_multiple_of(alignment) || !ELEMENTS_OFFSET.is_multiple_of(alignment) {
            return Err(AttachError::Unaligned { alignment });
        }
        let capacity = (bytes - ELEMENTS_OFFSET) / size_of::<T>();
        // SAFETY: the memory has at least one element from this offset on.
        let elements = unsafe { words.byte_add(ELEMENTS_OFFSET).cast() };
        Ok(Self { words, elements, capacity, memory: PhantomData })
    }

    #[inline]
    pub(crate) fn words(&self) -> &Words {
        // SAFETY: see the head of this file.
        unsafe { self.words.as_ref() }
    }

    /// `count` elements from `at` on, which is below the capacity; `count` is at most the capacity.
    #[inline]
    pub(crate) fn parts(&self, at: usize, count: usize) -> Parts<T> {
        debug_assert!(at < self.capacity && count <= self.capacity);
        let first = count.min(self.capacity - at);
        // SAFETY: `at` is below the capacity.
        [(unsafe { self.elements.add(at) }, first), (self.elements, count - first)]
    }

    /// Where to go on after `count` elements from `at`.
    #[inline]
    pub(crate) fn advance(&self, at: usize, count: usize) -> usize {
        let next = at + count;
        if next >= self.capacity { next - self.capacity } else { next }
    }
}

/// Copies elements into parts, from element `skip` on; those that do not fit are left out. Returns how many went.
#[inline]
pub(crate) fn copy_in<T: Element>(parts: &Parts<T>, skip: usize, values: &[T]) -> usize {
    let (address, length) = parts[0];
    if skip > length || values.len() > length - skip {
        return copy_in_both(parts, skip, values);
    }
    // SAFETY: the range lies in the first part, which lies in the ring; `values` is private memory.
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
            // SAFETY: the range lies in this part, which lies in the ring; `values` is private memory.
            unsafe { address.add(skip).copy_from_nonoverlapping(NonNull::from(&values[done..]).cast(), count) };
        }
        done += count;
        skip = skip.saturating_sub(*length);
    }
    done
}

/// Copies elements out of parts, from element `skip` on. Returns how many there were.
#[inline]
pub(crate) fn copy_out<T: Element>(parts: &Parts<T>, skip: usize, values: &mut [T]) -> usize {
    let (address, length) = parts[0];
    if skip > length || values.len() > length - skip {
        return copy_out_both(parts, skip, values);
    }
    // SAFETY: the range lies in the first part, which lies in the ring; `values` is private memory.
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
            // SAFETY: the range lies in this part, which lies in the ring; `values` is private memory.
            unsafe { address.add(skip).copy_to_nonoverlapping(NonNull::from(&mut values[done..]).cast(), count) };
        }
        done += count;
        skip = skip.saturating_sub(*length);
    }
    done
}

/// The element number `index` of the parts, if there are so many.
#[inline]
pub(crate) fn place<T>(parts: &Parts<T>, index: usize) -> Option<NonNull<T>> {
    let [(first, in_first), (second, in_second)] = *parts;
    if index < in_first {
        // SAFETY: inside the first part.
        return Some(unsafe { first.add(index) });
    }
    // SAFETY: inside the second part.
    (index - in_first < in_second).then(|| unsafe { second.add(index - in_first) })
}
