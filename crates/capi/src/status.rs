//! Status numbers, and the error of the last call of a thread.

#![expect(unsafe_code, reason = "exports names of C")]

use shm2::error::DeviceError;
use shm2::{AttachError, CreateError, ReceiveError, SendError, SpecError};
use shm2_media::{LayoutError, MediaError, PictureError};
use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

/// Result of a call; see the header.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    TimedOut = 1,
    EndOfStream = 2,
    Cancelled = 3,
    Invalid = 4,
    NotFound = 5,
    Gone = 6,
    Busy = 7,
    Exists = 8,
    Denied = 9,
    NoMemory = 10,
    Full = 11,
    TooLarge = 12,
    Cleared = 13,
    Truncated = 14,
    Superseded = 15,
    Closed = 16,
    Expelled = 17,
    Violation = 18,
    Incompatible = 19,
    Media = 20,
    Unsupported = 21,
    InUse = 22,
    Forked = 23,
    System = 24,
    Internal = 25,
}

/// Names of the statuses, by number.
const NAMES: [&CStr; 26] = [
    c"SHM2_OK",
    c"SHM2_TIMED_OUT",
    c"SHM2_END_OF_STREAM",
    c"SHM2_CANCELLED",
    c"SHM2_INVALID",
    c"SHM2_NOT_FOUND",
    c"SHM2_GONE",
    c"SHM2_BUSY",
    c"SHM2_EXISTS",
    c"SHM2_DENIED",
    c"SHM2_NO_MEMORY",
    c"SHM2_FULL",
    c"SHM2_TOO_LARGE",
    c"SHM2_CLEARED",
    c"SHM2_TRUNCATED",
    c"SHM2_SUPERSEDED",
    c"SHM2_CLOSED",
    c"SHM2_EXPELLED",
    c"SHM2_VIOLATION",
    c"SHM2_INCOMPATIBLE",
    c"SHM2_MEDIA",
    c"SHM2_UNSUPPORTED",
    c"SHM2_IN_USE",
    c"SHM2_FORKED",
    c"SHM2_SYSTEM",
    c"SHM2_INTERNAL",
];

/// Why a call failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    text: Cow<'static, CStr>,
}

impl Failure {
    pub(crate) fn new(status: Status, text: impl ToString) -> Self {
        Self { status, text: Cow::Owned(c_text(text.to_string())) }
    }

    /// Without an allocation, for what happens often.
    pub(crate) fn fixed(status: Status, text: &'static CStr) -> Self {
        Self { status, text: Cow::Borrowed(text) }
    }

    pub(crate) fn invalid(text: impl ToString) -> Self {
        Self::new(Status::Invalid, text)
    }
}

thread_local! {
    static LAST_ERROR: RefCell<Cow<'static, CStr>> = const { RefCell::new(Cow::Borrowed(c"")) };
}

/// A text for C. Zero bytes end it early, so they are shown as `\0`.
pub(crate) fn c_text(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let shown = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\\0");
        CString::new(shown).unwrap_or_default()
    })
}

/// Stores the text for `shm2_last_error`, and returns the status.
pub(crate) fn report(failure: Failure) -> Status {
    // A thread that ends has no text any more.
    let _ = LAST_ERROR.try_with(|last| last.replace(failure.text));
    failure.status
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_status_name(status: u32) -> *const c_char {
    NAMES.get(status as usize).unwrap_or(&c"unknown status").as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_is_drop(status: u32) -> bool {
    [Status::Full, Status::TimedOut, Status::Cleared].iter().any(|drop| *drop as u32 == status)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_monotonic_ns() -> u64 {
    shm2::monotonic_ns()
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        Self::invalid(error)
    }
}

fn of_device(problem: &DeviceError) -> Status {
    match problem {
        DeviceError::NotHere { .. } => Status::NotFound,
        DeviceError::Several { .. } | DeviceError::Cache { .. } => Status::Invalid,
        DeviceError::Denied { .. } | DeviceError::ReadOnly => Status::Denied,
        DeviceError::WrongSystem { .. } => Status::Unsupported,
        DeviceError::InUse { .. } => Status::Busy,
        DeviceError::NotADevice { .. } | DeviceError::TooSmall { .. } => Status::Incompatible,
        _ => Status::System,
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        let status = match &error {
            AttachError::Spec(_) => Status::Invalid,
            AttachError::NotFound { .. } | AttachError::NoProducer { .. } => Status::NotFound,
            AttachError::Denied { .. } => Status::Denied,
            AttachError::FileSystem { .. } | AttachError::NoHeartbeat { .. } => Status::Unsupported,
            AttachError::NotAFile { .. }
            | AttachError::NotBacked { .. }
            | AttachError::NotARegion { .. }
            | AttachError::Version { .. }
            | AttachError::Header { .. } => Status::Incompatible,
            AttachError::Device { problem, .. } => of_device(problem),
            AttachError::Full { .. } => Status::Full,
            AttachError::TimedOut { .. } => Status::TimedOut,
            AttachError::Cancelled => Status::Cancelled,
            _ => Status::System,
        };
        Self::new(status, error)
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        let status = match error {
            ReceiveError::Attach(attach) => return attach.into(),
            ReceiveError::TimedOut => return Self::fixed(Status::TimedOut, c"no frame came in time"),
            ReceiveError::EndOfStream => Status::EndOfStream,
            ReceiveError::ProducerGone { .. } => Status::Gone,
            ReceiveError::Cancelled => Status::Cancelled,
            ReceiveError::Misbehaving { .. } => Status::Violation,
            ReceiveError::Expelled { .. } => Status::Expelled,
            ReceiveError::FrameTooLarge { .. } => Status::NoMemory,
            ReceiveError::Truncated { .. } => Status::Truncated,
            _ => Status::System,
        };
        Self::new(status, error)
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        let status = match &error {
            CreateError::Spec(_) | CreateError::Size { .. } | CreateError::Setting { .. } => Status::Invalid,
            CreateError::NoSpace { .. }
            | CreateError::FileSizeLimit { .. }
            | CreateError::ControlGroup { .. }
            | CreateError::NoMemory { .. }
            | CreateError::NoCommit { .. } => Status::NoMemory,
            CreateError::FileSystem { .. } | CreateError::KeptSection { .. } => Status::Unsupported,
            CreateError::Busy { .. } | CreateError::TakeoverBlocked { .. } => Status::Busy,
            CreateError::Foreign { .. }
            | CreateError::Kept { .. }
            | CreateError::Prepared { .. }
            | CreateError::NotAFile { .. }
            | CreateError::ForeignOwner { .. }
            | CreateError::NotInheritable { .. }
            | CreateError::FileSize { .. }
            | CreateError::OthersLeftover { .. } => Status::Exists,
            CreateError::OthersFile { .. }
            | CreateError::Denied { .. }
            | CreateError::SectionDenied { .. }
            | CreateError::Forbidden { .. } => Status::Denied,
            CreateError::NoDirectory { .. } => Status::NotFound,
            CreateError::Device { problem, .. } => of_device(problem),
            _ => Status::System,
        };
        Self::new(status, error)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let status = match error {
            SendError::TooLarge { .. } | SendError::Description { .. } => Status::TooLarge,
            SendError::Recovering | SendError::Cleared { .. } => Status::Cleared,
            SendError::Full { .. } => Status::Full,
            SendError::TimedOut { .. } => Status::TimedOut,
            SendError::Cancelled => Status::Cancelled,
            SendError::ForeignReservation | SendError::Range { .. } => Status::Invalid,
            SendError::Truncated { .. } => Status::Truncated,
            SendError::Superseded { .. } => Status::Superseded,
            SendError::Closed => Status::Closed,
            _ => Status::System,
        };
        Self::new(status, error)
    }
}

impl From<MediaError> for Failure {
    fn from(error: MediaError) -> Self {
        Self::new(Status::Media, error)
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        Self::new(Status::Media, error)
    }
}

impl From<PictureError> for Failure {
    fn from(error: PictureError) -> Self {
        Self::new(Status::Media, error)
    }
}
