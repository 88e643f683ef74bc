//! The header of a file that exists before its producer does.

use crate::error::CreateError;
use crate::header::{FIXED, RawHeader};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Reads the fixed part of the header; where the file is shorter, zeros follow.
pub(in crate::backend) fn read_header(fd: &OwnedFd, path: &Path) -> Result<RawHeader, CreateError> {
    let mut bytes = [0; FIXED];
    let read = rustix::io::pread(fd, &mut bytes, 0);
    read.map_err(|e| CreateError::System { what: "read", path: path.into(), source: e.into() })?;
    Ok(RawHeader::new(bytes))
}
