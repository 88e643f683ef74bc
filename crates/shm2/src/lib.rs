//! x
pub mod layout;
mod sync;
mod protocol;
#[cfg(all(loom, test))]
mod models;
