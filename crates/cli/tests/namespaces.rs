//! Programs in containers, whose engine gives each a mount, PID and IPC namespace, a user, and a /dev/shm of its own. The
//! namespaces are real; the engine is a shell script. What docs/tutorials/containers.md says is shown here.

#![cfg(target_os = "linux")]

use shm2::Overview;
use shm2_testing::{ChildGuard, TempRegion, skip, until};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PRODUCER: &str = env!("CARGO_BIN_EXE_shm2_producer");
const CONSUMER: &str = env!("CARGO_BIN_EXE_shm2_consumer");
/// Users and the group that owns the folder. None of them has to be known to the system.
const GROUP: u32 = 2000;
const ALICE: &str = "2001:2000";
const BOB: &str = "2002:2000";
const STRANGER: &str = "2003:2003";

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/docker/namespaces.sh")
}

/// A folder of the host's tmpfs that containers share.
struct Folder(TempRegion);

impl Folder {
    /// `None` where namespaces cannot be made.
    fn new() -> Option<Self> {
        let probe = Command::new("unshare")
            .args("--mount --pid --fork --ipc --uts mount -t tmpfs shm /mnt".split(' '))
            .stderr(Stdio::null())
            .status();
        if !probe.is_ok_and(|status| status.success()) {
            skip("containers: namespaces cannot be made here: this needs root and the right to mount");
            return None;
        }
        let folder = Self(TempRegion::new());
        fs::create_dir(folder.0.path()).unwrap();
        chown(folder.0.path(), None, Some(GROUP)).unwrap();
        fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o2770)).unwrap();
        Some(folder)
    }

    /// Runs a program as in a container.
    fn start(&self, access: &str, user: &str, program: &str, arguments: &str) -> ChildGuard {
        let mut command = Command::new("sh");
        command.arg(script()).arg(self.0.path()).args([access, user, program]).args(arguments.split(' '));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ChildGuard::spawn(&mut command).unwrap()
    }

    fn producer(&self, arguments: &str) -> ChildGuard {
        self.start("rw", ALICE, PRODUCER, arguments)
    }

    fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }
}

/// Waits for its end; whether it succeeded, and what it printed.
#[track_caller]
fn end(child: ChildGuard) -> (bool, String) {
    let output = child.output();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

#[track_caller]
fn succeeded(child: ChildGuard) -> String {
    let (is_ok, text) = end(child);
    assert!(is_ok, "{text}");
    text
}

#[test]
fn two_containers_and_users_with_one_folder_share_frames_in_place() {
    let Some(folder) = Folder::new() else { return };
    // Both are process 1 of their namespaces.
    let producer = folder.producer("/mnt/camera 200 --rate 200 --frame-size 100K");
    let text = succeeded(folder.start("rw", BOB, CONSUMER, "/mnt/camera 200 --timeout 20"));
    assert!(text.contains("read in place 200  copied 0") && text.contains("mismatches 0"), "{text}");
    succeeded(producer);
}

#[test]
fn a_container_that_may_only_read_takes_copies_and_changes_nothing() {
    let Some(folder) = Folder::new() else { return };
    let producer = folder.producer("/mnt/camera 200 --rate 200 --frame-size 100K");
    until("the region is there", || folder.has("camera"));
    let text = succeeded(folder.start("ro", BOB, CONSUMER, "/mnt/camera 200 --timeout 20"));
    assert!(text.contains("read in place 0  copied 200") && text.contains("mismatches 0"), "{text}");
    succeeded(producer);

    let (is_ok, text) = end(folder.start("ro", BOB, PRODUCER, "/mnt/other 1"));
    assert!(!is_ok && text.contains("/mnt/other") && !folder.has("other"), "{text}");
    let (is_ok, text) = end(folder.start("ro", BOB, "/usr/bin/touch", "/mnt/other"));
    assert!(!is_ok && text.contains("Read-only file system"), "{text}");
}

#[test]
fn containers_with_a_dev_shm_each_do_not_meet_and_the_consumer_says_what_to_check() {
    let Some(folder) = Folder::new() else { return };
    let mut producer = folder.producer("/dev/shm/camera 100000 --size 16M");
    let (is_ok, text) = end(folder.start("rw", BOB, CONSUMER, "/dev/shm/camera 1 --timeout 2"));
    assert!(!is_ok && text.contains("no producer there") && text.contains("in a container: share it"), "{text}");
    assert!(producer.is_running());
    assert!(!Path::new("/dev/shm/camera").exists());
}

#[test]
fn a_dev_shm_of_64_mib_is_an_error_with_both_sizes_and_the_remedy() {
    let Some(folder) = Folder::new() else { return };
    let (is_ok, text) = end(folder.producer("/dev/shm/camera 1 --size 128M"));
    assert!(!is_ok && text.contains("67108864 are free there") && text.contains("containers: --shm-size"), "{text}");
}

#[test]
fn a_user_outside_the_group_gets_an_error_that_names_the_file() {
    let Some(folder) = Folder::new() else { return };
    let _producer = folder.producer("/mnt/camera 100000 --rate 100");
    until("the region is there", || folder.has("camera"));
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o2775)).unwrap();
    let (is_ok, text) = end(folder.start("ro", STRANGER, CONSUMER, "/mnt/camera 1 --timeout 5"));
    assert!(!is_ok && text.contains("permission denied") && text.contains("/mnt/camera"), "{text}");
}

/// The process id of a peer says nothing in another PID namespace. Under `block` a producer waits for each consumer that
/// lives, so it has to notice the death of one that holds frames.
#[test]
fn a_killed_container_is_noticed_across_pid_namespaces_and_either_side_may_be_replaced() {
    let Some(folder) = Folder::new() else { return };
    let region = folder.0.path().join("camera").display().to_string();
    let consumers = |number| Overview::of(&region).is_ok_and(|found| found.consumers.len() == number);
    let arguments =
        "/mnt/camera 1000000 --rate 400 --full-policy block --block-timeout 60 --size 8M --frame-size 200K -q";
    let first = folder.producer(arguments);
    let steady = folder.start("rw", BOB, CONSUMER, "/mnt/camera 1500 --reconnect --timeout 20");
    let holder = folder.start("rw", BOB, CONSUMER, "/mnt/camera 1000000 --hold 4 -q");
    until("both consumers are there", || consumers(2));
    holder.kill();
    until("the producer has noticed the death", || consumers(1));
    first.kill();
    // The namespace ends a moment after the process that made it.
    until("the death of the producer can be seen", || Overview::of(&region).is_err());
    let second = folder.producer(arguments);
    let text = succeeded(steady);
    assert!(text.contains("frames 1500") && text.contains("mismatches 0") && text.contains("producers 2"), "{text}");
    second.kill();
}
