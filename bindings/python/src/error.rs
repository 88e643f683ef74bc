//! Errors of the crates as exceptions of `shm2._errors`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;
use shm2::{AttachError, CreateError, ReceiveError, SendError};

/// A class of `shm2._errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Argument,
    Attach,
    Closed,
    Create,
    EndOfStream,
    Error,
    Forked,
    Full,
    Media,
    ProducerGone,
    Protocol,
    Send,
    Timeout,
    Truncated,
    Views,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Argument => "ArgumentError",
            Self::Attach => "AttachError",
            Self::Closed => "ClosedError",
            Self::Create => "CreateError",
            Self::EndOfStream => "EndOfStream",
            Self::Error => "Error",
            Self::Forked => "ForkedError",
            Self::Full => "FullError",
            Self::Media => "MediaError",
            Self::ProducerGone => "ProducerGoneError",
            Self::Protocol => "ProtocolError",
            Self::Send => "SendError",
            Self::Timeout => "TimeoutError",
            Self::Truncated => "TruncatedError",
            Self::Views => "ViewsError",
        }
    }

    /// An exception of this class.
    pub fn error(self, text: impl Into<String>) -> PyErr {
        let text = text.into();
        Python::attach(|py| self.make(py, text).unwrap_or_else(|error| error))
    }

    fn make(self, py: Python<'_>, text: String) -> PyResult<PyErr> {
        static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
        let module = MODULE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("shm2._errors")?.unbind()))?;
        Ok(PyErr::from_value(module.bind(py).getattr(self.name())?.call1((text,))?))
    }
}

/// The error of an attempt to pickle a frame.
pub fn no_pickle() -> PyErr {
    PyTypeError::new_err(
        "frames cannot be pickled: send array.copy(), or let the other process attach to the region by a Consumer",
    )
}

/// A crate's error as an exception.
pub trait IntoException {
    /// The exception.
    fn exception(self) -> PyErr;
}

impl IntoException for AttachError {
    fn exception(self) -> PyErr {
        let class = match self {
            Self::Spec(_) => Class::Argument,
            Self::TimedOut { .. } => Class::Timeout,
            Self::Cancelled => Class::Closed,
            Self::Header { .. } | Self::NotBacked { .. } => Class::Protocol,
            _ => Class::Attach,
        };
        class.error(self.to_string())
    }
}

impl IntoException for CreateError {
    fn exception(self) -> PyErr {
        let is_argument = matches!(self, Self::Spec(_) | Self::Size { .. } | Self::Setting { .. });
        if is_argument { Class::Argument } else { Class::Create }.error(self.to_string())
    }
}

impl IntoException for ReceiveError {
    fn exception(self) -> PyErr {
        let class = match self {
            Self::Attach(error) => return error.exception(),
            Self::TimedOut => Class::Timeout,
            Self::EndOfStream => Class::EndOfStream,
            Self::ProducerGone { .. } => Class::ProducerGone,
            Self::Cancelled => Class::Closed,
            Self::Misbehaving { .. } => Class::Protocol,
            Self::Truncated { .. } => Class::Truncated,
            _ => Class::Error,
        };
        class.error(self.to_string())
    }
}

impl IntoException for SendError {
    fn exception(self) -> PyErr {
        let class = match self {
            Self::Full { .. } | Self::Recovering => Class::Full,
            Self::TimedOut { .. } => Class::Timeout,
            Self::Closed | Self::Cancelled => Class::Closed,
            Self::Truncated { .. } => Class::Truncated,
            Self::TooLarge { .. } | Self::Description { .. } | Self::Range { .. } => Class::Argument,
            _ => Class::Send,
        };
        class.error(self.to_string())
    }
}
