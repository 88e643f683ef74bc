//! The core of shm2.

use crate::Result;
use crate::way::{Inbound, LIMIT, Outbound};
use shm2::{Consumer, Frame, FrameInfo, FullPolicy, Producer, ReceiveError, Start};

impl Outbound for Producer {
    fn create(name: &str, bytes: usize, depth: usize, arena: Option<u64>) -> Result<Self> {
        // The allocator works in units of 64 bytes.
        let arena = arena.unwrap_or(depth as u64 * bytes.next_multiple_of(64) as u64);
        let policy = FullPolicy::Block { timeout: None };
        Ok(Self::builder(&format!("/dev/shm/{name}"))?.arena(arena).full_policy(policy).create()?)
    }

    fn wait_for_receiver(&mut self) {
        while self.consumers() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[inline]
    fn send(&mut self, bytes: usize, _: bool, fill: impl FnOnce(*mut u8)) -> Result<()> {
        let mut slot = self.reserve(bytes)?;
        fill(slot.as_mut_ptr());
        self.publish(slot, &FrameInfo::new())?;
        Ok(())
    }
}

impl Inbound for Consumer {
    type Frame = Frame;
    type Error = ReceiveError;

    fn open(name: &str, _: usize, _: usize, _: bool) -> Result<Self> {
        Ok(Self::builder(&format!("/dev/shm/{name}"))?.start(Start::Next).attach(Some(LIMIT))?)
    }

    #[inline(always)]
    fn try_take(&mut self) -> std::result::Result<Option<Frame>, ReceiveError> {
        self.try_next()
    }

    #[inline]
    fn wait_take(&mut self) -> Result<Frame> {
        Ok(self.next(Some(LIMIT))?)
    }

    #[inline]
    fn payload(frame: &Frame) -> (*const u8, usize) {
        (frame.as_ptr(), frame.len())
    }
}
