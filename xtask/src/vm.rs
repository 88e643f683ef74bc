//! Checks in a virtual machine: what takes a kernel of one's own. A Debian kernel under QEMU, without KVM, with a tree of a newer
//! release as its files and what was built here mounted into it.

use crate::Outcome;
use crate::newer::{absolute, quietly, tree};
use crate::run::{command, run_command, succeeds, target};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's package of a kernel with the driver `vivid`; the smaller one for clouds has none.
const KERNEL: &str = "linux-image-amd64";
const MODULES: &[&str] = &["virtio_pci", "9p", "9pnet_virtio", "vivid", "vsock_loopback"];
const TOOLS: &[(&str, &str)] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("cpio", "cpio"), ("modprobe", "kmod"), ("busybox", "busybox-static")];

/// Mounts the files, and goes on in them.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for m in /mod/*.ko; do insmod $m || echo "insmod $m failed"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144 tree /r || echo "no tree"
mount -t proc p /r/proc; mount -t sysfs s /r/sys; mount --bind /dev /r/dev
mkdir -p /dev/shm; mount -t tmpfs t /dev/shm; mount -t tmpfs t /r/tmp; mkdir /r/tmp/built
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144 built /r/tmp/built || echo "nothing built"
ifconfig lo up; cp /check.sh /r/tmp/; echo "INIT up $(cut -d' ' -f1 /proc/uptime) s"
chroot /r /bin/bash /tmp/check.sh; echo "GUEST DONE"; poweroff -f
"#;

/// The relay and a camera: the device is open while somebody is connected, by TCP or by vsock.
const CHECK: &str = r#"
export PATH=/usr/bin:/bin HOME=/tmp GST_REGISTRY=/var/cache/shm2-registry GST_REGISTRY_UPDATE=no
cd /tmp/built
echo "camera: $(cat /sys/class/video4linux/video0/name)"
./shm2_relayd --listen tcp://127.0.0.1:5555 --listen vsock://local:5556 --cool-down 0 --frame-timeout 60000 --control /tmp/ctl \
  --output "appsrc name=appsrc ! shm2sink shm-path=/dev/shm/camera" \
  --input "v4l2src device=/dev/video0 ! video/x-raw,width=320,height=180 ! identity" &
relay=$!
state() { ./shm2_relayd --status --control /tmp/ctl 2>/dev/null | grep '"input":' | cut -d'"' -f4; }
waits() { for i in $(seq 400); do [ "$(state)" = "$1" ] && return; sleep 0.1; done; echo "in vain: $1"; }
opens() { ls -l /proc/[0-9]*/fd 2>/dev/null | awk '/^.proc/ {p = $0} /video0$/ {print p}' | sort -u | wc -l; }
waits off; echo "OPEN nobody: $(opens)"
exec 3<>/dev/tcp/127.0.0.1/5555
waits on; echo "OPEN tcp: $(opens)"
exec 3>&-
waits off; echo "OPEN after tcp: $(opens)"
./examples/across vsock 1 5556 100 & client=$!
waits on; echo "OPEN vsock: $(opens)"
# The camera is pulled out, and put back.
driver=/sys/bus/platform/drivers/vivid
echo vivid.0 > $driver/unbind
waits waiting; echo "UNPLUGGED: $(opens), $(ls /dev/video0 2>&1)"
echo vivid.0 > $driver/bind
waits on; echo "PLUGGED AGAIN: $(opens)"
kill $client
waits off; echo "OPEN after vsock: $(opens)"
./shm2_relayd --status --control /tmp/ctl | grep -E 'buffers|failure|caps'
kill $relay; wait $relay; echo "relay ended with $?"
"#;

/// What the guest must say.
const EXPECTED: &[&str] = &[
    "OPEN nobody: 0",
    "OPEN tcp: 1",
    "OPEN after tcp: 0",
    "OPEN vsock: 1",
    "UNPLUGGED: 0",
    "PLUGGED AGAIN: 1",
    "OPEN after vsock: 0",
    "relay ended with 0",
    "GUEST DONE",
];

/// Runs all checks, where that is possible.
pub fn vm() -> Outcome {
    let line = "cargo build -p shm2-relayd --bins --examples";
    run_command(command(line), line)?;
    match prepare() {
        Err(why) => {
            println!("skipped: checks in a virtual machine: {why}");
            Ok(())
        }
        Ok((place, tree)) => boot(&place, &tree),
    }
}

/// Kernel, initial files and tree. Errors are reasons to go without.
fn prepare() -> Result<(PathBuf, PathBuf), String> {
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
    let place = absolute(&target())?.join("vm");
    std::fs::create_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
    kernel(&place)?;
    initial_files(&place)?;
    Ok((place, absolute(&tree)?))
}

/// Unpacks the newest kernel of this machine's Debian into `k`.
fn kernel(place: &Path) -> Result<(), String> {
    if place.join("version").exists() {
        return Ok(());
    }
    let script = format!(
        "set -e; package=$(apt-cache depends {KERNEL} | awk '/Depends: linux-image-/{{print $2; exit}}'); \
         [ -n \"$package\" ]; rm -rf k *.deb; apt-get download -q $package; dpkg -x $package*.deb k; rm *.deb; \
         version=${{package#linux-image-}}; PATH=$PATH:/usr/sbin:/sbin depmod -b k $version; echo $version > version"
    );
    let mut unpack = shell(place, &script);
    if quietly_output(&mut unpack) { Ok(()) } else { Err(format!("the package {KERNEL} is not to be had here")) }
}

/// The files that the kernel begins with.
fn initial_files(place: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", place.display());
    std::fs::write(place.join("init"), INIT).map_err(failed)?;
    std::fs::write(place.join("check.sh"), CHECK).map_err(failed)?;
    let script = format!(
        "set -e; rm -rf i; mkdir -p i/bin i/proc i/sys i/dev i/mod i/r; cp $(which busybox) i/bin/; cp init check.sh i/; \
         chmod +x i/init; n=100; for m in {}; do \
         for f in $(PATH=$PATH:/usr/sbin:/sbin modprobe -d k -S $(cat version) --show-depends $m | awk '$1==\"insmod\"{{print $2}}'); do \
         b=$(basename $f); ls i/mod | grep -q -- \"-$b\" || {{ cp $f i/mod/$n-$b; n=$((n+1)); }}; done; done; \
         cd i; find . | cpio -o -H newc --quiet | gzip -1 > ../initrd",
        MODULES.join(" ")
    );
    if quietly_output(&mut shell(place, &script)) { Ok(()) } else { Err("the initial files cannot be packed".into()) }
}

fn shell(place: &Path, script: &str) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", script]).current_dir(place);
    shell
}

fn quietly_output(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn boot(place: &Path, tree: &Path) -> Outcome {
    println!("\n==> a guest with a camera (vivid) and vsock; without KVM this takes a minute or two");
    let built = absolute(&target())?.join("debug");
    let share = |path: &Path, tag: &str| {
        format!("local,path={},mount_tag={tag},security_model=none,readonly=on,multidevs=remap", path.display())
    };
    let mut qemu = Command::new("timeout");
    qemu.args(["400", "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024"]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]);
    qemu.arg("-kernel").arg(format!("k/boot/vmlinuz-{}", version(place)?)).args(["-initrd", "initrd"]);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 vivid.n_devs=1"]);
    qemu.args(["-virtfs", &share(tree, "tree"), "-virtfs", &share(&built, "built")]);
    let output = qemu.current_dir(place).stdin(Stdio::null()).output().map_err(|e| format!("qemu: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    if !text.contains("INIT up") {
        println!(
            "skipped: checks in a virtual machine: the guest does not start: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return Ok(());
    }
    match EXPECTED.iter().find(|line| !text.contains(*line)) {
        None => Ok(()),
        Some(line) => Err(format!("the guest did not say {line:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn version(place: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(place.join("version")).map_err(|e| format!("{}: {e}", place.display()))?;
    Ok(text.trim().into())
}
