//! Which regions there are, and their state, read without attaching and without an effect on their producers.

mod consumers;
mod leftovers;
mod listing;
mod overview;
mod recent;
mod watch;

pub use consumers::ConsumerOverview;
pub use leftovers::{Leftover, LeftoverKind, leftovers};
pub use listing::ListingChange;
pub use overview::{Overview, PolicyName};
pub use recent::RecentFrame;
pub use watch::{Watch, WatchEnd, all_below};
