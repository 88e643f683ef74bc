//! The type of the property `stats` for `glib::Properties`: the bindings have none for a boxed `GstStructure`.
//!
//! # Safety
//! [`Stats`] has the GLib type of its structure, so a value of one is a value of the other.

#![expect(unsafe_code, reason = "glib's traits for types of values are unsafe")]

use gst::glib::{self, HasParamSpec, ParamSpecBoxed, ParamSpecBoxedBuilder, value::FromValue};
use gst::prelude::*;

/// Counters of an element.
#[derive(Debug)]
pub struct Stats(pub gst::Structure);

impl HasParamSpec for Stats {
    type ParamSpec = ParamSpecBoxed;
    type SetValue = Self;
    type BuilderFn = for<'a> fn(&'a str) -> ParamSpecBoxedBuilder<'a, gst::Structure>;

    fn param_spec_builder() -> Self::BuilderFn {
        ParamSpecBoxed::builder
    }
}

impl From<Stats> for glib::Value {
    fn from(stats: Stats) -> Self {
        stats.0.to_value()
    }
}

// SAFETY: the checker is the structure's own, so the value holds a structure.
unsafe impl<'a> FromValue<'a> for Stats {
    type Checker = <gst::Structure as FromValue<'a>>::Checker;

    unsafe fn from_value(value: &'a glib::Value) -> Self {
        // SAFETY: the caller has used the checker.
        Self(unsafe { gst::Structure::from_value(value) })
    }
}
