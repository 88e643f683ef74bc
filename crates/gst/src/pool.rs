//! A video buffer pool whose memory comes from the arena. Buffers with fallback memory of an exhausted arena
//! are not kept, so that the pool returns to the arena; nor are those with cleared memory.
//!
//! # Safety
//! `VideoBufferPool` is a plain buffer pool subclass whose class struct adds nothing that a subclass must set.

#![expect(unsafe_code, reason = "the bindings require an unsafe marker for a subclass of the video pool")]

use crate::allocator::{self, ArenaAllocator};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use std::sync::OnceLock;

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct ArenaPool {
        pub(super) allocator: OnceLock<ArenaAllocator>,
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

        fn release_buffer(&self, mut buffer: gst::Buffer) {
            if buffer.iter_memories().any(|memory| allocator::is_fallback(memory) || allocator::is_cleared(memory))
                && let Some(buffer) = buffer.get_mut()
            {
                buffer.set_flags(gst::BufferFlags::TAG_MEMORY);
            }
            self.parent_release_buffer(buffer);
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
