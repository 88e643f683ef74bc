//! Memory that a virtual machine shares with its host.

use super::Finding;

pub(super) fn check() -> Vec<Finding> {
    let check = "ivshmem";
    let devices: Vec<_> = match shm2::ivshmem::all() {
        Ok(all) => all
            .iter()
            .map(|device| Finding::good(check, format!("{}, {} MiB", device.device, device.bytes >> 20)))
            .collect(),
        Err(error) => vec![Finding::note(check, error.to_string(), "see docs/virtual-machines.md")],
    };
    #[cfg(unix)]
    let devices = [devices, linux::check()].concat();
    devices
}

#[cfg(unix)]
mod linux {
    use super::Finding;
    use rustix::fs::{Access, access};
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Vendor and device of ivshmem on the PCI bus.
    const IVSHMEM: (&str, &str) = ("0x1af4", "0x1110");

    /// Whether this user may use what a guest has.
    pub(super) fn check() -> Vec<Finding> {
        let denied = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK).is_err();
        let bars = entries("/sys/bus/pci/devices").into_iter().filter(|device| is_ivshmem(device));
        let bars = bars.map(|device| device.join("resource2")).filter(|bar| denied(bar));
        let bars = bars.map(|bar| {
            let remedy = "run as root, permit the file by a udev rule, or load kvmfr: docs/virtual-machines.md";
            Finding::note("ivshmem", format!("this user may not use {}", bar.display()), remedy)
        });
        let nodes = entries("/dev").into_iter().filter(|path| is_node(path) && denied(path)).map(|node| {
            let remedy = "permit it by a udev rule: SUBSYSTEM==\"uio\" or \"kvmfr\", GROUP=\"video\", MODE=\"0660\"";
            Finding::note("ivshmem", format!("this user may not use {}", node.display()), remedy)
        });
        bars.chain(nodes).chain(huge_pages()).collect()
    }

    fn entries(folder: &str) -> Vec<PathBuf> {
        let mut paths: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    fn is_ivshmem(device: &Path) -> bool {
        let word = |name: &str| fs::read_to_string(device.join(name)).unwrap_or_default();
        (word("vendor").trim(), word("device").trim()) == IVSHMEM
    }

    fn is_node(path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["uio", "kvmfr"].iter().any(|kind| {
            name.strip_prefix(kind).is_some_and(|n| !n.is_empty() && n.bytes().all(|digit| digit.is_ascii_digit()))
        })
    }

    /// Regions in files of hugetlbfs cannot be used by the host, and QEMU may be set to put its memory there.
    fn huge_pages() -> Option<Finding> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let folder = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let (folder, kind) = (fields.nth(1)?, fields.next()?);
            (kind == "hugetlbfs" && fs::read_dir(folder).is_ok_and(|files| files.flatten().count() > 0))
                .then_some(folder)
        })?;
        let found = format!("{folder} holds files on huge pages, where no region can be");
        let remedy = "put the memory of ivshmem-plain at /dev/shm: mem-path=/dev/shm/NAME";
        Some(Finding::note("huge pages", found, remedy))
    }
}
