mod close;
mod inherit;
mod recovery;
mod takeover;

pub(in crate::producer) use inherit::{Claims, Held, Past, claim, claims};
pub(in crate::producer) use recovery::{RETURN, Settling};
pub(in crate::producer) use takeover::{await_silence, settle};
