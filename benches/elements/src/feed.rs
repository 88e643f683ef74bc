//! Where the sender's buffers come from.

use crate::Result;
use crate::case::{Case, Feed};
use gst::prelude::*;

/// Source of buffers.
pub(crate) enum Buffers {
    Pool(gst::BufferPool),
    Fresh(gst::Allocator, gst::AllocationParams, usize),
}

impl Buffers {
    /// Asks the sink, as a source element does.
    pub(crate) fn new(pad: &gst::Pad, caps: &gst::Caps, case: &Case) -> Result<Self> {
        let mut query = gst::query::Allocation::new(Some(caps), true);
        let is_answered = pad.peer_query(&mut query);
        let offered = query.allocation_params().into_iter().find_map(|(allocator, params)| Some((allocator?, params)));
        match case.feed {
            Feed::Heap => Self::pool(gst::BufferPool::new(), caps, case, None),
            _ if !is_answered => Err("the sink does not answer the allocation query".into()),
            Feed::Fresh => {
                let (allocator, params) = offered.ok_or("the sink offers no allocator")?;
                Ok(Self::Fresh(allocator, params, case.size.bytes))
            }
            Feed::Pool => match query.allocation_pools().into_iter().find_map(|(pool, ..)| pool) {
                Some(pool) => Self::pool(pool, caps, case, offered),
                None if offered.is_some() => Self::pool(gst::BufferPool::new(), caps, case, offered),
                None => Err("the sink offers neither a pool nor an allocator".into()),
            },
        }
    }

    fn pool(
        pool: gst::BufferPool,
        caps: &gst::Caps,
        case: &Case,
        offered: Option<(gst::Allocator, gst::AllocationParams)>,
    ) -> Result<Self> {
        let mut config = pool.config();
        config.set_params(Some(caps), case.size.bytes as u32, 2, case.size.depth as u32);
        if let Some((allocator, params)) = offered {
            config.set_allocator(Some(&allocator), Some(&params));
        }
        pool.set_config(config)?;
        pool.set_active(true)?;
        Ok(Self::Pool(pool))
    }

    /// A buffer, once there is memory for it.
    pub(crate) fn next(&self) -> Result<gst::Buffer> {
        match self {
            Self::Pool(pool) => Ok(pool.acquire_buffer(None)?),
            Self::Fresh(allocator, params, bytes) => {
                let mut tries = 0;
                let memory = loop {
                    match allocator.alloc(*bytes, Some(params)) {
                        Ok(memory) => break memory,
                        // shmsink's allocator does not wait.
                        Err(_) if tries < 100_000 => std::thread::yield_now(),
                        Err(error) => return Err(error.into()),
                    }
                    tries += 1;
                };
                let mut buffer = gst::Buffer::new();
                buffer.get_mut().ok_or("a new buffer is shared")?.append_memory(memory);
                Ok(buffer)
            }
        }
    }
}
