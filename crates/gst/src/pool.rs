//! A video buffer pool whose memory comes from the arena. Buffers with fallback memory of an exhausted arena
//! are not kept, so that the pool returns to the arena; nor are those with cleared memory.
//!
//! The memory of a published buffer belongs to consumers when the buffer comes back. It gets another one then, while the
//! consumers wake up, so that upstream finds a whole buffer in the pool. One buffer at a time waits so, and none if its
//! memory is scarce.
//!
//! # Safety
//! `VideoBufferPool` is a plain buffer pool subclass whose class struct adds nothing that a subclass must set.

#![expect(unsafe_code, reason = "the bindings require an unsafe marker for a subclass of the video pool")]

use crate::allocator::{self, ArenaAllocator};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct ArenaPool {
        pub(super) allocator: OnceLock<ArenaAllocator>,
        /// At most so many buffers wait to be acquired.
        idle: AtomicUsize,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for ArenaPool {
        const NAME: &'static str = "GstShm2ArenaPool";
        type Type = super::ArenaPool;
        type ParentType = gst_video::VideoBufferPool;
    }

    impl ObjectImpl for ArenaPool {}
    impl GstObjectImpl for ArenaPool {}

    impl BufferPoolImpl for ArenaPool {
        fn options() -> &'static [&'static str] {
            &["GstBufferPoolOptionVideoMeta", "GstBufferPoolOptionVideoAlignment"]
        }

        fn set_config(&self, config: &mut gst::BufferPoolConfigRef) -> bool {
            // The pool keeps its allocator, whatever the configuration names.
            let params = config.allocator().map(|(_, params)| params).unwrap_or_default();
            config.set_allocator(self.allocator.get(), Some(&params));
            self.parent_set_config(config)
        }

        fn acquire_buffer(&self, params: Option<&gst::BufferPoolAcquireParams>) -> Result<gst::Buffer, gst::FlowError> {
            let acquired = self.parent_acquire_buffer(params)?;
            // A buffer that was allocated just now was not idle.
            let _ = self.idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |idle| idle.checked_sub(1));
            Ok(acquired)
        }

        fn release_buffer(&self, mut buffer: gst::Buffer) {
            let is_unusable = |memory: &gst::MemoryRef| allocator::is_fallback(memory) || allocator::is_cleared(memory);
            if let Some(buffer) = buffer.get_mut() {
                if buffer.iter_memories().any(is_unusable) {
                    buffer.set_flags(gst::BufferFlags::TAG_MEMORY);
                } else if buffer.is_all_memory_writable() || self.renew(buffer) {
                    self.idle.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.parent_release_buffer(buffer);
        }

        fn stop(&self) -> bool {
            self.idle.store(0, Ordering::Relaxed);
            self.parent_stop()
        }
    }

    impl ArenaPool {
        /// Exchanges the memory of a published buffer for another one. False if it keeps its memory.
        fn renew(&self, buffer: &mut gst::BufferRef) -> bool {
            let is_intact = buffer.n_memory() == 1 && !buffer.flags().contains(gst::BufferFlags::TAG_MEMORY);
            if !is_intact || self.idle.load(Ordering::Relaxed) > 0 {
                return false;
            }
            let Some(memory) = allocator::like(buffer.peek_memory(0)) else { return false };
            buffer.replace_all_memory(memory);
            // For the base class, the memory is what it was.
            buffer.unset_flags(gst::BufferFlags::TAG_MEMORY);
            true
        }
    }
}

// SAFETY: the class struct has no field that a subclass must set; see the head of this file.
unsafe impl IsSubclassable<imp::ArenaPool> for gst_video::VideoBufferPool {}

glib::wrapper! {
    /// Video buffers in a region's arena.
    pub struct ArenaPool(ObjectSubclass<imp::ArenaPool>)
        @extends gst_video::VideoBufferPool, gst::BufferPool, gst::Object;
}

impl ArenaPool {
    /// A pool for frames of raw video; `None` if the base class refuses its configuration.
    pub(crate) fn for_video(
        allocator: &ArenaAllocator,
        caps: Option<&gst::Caps>,
        info: &gst_video::VideoInfo,
    ) -> Option<Self> {
        let pool: Self = glib::Object::new();
        // A new object's cell is empty.
        let _ = pool.imp().allocator.set(allocator.clone());
        let mut config = pool.config();
        config.set_params(caps, info.size() as u32, 2, 0);
        config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META.as_ref());
        pool.set_config(config).ok().map(|()| pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::Hold;
    use gst_video::{VideoFormat, VideoInfo};

    fn acquire(pool: &ArenaPool) -> gst::Buffer {
        pool.acquire_buffer(None).unwrap()
    }

    #[test]
    fn a_published_buffer_comes_back_with_other_memory_unless_that_is_scarce() {
        gst::init().unwrap();
        let directory = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
        let path = format!("{directory}shm2-gst-unit-{}-pool", std::process::id());
        let producer = shm2::Producer::builder(&path).unwrap().arena(1 << 20).create().unwrap();
        let info = VideoInfo::builder(VideoFormat::Gray8, 512, 256).build().unwrap();
        let allocator = ArenaAllocator::new(producer.handle());
        let pool = ArenaPool::for_video(&allocator, Some(&info.to_caps().unwrap()), &info).unwrap();
        pool.set_active(true).unwrap();
        let (first, second) = (acquire(&pool), acquire(&pool));
        let (buffer, memory) = (first.as_ptr(), first.peek_memory(0).as_ptr());
        let held = Hold::new(first.peek_memory(0)).unwrap();
        drop(first);
        let again = acquire(&pool);
        assert_eq!((again.as_ptr(), again.size()), (buffer, info.size()));
        assert!(again.meta::<gst_video::VideoMeta>().is_some() && again.is_all_memory_writable());
        assert!(again.peek_memory(0).as_ptr() != memory && allocator::reservation(again.peek_memory(0)).is_some());
        // Of eight frames' space, two are free after this.
        let rest: Vec<_> = (0..3).map(|_| producer.handle().try_reserve(info.size()).unwrap()).collect();
        let published = Hold::new(again.peek_memory(0)).unwrap();
        let used = producer.handle().stats().used_bytes;
        drop(again);
        assert_eq!(producer.handle().stats().used_bytes, used, "no memory waits in the pool");
        drop((rest, published, held, second));
        pool.set_active(false).unwrap();
    }
}
