//! PipeWire's loop, which this thread has entered as long as the value exists.
//!
//! PipeWire's thread for data hands calls, such as those of a stream's listeners, over to the thread that has entered the
//! loop. While none has, it makes them itself, at the same time as this thread uses the same stream. The `iterate` of the
//! bindings enters the loop for its own time only.

#![expect(unsafe_code, reason = "entering and leaving is left to the caller of the bindings")]

use pipewire::loop_::{Loop, Timeout};
use pipewire::main_loop::MainLoopRc;

pub struct Entered(MainLoopRc);

impl Entered {
    pub fn new() -> Result<Self, pipewire::Error> {
        let main = MainLoopRc::new(None)?;
        // SAFETY: it is left when this value is dropped, on the same thread, as the value is not `Send`.
        unsafe { main.loop_().enter() };
        Ok(Self(main))
    }

    pub fn main(&self) -> &MainLoopRc {
        &self.0
    }

    pub fn loop_(&self) -> &Loop {
        self.0.loop_()
    }

    /// Calls what is to be called, after a wait for it.
    pub fn iterate(&self, timeout: Timeout) {
        // SAFETY: this thread has entered the loop.
        unsafe { self.0.loop_().iterate_unguarded(timeout) };
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // SAFETY: `new` has entered it.
        unsafe { self.0.loop_().leave() };
    }
}
