//! How the project's tasks run other programs: shared by `cargo xtask` and the test rigs.

#![forbid(unsafe_code)]

pub mod run;

/// What a task ends with; an error is a text for the user.
pub type Outcome = Result<(), String>;
