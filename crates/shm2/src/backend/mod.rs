//! Operating-system code, and nowhere else: making and opening regions, locks that tell who lives, sleeping and
//! waking, clocks. Each system's folder offers the same names.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;

#[cfg(not(target_os = "linux"))]
compile_error!("only the Linux backend is here so far");
