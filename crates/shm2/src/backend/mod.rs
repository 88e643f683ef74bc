//! Operating-system code, and nowhere else: making and opening regions, locks that tell who lives, sleeping and
//! waking, clocks. Each system's folder offers the same names; `heap` is for Miri.

#[cfg(miri)]
mod heap;
#[cfg(all(target_os = "linux", not(miri)))]
mod linux;
#[cfg(miri)]
pub(crate) use heap::*;
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) use linux::*;

#[cfg(not(target_os = "linux"))]
compile_error!("only the Linux backend is here so far");
