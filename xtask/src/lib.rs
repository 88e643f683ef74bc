//! How the project's tasks run other programs, and install what is missing: shared by `cargo xtask` and the test rigs.

#![forbid(unsafe_code)]

pub mod run;
pub mod setup;

/// What a task ends with; an error is a text for the user.
pub type Outcome = Result<(), String>;
