//! Why an item cannot be taken.

use crate::error::Violation;
use std::convert::Infallible;

/// Why an attachment cannot continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Violation(Violation),
    Expelled,
    TooLarge { sequence: u64, length: u64 },
    Truncated,
}

/// The cause, behind a pointer: the result of a take that succeeds is then returned in registers.
#[derive(Debug)]
pub(super) struct TakeError(Box<Cause>);

impl TakeError {
    pub(super) fn cause(&self) -> Cause {
        *self.0
    }
}

impl From<Cause> for TakeError {
    #[cold]
    fn from(cause: Cause) -> Self {
        Self(Box::new(cause))
    }
}

impl From<Violation> for TakeError {
    fn from(violation: Violation) -> Self {
        Cause::Violation(violation).into()
    }
}

impl From<Infallible> for TakeError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
