//! Rights, locks and leftovers in a folder of regions.

use super::Finding;
use crate::{folders, show};
use shm2::discovery::leftovers;
use shm2::{CreateError, Producer, layout};
use std::path::Path;

/// Names that one finding lists.
const LISTED: usize = 4;

pub(super) fn check(folder: &Path) -> Vec<Finding> {
    let mut findings = vec![read_only(folder).unwrap_or_else(|| rights_and_locks(folder))];
    findings.extend(unreadable(folder));
    findings.extend(stale(folder));
    findings
}

/// A folder as containers get it that may only read.
fn read_only(folder: &Path) -> Option<Finding> {
    let found = rustix::fs::statvfs(folder).ok()?;
    found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY).then(|| {
        let found =
            format!("{} is mounted read-only: consumers take copies, and producers get an error", folder.display());
        Finding::note("folder", found, "for frames in place, or for a producer, mount it writable")
    })
}

/// A region can be made, and its lock excludes a second producer, which has a descriptor of its own.
fn rights_and_locks(folder: &Path) -> Finding {
    let check = "folder";
    let shown = folder.display();
    let name = folder.join(format!("shm2-doctor-{}", std::process::id()));
    let create = || -> Result<Producer, CreateError> {
        let absolute = std::path::absolute(&name).unwrap_or_else(|_| name.clone());
        Producer::builder(&absolute.to_string_lossy())?.size(layout::MIN_REGION).create()
    };
    let producer = match create() {
        Ok(producer) => producer,
        Err(error) => return Finding::bad(check, error.to_string(), remedy(&error)),
    };
    match create() {
        Err(CreateError::Busy { .. }) => {
            Finding::good(check, format!("{shown}: regions can be made, and locks exclude a second producer"))
        }
        Err(error) => Finding::bad(check, format!("{shown}: the lock of a region fails: {error}"), remedy(&error)),
        Ok(_) => {
            drop(producer);
            Finding::bad(
                check,
                format!("{shown}: two producers have the same region, because locks do not exclude each other"),
                "use a folder on tmpfs, such as /dev/shm",
            )
        }
    }
}

fn remedy(error: &CreateError) -> &'static str {
    match error {
        CreateError::Denied { .. } => {
            "make the folder writable for this user, or use another one; /dev/shm has mode 1777: chmod 1777 /dev/shm"
        }
        CreateError::NoDirectory { .. } => "make the folder, or use /dev/shm",
        CreateError::FileSystem { .. } => "use a folder on tmpfs, such as /dev/shm",
        CreateError::NoSpace { .. } | CreateError::NoMemory { .. } | CreateError::ControlGroup { .. } => {
            "free memory, or enlarge the file system: mount -o remount,size=2G /dev/shm"
        }
        _ => "the text says what the system refuses; seccomp filters, AppArmor and SELinux do so",
    }
}

/// Files of other users that this user may not read: it cannot see whether they are regions.
fn unreadable(folder: &Path) -> Option<Finding> {
    let denied = folders::unreadable(folder);
    let names: Vec<_> = denied.iter().take(LISTED).map(|name| name.to_string_lossy()).collect();
    (!denied.is_empty()).then(|| {
        let (folder, number, names) = (folder.display(), denied.len(), names.join(", "));
        let found = format!("{folder}: this user may not read {number} of the files and folders: {names}");
        let remedy = "run both sides as one user, or set perms at the producer: 0660 for its group, 0644 for copies by \
                      every user, 0666 for frames in place by every user; of a folder: chmod";
        Finding::note("rights", found, remedy)
    })
}

fn stale(folder: &Path) -> Option<Finding> {
    let found = leftovers(folder).ok()?;
    let bytes: u64 = found.iter().map(|leftover| leftover.bytes).sum();
    let names: Vec<_> = found.iter().take(LISTED).map(|leftover| leftover.path.to_string_lossy()).collect();
    (!found.is_empty()).then(|| {
        let (number, bytes, names) = (found.len(), show::bytes(bytes), names.join(", "));
        let found = format!("{number} files of dead producers take {bytes}: {names}");
        Finding::note("stale regions", found, format!("remove them: shm2 gc --delete {}", folder.display()))
    })
}
