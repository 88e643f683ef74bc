//! What a consumer that waits finds at its name: for a line that tells a user what to check.

use super::attach::{self, read_complete};
use crate::backend::{self, ConsumerRegion, OpenRegion};
use crate::error::{AttachError, SpecError};
use crate::name::Spec;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a consumer waits, and where it looks. [`Display`](fmt::Display) makes one line of it, without the word "waiting".
///
/// ```
/// # let name = format!("shm:///dev/shm/shm2-doc-waiting-{}", std::process::id());
/// use shm2::consumer::{WaitReason, WaitingFor};
///
/// let waiting = WaitingFor::at(&name)?; // as of now
/// assert_eq!(waiting.reason, WaitReason::NoFile);
/// // /dev/shm/NAME (file system tmpfs, device 0:26): no producer there; check ...
/// assert!(waiting.to_string().contains("no producer there"));
/// let _producer = shm2::Producer::create(&name)?;
/// assert_eq!(WaitingFor::at(&name)?.reason, WaitReason::NoFrame);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingFor {
    /// The region's file, or its whole name for a section or a device.
    pub path: PathBuf,
    /// Where the file is, or would be. `None` for a section or a device, and if it cannot be found out.
    pub place: Option<Place>,
    /// Why no frame comes.
    pub reason: WaitReason,
}

/// The file system of a path. Two processes that find different devices at one path do not see the same files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Name of the file system, such as `tmpfs`.
    pub file_system: String,
    /// Major and minor number of its device.
    pub device: (u32, u32),
}

/// Why a consumer waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// The directory of the path does not exist.
    NoDirectory,
    /// Nothing is at the path.
    NoFile,
    /// A symbolic link is at the path, and leads to nothing.
    DanglingLink(PathBuf),
    /// The memory has no region yet.
    Prepared,
    /// The region's producer has ended.
    NoProducer,
    /// The region has a producer: frames are missing.
    NoFrame,
    /// A consumer gets this error, and does not wait.
    Unusable(String),
}

impl WaitingFor {
    /// What is at the name now. Nothing is changed there.
    ///
    /// # Errors
    /// [`SpecError`] when the name is not valid.
    pub fn at(spec: &str) -> Result<Self, SpecError> {
        Ok(Self::of(&spec.parse()?))
    }

    pub(super) fn of(spec: &Spec) -> Self {
        let path = spec.path();
        let reason = match OpenRegion::open(spec, false).and_then(|region| attach::header_of(&region)) {
            Ok(_) => WaitReason::NoFrame,
            Err(AttachError::NotFound { .. } | AttachError::NoProducer { .. }) => absence(spec),
            Err(error) => WaitReason::Unusable(error.to_string()),
        };
        Self { path: path.into(), place: place_of(spec), reason }
    }
}

fn place_of(spec: &Spec) -> Option<Place> {
    backend::place_of(spec).map(|(file_system, device)| Place { file_system, device })
}

/// Why there is no producer.
fn absence(spec: &Spec) -> WaitReason {
    let path = spec.path();
    match OpenRegion::open(spec, false) {
        Ok(region) if region.bytes() == 0 || read_complete(&region).is_err() => WaitReason::Prepared,
        Ok(_) => WaitReason::NoProducer,
        Err(_) if spec.is_device() || !path.is_absolute() => WaitReason::NoFile,
        Err(_) if !path.parent().is_some_and(Path::is_dir) => WaitReason::NoDirectory,
        Err(_) => path.read_link().map_or(WaitReason::NoFile, WaitReason::DanglingLink),
    }
}

impl fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SAME_PLACE: &str = "check its producer, and that it sees the same directory (in a container: share it, such \
                                  as /dev/shm; both sides must show the same device)";
        write!(f, "{}", self.path.display())?;
        if let Some(Place { file_system, device: (major, minor) }) = &self.place {
            write!(f, " (file system {file_system}, device {major}:{minor})")?;
        }
        let is_file = self.place.is_some();
        match &self.reason {
            WaitReason::NoDirectory => f.write_str(": its directory does not exist; check the path"),
            WaitReason::NoFile if is_file => write!(f, ": no producer there; {SAME_PLACE}"),
            WaitReason::NoFile => f.write_str(": no producer there; check its name and its producer"),
            WaitReason::DanglingLink(target) => {
                let target = target.display();
                write!(f, ": a symbolic link to {target}, where no file is; check the link and the producer")
            }
            WaitReason::Prepared => {
                f.write_str(": memory that is prepared for a producer, which has not begun; check its producer")
            }
            WaitReason::NoProducer => f.write_str(": its producer has ended; check why, and start it again"),
            WaitReason::NoFrame => f.write_str(": its producer has published nothing that is not taken yet"),
            WaitReason::Unusable(error) => write!(f, ": {error}"),
        }
    }
}
