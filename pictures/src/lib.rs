//! The pictures of `docs/how-it-works.md`. Offsets, sizes, limits and states are those of the code.
//!
//! Each is narrow enough for a phone and has a light and a dark form.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

/// The examples of the book's page are tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rust.md")]
pub struct RustPage;

mod drawing;
mod lanes;
mod region;
mod relay;
mod restart;
mod streams;
mod trust;

/// File names and contents of all pictures.
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("region.svg", region::region()),
        ("page.svg", region::page()),
        ("frame.svg", lanes::frame()),
        ("leases.svg", streams::leases()),
        ("restart.svg", restart::restart()),
        ("waiting.svg", lanes::waiting()),
        ("trust.svg", trust::trust()),
        ("elements.svg", streams::elements()),
        ("relay.svg", relay::relay()),
    ]
}
