//! `shm2 doctor`: each condition that prevents frames from passing is found, with its remedy.

#![cfg(target_os = "linux")]

mod common;

use common::{Ended, folder_with_a_dead_region, producer, shm2, shm2_without_override};
use serde_json::Value;
use shm2_testing::{ChildGuard, Deny, TempPath, TempRegion, deny, until};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const TOOL: &str = env!("CARGO_BIN_EXE_shm2");

fn run(command: &mut Command) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ChildGuard::spawn(command).unwrap().output();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Ended { code: output.status.code(), out: output.stdout, error }
}

/// The finding of `check` whose text contains `text`.
fn finding(ended: &Ended, check: &str, text: &str) -> Value {
    let all = ended.json();
    let is_it =
        |line: &&Value| line["check"] == check && line["found"].as_str().is_some_and(|found| found.contains(text));
    all.iter().find(is_it).unwrap_or_else(|| panic!("{check} {text}: {}", ended.text())).clone()
}

/// `shm2 doctor --json FOLDER` in a mount namespace of its own, after this command.
fn doctor_after(mount: &str, folder: &str) -> Ended {
    let script = format!("{mount} && exec \"$0\" doctor --json {folder}");
    run(Command::new("unshare").args(["-m", "sh", "-c", &script, TOOL]))
}

/// Whether mount namespaces can be made here.
fn can_unshare() -> bool {
    let script = "mount -t tmpfs -o size=1M tmpfs /dev/shm";
    let made = Command::new("unshare").args(["-m", "sh", "-c", script]).stderr(Stdio::null()).status();
    let can = made.is_ok_and(|status| status.success());
    if !can {
        shm2_testing::skip("no mount namespace can be made");
    }
    can
}

#[test]
fn each_finding_is_one_object_and_all_but_good_ones_have_a_remedy() {
    let ended = shm2(&["doctor", "--json"]);
    let findings = ended.json();
    assert!(findings.len() >= 6, "{}", ended.text());
    for finding in &findings {
        assert!(finding["check"].is_string() && finding["found"].is_string(), "{finding}");
        assert_eq!(finding["level"] == "good", finding["remedy"].is_null(), "{finding}");
    }
    let has_bad = findings.iter().any(|finding| finding["level"] == "bad");
    assert_eq!(ended.code, Some(i32::from(has_bad)));
    assert!(shm2(&["doctor"]).text().contains("a frame"));
}

#[test]
fn a_filter_that_refuses_futex_waitv_is_found() {
    let mut command = Command::new(TOOL);
    command.args(["doctor", "--json"]);
    deny(&mut command, &[Deny::all(libc::SYS_futex_waitv, libc::EPERM)]);
    let found = finding(&run(&mut command), "futex_waitv", "20 times a second");
    assert!(found["level"] == "note" && !found["remedy"].is_null(), "{found}");
}

#[test]
fn a_system_that_refuses_locks_is_found() {
    let mut command = Command::new(TOOL);
    command.args(["doctor", "--json"]);
    // The kernel's number of F_OFD_SETLK.
    let locks =
        Deny { call: libc::SYS_fcntl, argument: Some((1, libc::F_OFD_SETLK as u32)), error: Some(libc::EACCES) };
    deny(&mut command, &[locks]);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(1), "{}", ended.text());
    assert_eq!(finding(&ended, "folder", "")["level"], "bad");
    assert_eq!(finding(&ended, "a frame", "")["level"], "bad");
}

#[test]
fn folders_that_are_missing_or_unsuited_or_have_leftovers_are_found() {
    let folder = folder_with_a_dead_region();
    let ended = shm2(&["doctor", "--json", &folder, "/no-such-folder", "/proc"]);
    let stale = finding(&ended, "stale regions", "dead producers");
    assert_eq!(stale["remedy"], format!("remove them: shm2 gc --delete {}", &*folder));
    assert_eq!(finding(&ended, "folder", &folder)["level"], "good");
    assert_eq!(finding(&ended, "folder", "/no-such-folder")["remedy"], "make the folder, or use /dev/shm");
    assert_eq!(finding(&ended, "folder", "/proc")["level"], "bad");
    assert_eq!(ended.code, Some(1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn files_that_this_user_may_not_read_are_found() {
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, b"x").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    if let Some(ended) = shm2_without_override(&["doctor", "--json", &folder]) {
        assert_eq!(finding(&ended, "rights", "secret")["level"], "note");
    }
}

#[test]
fn a_small_shared_memory_file_system_is_found() {
    if !can_unshare() {
        return;
    }
    let ended = doctor_after("mount -t tmpfs -o size=64K tmpfs /dev/shm", "");
    assert_eq!(ended.code, Some(1), "{}{}", ended.text(), ended.error);
    let space = finding(&ended, "/dev/shm", "0 of 0 MiB are free");
    assert!(space["level"] == "bad" && space["remedy"].as_str().unwrap().contains("--shm-size"), "{space}");
    assert_eq!(finding(&ended, "folder", "no free space")["level"], "bad");
    assert_eq!(finding(&ended, "a frame", "no free space")["level"], "bad");
}

#[test]
fn a_folder_that_is_mounted_read_only_is_for_consumers_and_no_fault() {
    if !can_unshare() {
        return;
    }
    let ended = doctor_after("mount -t tmpfs -o ro tmpfs /mnt", "/mnt");
    assert_eq!(ended.code, Some(0), "{}{}", ended.text(), ended.error);
    let folder = finding(&ended, "folder", "/mnt is mounted read-only: consumers take copies");
    assert!(folder["level"] == "note" && folder["remedy"].as_str().unwrap().contains("writable"), "{folder}");
}

#[test]
fn regions_in_another_shared_memory_file_system_are_found() {
    if !can_unshare() {
        return;
    }
    let (name, file) = (TempRegion::new(), TempPath::new("mcap"));
    let source = producer(&name, "video/x-raw", 1, b"frame");
    shm2(&["record", "-o", file.text(), &name, "-n", "1"]).succeeded();
    drop(source);
    let script = "mount -t tmpfs tmpfs /dev/shm && exec \"$0\" replay --loop \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, TOOL, file.text()]).stdout(Stdio::null()).stderr(Stdio::null());
    let elsewhere = ChildGuard::spawn(&mut command).unwrap();
    let inside = format!("/proc/{}/root{}", elsewhere.id(), &*name);
    until("the region is there", || shm2::Overview::of(&inside).is_ok());
    assert!(!name.exists());
    let found = finding(&shm2(&["doctor", "--json"]), "two /dev/shm", &name);
    assert!(found["found"].as_str().unwrap().contains(&elsewhere.id().to_string()), "{found}");
    assert!(found["remedy"].as_str().unwrap().contains("--ipc=host"));
    elsewhere.kill();
}

#[test]
fn a_plugin_of_another_version_is_found() {
    let folder = TempPath::new("bin");
    std::fs::create_dir(&folder).unwrap();
    let inspect = folder.join("gst-inspect-1.0");
    std::fs::write(
        &inspect,
        "#!/bin/sh\necho 'gst-inspect-1.0 version 1.99'\necho '  Version                  0.0.1'\n",
    )
    .unwrap();
    std::fs::set_permissions(&inspect, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(TOOL);
    let ended = run(command.args(["doctor", "--json"]).env("PATH", format!("{}:/bin:/usr/bin", folder.text())));
    let found = finding(&ended, "GStreamer", "plugin 0.0.1, this tool");
    assert_eq!(found["remedy"], "install both from one release");
    let ended = run(Command::new(TOOL).args(["doctor", "--json"]).env("PATH", "/nowhere"));
    assert_eq!(finding(&ended, "GStreamer", "is not found")["level"], "note");
}
