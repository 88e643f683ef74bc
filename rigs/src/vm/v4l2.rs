//! Cameras in a guest: a camera (vivid) that writes into a region, and a device of v4l2loopback that shows a region while
//! it is read. The module is built here, for the guest's kernel.

use super::guest::Guest;
use super::{GuestFiles, expect_all, image};
use crate::commands::quietly;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use xtask::Outcome;
use xtask::run::command;

/// Programs of the guest, which are not in each tree, and the packages that have them.
const PROGRAMS: &[(&str, &str)] = &[("usr/bin/ffmpeg", "ffmpeg"), ("usr/bin/v4l2-ctl", "v4l-utils")];
const PARAMETERS: &str = "video_nr=10 exclusive_caps=1 card_label=Camera";
/// Longest time of one script. Programs start slowly in a guest.
const LIMIT: Duration = Duration::from_secs(600);

/// What `loopback.sh` must print.
const LOOPBACK: &[&str] = &[
    "OPEN without readers: 0",
    "OPEN one reader: 1",
    "Device or resource busy",
    "OPEN one of two readers: 1",
    "OPEN after the reader: 0",
    "PICTURE by ffmpeg: same",
    "PICTURE by gst: same",
    "relays ended with 0",
];

/// What `loopback-errors.sh` must print.
const ERRORS: &[&str] = &[
    "video-device:/dev/video77: No such file or directory (os error 2); `modprobe v4l2loopback video_nr=N",
    "video-device:/dev/null: it is no video device that reports its readers; that needs v4l2loopback 0.13 or newer",
    "video-device:/dev/video10: Permission denied (os error 13); add this user to the device's group",
    "the splash: its elements and the output agree on no format; the output takes BGR,",
    "/dev/video10 takes no pictures, because another program writes to it or it is a camera",
    "Device '/dev/video0' is busy",
];

/// What `camera-in.sh` must print: in these modes the camera writes into the region itself, in others the sink copies.
const IN_PLACE: &[&str] = &["userptr:YUY2:320x180", "userptr:NV12:640x360"];
const MORE_IN_PLACE: &[&str] = &[
    "userptr:RGB:640x360",
    "userptr:GRAY8:320x180",
    "userptr:I420:640x480",
    "userptr:YUY2:1280x720",
    "rw:YUY2:320x180",
];
const COPIED: &[&str] = &["mmap:YUY2:320x180"];
const MORE_COPIED: &[&str] = &["dmabuf:YUY2:320x180", "auto:NV12:640x360"];

/// The module, and the guest's programs in its tree; or why they cannot be had.
pub fn prepare(files: &GuestFiles) -> Result<PathBuf, String> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !files.tree.join(program).exists());
    let missing: Vec<_> = missing.map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        let in_tree = |words: &str| {
            let mut run = command("chroot");
            run.arg(&files.tree).args(words.split_whitespace());
            quietly(run)
        };
        let install = format!("apt-get install -q -y --no-install-recommends {}", missing.join(" "));
        if !in_tree("apt-get update -q") || !in_tree(&install) {
            return Err(format!("{} cannot be installed in the guest's tree", missing.join(" and ")));
        }
    }
    let module = files.folder.join("v4l2loopback.ko");
    let is_of_kernel = || {
        let version = Command::new("modinfo").args(["-F", "vermagic"]).arg(&module).output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        files.kernel.ends_with(format!("vmlinuz-{}", version.split(' ').next().unwrap_or_default()))
    };
    let tree = files.tree.display().to_string();
    if !is_of_kernel() && !quietly(image::script(&files.folder, "vm/build-loopback.sh", &[&tree])) {
        return Err("v4l2loopback cannot be built: its package, the kernel's headers or a compiler is missing".into());
    }
    Ok(module)
}

/// Inserts the module; the next command has the device.
pub fn insert(guest: &mut Guest, module: &std::path::Path) -> Outcome {
    guest.insert(module, PARAMETERS)
}

/// The short form: one picture each way.
pub fn short(guest: &mut Guest) -> Outcome {
    loopback(guest)?;
    camera_in(guest, IN_PLACE, COPIED)
}

/// All checks.
pub fn long(guest: &mut Guest) -> Outcome {
    loopback(guest)?;
    camera_in(guest, &[IN_PLACE, MORE_IN_PLACE].concat(), &[COPIED, MORE_COPIED].concat())?;
    for (script, expected) in [
        (
            "loopback-kills.sh 10",
            &["KILLS: 10 of the reader, 10 of the camera's relay, 10 of the device's relay", "left: nothing"][..],
        ),
        ("loopback-formats.sh", &["FORMATS: followed"]),
        ("loopback-errors.sh", ERRORS),
        ("camera-kill.sh 10 userptr", &["LATE WRITES in mode userptr: 0 of 10, 0 blind"]),
        ("camera-kill.sh 3 rw", &["LATE WRITES in mode rw: 0 of 3, 0 blind"]),
        ("camera-resize.sh", &["RESIZED: 640x360, same picture"]),
    ] {
        let output = guest.run(script, LIMIT)?;
        print!("{output}");
        expect_all(&output, expected).map_err(|error| format!("{script}: {error}"))?;
    }
    Ok(())
}

fn loopback(guest: &mut Guest) -> Outcome {
    let output = guest.run("loopback.sh", LIMIT)?;
    print!("{output}");
    expect_all(&output, LOOPBACK)
}

fn camera_in(guest: &mut Guest, in_place: &[&str], copied: &[&str]) -> Outcome {
    let output = guest.run(&format!("camera-in.sh {} {}", in_place.join(" "), copied.join(" ")), LIMIT)?;
    print!("{output}");
    let line = |word: &&str, counts: &str| format!("CAMERA {word}: {counts}, same picture");
    let in_place = in_place.iter().map(|word| line(word, "zero-copied=all copied=0"));
    let expected: Vec<_> = in_place.chain(copied.iter().map(|word| line(word, "zero-copied=0 copied=all"))).collect();
    expect_all(&output, &expected.iter().map(String::as_str).collect::<Vec<_>>())
}
