//! What a guest is made of: a Debian kernel, initial files, and a tree of a newer release as its files.

use super::Place;
use crate::newer::{absolute, quietly, tree};
use crate::run::{command, succeeds, target};
use std::path::Path;
use std::process::{Command, Stdio};

/// Debian's package of a kernel with the driver `vivid`; the smaller one for clouds has none.
const KERNEL: &str = "linux-image-amd64";
const MODULES: &[&str] = &["virtio_pci", "9p", "9pnet_virtio", "vivid", "vsock_loopback", "uio_cif"];
const TOOLS: &[(&str, &str)] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("cpio", "cpio"), ("modprobe", "kmod"), ("busybox", "busybox-static")];

/// Mounts the files, then runs the scripts that the host puts into `talk`, in order of their numbers, each after the module
/// of its number if there is one. Those with an exit code were run before a restart.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for m in /mod/*.ko; do insmod $m || echo "insmod $m failed"; done
share="trans=virtio,version=9p2000.L,msize=262144"
mount -t 9p -o $share,ro tree /r || echo "no tree"
mount -t proc p /r/proc; mount -t sysfs s /r/sys; mount --bind /dev /r/dev
mkdir -p /dev/shm; mount -t tmpfs t /dev/shm; mount -t tmpfs t /r/tmp; mkdir /r/tmp/built /r/tmp/talk
mount -t 9p -o $share,ro built /r/tmp/built || echo "nothing built"
mount -t 9p -o $share talk /r/tmp/talk || echo "no talk"
ifconfig lo up; t=/r/tmp/talk; n=1
while [ -e $t/$n.rc ]; do n=$((n+1)); done
cut -d' ' -f1 /proc/uptime > $t/up
while :; do
  while [ ! -e $t/$n.sh ]; do sleep 0.05; done
  [ ! -e $t/$n.ko ] || insmod $t/$n.ko
  chroot /r /bin/bash /tmp/talk/$n.sh > $t/$n.out 2>&1 < /dev/null; echo $? > $t/$n.new; mv $t/$n.new $t/$n.rc
  n=$((n+1))
done
"#;

/// Makes what is missing. Errors are reasons to go without.
pub fn prepare() -> Result<Place, String> {
    if !TOOLS.iter().all(|(tool, _)| succeeds(&format!("which {tool}"))) || !target().join("vm/version").exists() {
        // Without a network the lists stay as they are, and may do.
        let _ = quietly(command("apt-get update -q"));
    }
    for (tool, package) in TOOLS {
        let is_there = || succeeds(&format!("which {tool}"));
        if !is_there() {
            let install = format!("apt-get install -q -y --no-install-recommends {package}");
            if !quietly(command(&install)) || !is_there() {
                return Err(format!("no {tool}, and {package} cannot be installed"));
            }
        }
    }
    let tree = tree("trixie", "trixie")?;
    // So that the guest, which is slow, need not look into each plugin.
    let inspect = format!("chroot {} env GST_REGISTRY=/var/cache/shm2-registry gst-inspect-1.0", tree.display());
    if !quietly(command(&inspect)) {
        return Err(format!("{inspect:?} failed"));
    }
    let folder = absolute(&target())?.join("vm");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    kernel(&folder)?;
    initial_files(&folder)?;
    let version = std::fs::read_to_string(folder.join("version")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let kernel = folder.join(format!("k/boot/vmlinuz-{}", version.trim()));
    Ok(Place { folder, kernel, tree: absolute(&tree)?, built: absolute(&target())?.join("debug") })
}

/// Unpacks the newest kernel of this machine's Debian into `k`.
fn kernel(folder: &Path) -> Result<(), String> {
    if folder.join("version").exists() {
        return Ok(());
    }
    let script = format!(
        "set -e; package=$(apt-cache depends {KERNEL} | awk '/Depends: linux-image-/{{print $2; exit}}'); \
         [ -n \"$package\" ]; rm -rf k *.deb; apt-get download -q $package; dpkg -x $package*.deb k; rm *.deb; \
         version=${{package#linux-image-}}; PATH=$PATH:/usr/sbin:/sbin depmod -b k $version; echo $version > version"
    );
    if quietly_output(&mut shell(folder, &script)) {
        Ok(())
    } else {
        Err(format!("the package {KERNEL} is not to be had here"))
    }
}

/// The files that the kernel begins with.
fn initial_files(folder: &Path) -> Result<(), String> {
    std::fs::write(folder.join("init"), INIT).map_err(|e| format!("{}: {e}", folder.display()))?;
    let script = format!(
        "set -e; rm -rf i; mkdir -p i/bin i/proc i/sys i/dev i/mod i/r; cp $(which busybox) i/bin/; cp init i/; \
         chmod +x i/init; n=100; for m in {}; do \
         for f in $(PATH=$PATH:/usr/sbin:/sbin modprobe -d k -S $(cat version) --show-depends $m | awk '$1==\"insmod\"{{print $2}}'); do \
         b=$(basename $f); ls i/mod | grep -q -- \"-$b\" || {{ cp $f i/mod/$n-$b; n=$((n+1)); }}; done; done; \
         cd i; find . | cpio -o -H newc --quiet | gzip -1 > ../initrd",
        MODULES.join(" ")
    );
    if quietly_output(&mut shell(folder, &script)) { Ok(()) } else { Err("the initial files cannot be packed".into()) }
}

fn shell(folder: &Path, script: &str) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", script]).current_dir(folder);
    shell
}

fn quietly_output(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}
