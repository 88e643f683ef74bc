//! A GStreamer allocator whose memory is the arena of a region, so that upstream writes where consumers read.
//!
//! When the arena is exhausted it returns marked fallback memory of the system, so that upstream does not fail and the
//! sink can make upstream's pool allocate from the arena again.
//!
//! # Safety
//! * An [`ArenaMemory`] begins with a `GstMemory` that `gst_memory_init` set up, so GStreamer may treat it as one.
//! * `data` points to the first byte of `reservation`, which the root memory owns; a share holds a reference to its
//!   root. The arena stays mapped while any reservation exists.
//! * GStreamer's map locks give write access; a buffer of the sink holds a published frame's memory, which makes it not
//!   writable for pools.

#![expect(unsafe_code, reason = "GStreamer calls the allocator through C function pointers")]

use gst::ffi;
use gst::glib::{self, translate::*};
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::Reservation;
use shm2::producer::Handle;
use std::mem::offset_of;
use std::ptr;
use std::sync::OnceLock;

/// Extents start at multiples of this.
const ALIGNMENT: usize = 64;
/// Its address names this allocator's memories.
static MEMORY_TYPE: &std::ffi::CStr = c"Shm2Arena";

#[repr(C)]
struct ArenaMemory {
    memory: ffi::GstMemory,
    data: *mut u8,
    /// Present in root memories, absent in shares.
    reservation: Option<Box<Reservation>>,
    /// Present in root memories: parameters with which another one is made.
    params: Option<gst::AllocationParams>,
}

const _: () = assert!(offset_of!(ArenaMemory, memory) == 0);

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct ArenaAllocator {
        pub(super) handle: OnceLock<Handle>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for ArenaAllocator {
        const NAME: &'static str = "GstShm2ArenaAllocator";
        type Type = super::ArenaAllocator;
        type ParentType = gst::Allocator;
    }

    impl ObjectImpl for ArenaAllocator {
        fn constructed(&self) {
            self.parent_constructed();
            let allocator: *mut ffi::GstAllocator = self.obj().upcast_ref::<gst::Allocator>().to_glib_none().0;
            // SAFETY: the object is under construction; no other reference to it exists.
            unsafe {
                (*allocator).mem_type = MEMORY_TYPE.as_ptr();
                (*allocator).mem_map = Some(map);
                (*allocator).mem_unmap = Some(unmap);
                (*allocator).mem_share = Some(share);
                (*allocator).mem_is_span = Some(is_span);
            }
        }
    }

    impl GstObjectImpl for ArenaAllocator {}

    // SAFETY: `alloc` returns a new memory with one reference, `free` frees what `alloc` and `share` made.
    unsafe impl AllocatorImpl for ArenaAllocator {
        unsafe fn alloc(&self, size: usize, params: &gst::AllocationParams) -> *mut ffi::GstMemory {
            let allocator = self.obj();
            let reserve = |handle: &Handle| Allocation::reserve(size, params, |bytes| handle.try_reserve(bytes).ok());
            match self.handle.get().and_then(reserve) {
                // SAFETY: the allocation was reserved for this size and these parameters.
                Some(allocation) => unsafe { allocation.into_memory(allocator.upcast_ref(), params) },
                None => fallback(size, params),
            }
        }

        unsafe fn free(&self, memory: *mut ffi::GstMemory) {
            // SAFETY: made by `into_raw` below; dropping a root's reservation frees its extent.
            drop(unsafe { Box::from_raw(memory.cast::<ArenaMemory>()) });
        }
    }
}

glib::wrapper! {
    /// Allocates from a region's arena.
    pub struct ArenaAllocator(ObjectSubclass<imp::ArenaAllocator>) @extends gst::Allocator, gst::Object;
}

impl ArenaAllocator {
    /// An allocator for the arena of one producer.
    pub(crate) fn new(handle: Handle) -> Self {
        let new: Self = glib::Object::new();
        // A new object's cell is empty.
        let _ = new.imp().handle.set(handle);
        new
    }
}

/// A reservation with the offset of the data in it.
struct Allocation {
    reservation: Box<Reservation>,
    skip: usize,
    maxsize: usize,
    size: usize,
}

impl Allocation {
    fn reserve(
        size: usize,
        params: &gst::AllocationParams,
        reserve: impl FnOnce(usize) -> Option<Reservation>,
    ) -> Option<Self> {
        let maxsize = size.checked_add(params.prefix())?.checked_add(params.padding())?;
        let extra = if params.align() >= ALIGNMENT { params.align() } else { 0 };
        let mut reservation = Box::new(reserve(maxsize.checked_add(extra)?.max(1))?);
        let address = reservation.as_mut_ptr() as usize;
        let skip = if extra > 0 { address.wrapping_neg() & params.align() } else { 0 };
        Some(Self { reservation, skip, maxsize, size })
    }

    /// # Safety
    /// `params` are those of the reservation.
    unsafe fn into_memory(mut self, allocator: &gst::Allocator, params: &gst::AllocationParams) -> *mut ffi::GstMemory {
        let flags = params.flags();
        // SAFETY: `skip` is at most the extra that was reserved for it.
        let data = unsafe { self.reservation.as_mut_ptr().add(self.skip) };
        // SAFETY: prefix, size and padding fit into `maxsize` bytes from `data`, which are reserved.
        unsafe {
            if flags.contains(gst::MemoryFlags::ZERO_PREFIXED) {
                ptr::write_bytes(data, 0, params.prefix());
            }
            if flags.contains(gst::MemoryFlags::ZERO_PADDED) {
                ptr::write_bytes(data.add(params.prefix() + self.size), 0, params.padding());
            }
        }
        let shape = Shape { maxsize: self.maxsize, align: params.align(), offset: params.prefix(), size: self.size };
        // SAFETY: `data` points into the reservation, which the new memory owns.
        unsafe {
            let root = Some((self.reservation, *params));
            new_memory(allocator.to_glib_none().0, ptr::null_mut(), flags, shape, data, root)
        }
    }
}

struct Shape {
    maxsize: usize,
    align: usize,
    offset: usize,
    size: usize,
}

/// # Safety
/// `data` stays valid for `maxsize` bytes while `reservation`, or the parent's, exists.
unsafe fn new_memory(
    allocator: *mut ffi::GstAllocator,
    parent: *mut ffi::GstMemory,
    flags: gst::MemoryFlags,
    shape: Shape,
    data: *mut u8,
    root: Option<(Box<Reservation>, gst::AllocationParams)>,
) -> *mut ffi::GstMemory {
    let (reservation, params) = root.unzip();
    // SAFETY: a `GstMemory` is plain data for which all zeros is valid; `gst_memory_init` gives it its content.
    let memory = Box::new(ArenaMemory { memory: unsafe { std::mem::zeroed() }, data, reservation, params });
    let memory = Box::into_raw(memory).cast::<ffi::GstMemory>();
    let Shape { maxsize, align, offset, size } = shape;
    // SAFETY: `memory` is large enough and not shared yet; `gst_memory_init` takes its own references.
    unsafe { ffi::gst_memory_init(memory, flags.into_glib(), allocator, parent, maxsize, align, offset, size) };
    memory
}

unsafe extern "C" fn map(memory: *mut ffi::GstMemory, _size: usize, _flags: ffi::GstMapFlags) -> glib::ffi::gpointer {
    // SAFETY: GStreamer calls this for memories of this allocator only.
    unsafe { (*memory.cast::<ArenaMemory>()).data.cast() }
}

unsafe extern "C" fn unmap(_memory: *mut ffi::GstMemory) {}

unsafe extern "C" fn share(memory: *mut ffi::GstMemory, offset: isize, size: isize) -> *mut ffi::GstMemory {
    // SAFETY: called for a valid memory of this allocator, with a range inside it; the share's parent is the root.
    unsafe {
        let whole = &*memory.cast::<ArenaMemory>();
        let m = &whole.memory;
        let root = if m.parent.is_null() { memory } else { m.parent };
        let size = if size < 0 { m.size.wrapping_sub(offset as usize) } else { size as usize };
        let shape = Shape { maxsize: m.maxsize, align: m.align, offset: m.offset.wrapping_add_signed(offset), size };
        let inherited = gst::MemoryFlags::from_bits_retain((*root).mini_object.flags);
        new_memory(m.allocator, root, inherited | gst::MemoryFlags::READONLY, shape, whole.data, None)
    }
}

unsafe extern "C" fn is_span(
    first: *mut ffi::GstMemory,
    second: *mut ffi::GstMemory,
    offset: *mut usize,
) -> glib::ffi::gboolean {
    // SAFETY: GStreamer passes two valid memories with the same parent.
    unsafe {
        let (a, b) = (&*first.cast::<ArenaMemory>(), &*second.cast::<ArenaMemory>());
        if !offset.is_null() {
            let parent = a.memory.parent;
            *offset = a.memory.offset.wrapping_sub(if parent.is_null() { 0 } else { (*parent).offset });
        }
        let end = a.data.wrapping_add(a.memory.offset + a.memory.size);
        (end == b.data.wrapping_add(b.memory.offset)).into_glib()
    }
}

fn mark() -> glib::ffi::GQuark {
    static MARK: OnceLock<glib::Quark> = OnceLock::new();
    MARK.get_or_init(|| glib::Quark::from_str("GstShm2Fallback")).into_glib()
}

/// Marked memory of the system.
fn fallback(size: usize, params: &gst::AllocationParams) -> *mut ffi::GstMemory {
    // SAFETY: the system allocator takes any size and these parameters; the mark is a plain number without a
    // destructor.
    unsafe {
        let memory = ffi::gst_allocator_alloc(ptr::null_mut(), size, mut_override(params.to_glib_none().0));
        if !memory.is_null() {
            ffi::gst_mini_object_set_qdata(memory.cast(), mark(), ptr::without_provenance_mut(1), None);
        }
        memory
    }
}

/// Whether this memory replaces memory of an exhausted arena.
pub(crate) fn is_fallback(memory: &gst::MemoryRef) -> bool {
    // SAFETY: the memory is valid; reading qdata is allowed from any thread.
    unsafe { !ffi::gst_mini_object_get_qdata(memory.as_mut_ptr().cast(), mark()).is_null() }
}

/// Keeps the bytes of a memory from being written or used again: GStreamer takes a memory with a second exclusive lock
/// for one that other buffers use. A plain reference would not do.
#[derive(Debug)]
pub(crate) struct Hold(gst::Memory);

impl Hold {
    /// `None` if the memory is mapped for writing.
    pub(crate) fn new(memory: &gst::MemoryRef) -> Option<Self> {
        let pointer = memory.as_mut_ptr();
        // SAFETY: the memory is valid, and stays so with the new reference; locks may be taken from any thread.
        unsafe {
            let is_locked = ffi::gst_mini_object_lock(pointer.cast(), ffi::GST_LOCK_FLAG_EXCLUSIVE);
            (is_locked != glib::ffi::GFALSE).then(|| Self(from_glib_none(pointer)))
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // SAFETY: the lock was taken by `new`.
        unsafe { ffi::gst_mini_object_unlock(self.0.as_mut_ptr().cast(), ffi::GST_LOCK_FLAG_EXCLUSIVE) }
    }
}

/// Another memory of the same arena with the size and parameters with which `memory` was made, if the arena has free
/// space for it without a frame being dropped.
pub(crate) fn like(memory: &gst::MemoryRef) -> Option<gst::Memory> {
    let own = own(memory)?;
    let params = own.params.as_ref()?;
    let allocator = memory.allocator()?.downcast_ref::<ArenaAllocator>()?;
    let handle = allocator.imp().handle.get()?;
    let size = memory.maxsize().checked_sub(params.prefix())?.checked_sub(params.padding())?;
    let allocation = Allocation::reserve(size, params, |bytes| handle.reserve_spare(bytes))?;
    // SAFETY: the allocation was reserved for this size and these parameters; the new memory has one reference.
    unsafe { Some(from_glib_full(allocation.into_memory(allocator.upcast_ref(), params))) }
}

/// The memory as one of this allocator's.
fn own(memory: &gst::MemoryRef) -> Option<&ArenaMemory> {
    // SAFETY: the memory is valid; only this allocator has the address of its type's name, and all its memories are
    // `ArenaMemory`s.
    unsafe {
        let allocator = (*memory.as_ptr()).allocator;
        let is_ours = !allocator.is_null() && (*allocator).mem_type == MEMORY_TYPE.as_ptr();
        is_ours.then(|| &*memory.as_ptr().cast::<ArenaMemory>())
    }
}

/// Whether this memory's bytes were cleared with its region; it cannot be published any more.
pub(crate) fn is_cleared(memory: &gst::MemoryRef) -> bool {
    reservation(memory).is_some_and(|(reservation, _)| reservation.is_cleared())
}

/// The reservation behind a memory of an arena, and the memory's range in it.
pub(crate) fn reservation(memory: &gst::MemoryRef) -> Option<(&Reservation, std::ops::Range<usize>)> {
    let own = own(memory)?;
    // SAFETY: the parent of a share is a root of this allocator. The share keeps it, and so the reservation, alive.
    let root = if own.memory.parent.is_null() { own } else { unsafe { &*own.memory.parent.cast::<ArenaMemory>() } };
    let reservation = root.reservation.as_deref()?;
    let start = own.data as usize - reservation.as_ptr() as usize + memory.offset();
    Some((reservation, start..start + memory.size()))
}
