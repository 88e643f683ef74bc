//! The files of a guest: a Debian kernel, initial files, and a tree of a newer release as its root directory.

use super::GuestFiles;
use crate::commands::{absolute, quietly, rig_file};
use crate::debian::{TRIXIE, tree};
use std::path::Path;
use std::process::Command;
use xtask::run::{command, succeeds, target};
use xtask::setup;

/// Debian's package of a kernel with the driver `vivid`; the smaller one for clouds has none.
const KERNEL: &str = "linux-image-amd64";
const MODULES: &[&str] = &["virtio_pci", "9p", "9pnet_virtio", "vivid", "vsock_loopback", "uio_cif"];

/// Programs that the rig calls, and the packages that have them.
const TOOLS: &[(&str, &str)] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("cpio", "cpio"), ("modprobe", "kmod"), ("busybox", "busybox-static")];

/// Makes what is missing: the files, or why the checks are skipped.
pub fn prepare() -> Result<Result<GuestFiles, String>, String> {
    if let Err(why) = install_tools() {
        return Ok(Err(why));
    }
    Ok(match tree(&TRIXIE)? {
        Ok(tree) => files(&tree),
        Err(why) => Err(why),
    })
}

/// The guest's files, with this tree as its root. An error is the reason why the checks are skipped.
fn files(tree: &Path) -> Result<GuestFiles, String> {
    // The guest is slow: with this registry it need not inspect each plugin.
    let mut inspect = command("chroot");
    inspect.arg(tree).args(["env", "GST_REGISTRY=/var/cache/shm2-registry", "gst-inspect-1.0"]);
    if !quietly(inspect) {
        return Err(format!("gst-inspect-1.0 failed in {}", tree.display()));
    }
    let folder = absolute(&target())?.join("vm");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    if !folder.join("version").exists() && !quietly(script(&folder, "vm/fetch-kernel.sh", &[KERNEL])) {
        return Err(format!("the package {KERNEL} is not to be had here"));
    }
    let init = rig_file("vm/guest-init.sh").display().to_string();
    let arguments: Vec<_> = [init.as_str()].iter().chain(MODULES).copied().collect();
    if !quietly(script(&folder, "vm/pack-initrd.sh", &arguments)) {
        return Err("the initial files cannot be packed".into());
    }
    let version = std::fs::read_to_string(folder.join("version")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let kernel = folder.join(format!("k/boot/vmlinuz-{}", version.trim()));
    Ok(GuestFiles { folder, kernel, tree: absolute(tree)?, built: absolute(&target())?.join("debug") })
}

fn install_tools() -> Result<(), String> {
    let is_there = |tool: &str| succeeds(&format!("which {tool}"));
    if !target().join("vm/version").exists() {
        // Without a network the lists of packages stay as they are, which may be enough.
        let _ = quietly(command("apt-get update -q"));
    }
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !is_there(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    setup::install(&missing).map_err(|error| format!("no {}: {error}", missing.join(" and no ")))
}

/// A script of the rig, which runs in `folder`.
pub fn script(folder: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut script = Command::new("bash");
    script.arg(rig_file(name)).args(arguments).current_dir(folder);
    script
}
