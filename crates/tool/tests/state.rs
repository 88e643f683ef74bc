//! `shm2 list`, `inspect` and `hz`.

#![cfg(unix)]

mod common;

use common::{begin, producer, shm2, shm2_without_override};
use shm2::{Access, Consumer, FrameInfo, Producer};
use shm2_testing::{ChildGuard, LIMIT, TempRegion};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::ChildStdout;

const GRAY: &str = "video/x-raw, format=(string)GRAY8, width=(int)16, height=(int)9, framerate=(fraction)25/1";

#[test]
fn inspect_shows_the_region_as_one_object() {
    let name = TempRegion::new();
    let mut producer = producer(&name, GRAY, 3, &[7; 144]);
    let inspect = || {
        let ended = shm2(&["inspect", "--json", &name]).succeeded();
        let [region] = &ended.json()[..] else { panic!("{}", ended.text()) };
        region.clone()
    };
    let region = inspect();
    assert_eq!(region["region"], name.uri());
    assert_eq!((&region["newest"], &region["frame_bytes"]), (&3.into(), &144.into()));
    assert_eq!(region["caps"], GRAY);
    assert_eq!(region["consumers"], serde_json::json!([]));

    let builder = Consumer::builder(&name).unwrap().access(Access::Lease);
    let mut consumer = builder.attach(Some(LIMIT)).unwrap();
    producer.send(&[7; 144], &FrameInfo::new()).unwrap();
    let held = consumer.next(Some(LIMIT)).unwrap();
    let shown = &inspect()["consumers"][0];
    assert_eq!((&shown["pid"], &shown["held"]), (&std::process::id().into(), &1.into()));
    assert_eq!(shown["held_bytes"], 144);
    let text = shm2(&["inspect", &name]).succeeded().text();
    assert!(text.contains(GRAY) && text.contains("PAGE") && text.contains(&std::process::id().to_string()), "{text}");
    drop((held, consumer, producer));
    shm2(&["inspect", &name]).failed_with("does not exist");
}

#[test]
fn a_look_has_no_effect_on_the_producer() {
    let name = TempRegion::new();
    let producer = producer(&name, GRAY, 3, &[7; 144]);
    for command in ["inspect", "hz -n 1 --window 50ms", "list"] {
        let mut arguments: Vec<_> = command.split(' ').collect();
        arguments.push(if command == "list" { "/dev/shm" } else { &name });
        shm2(&arguments).succeeded();
        assert_eq!(producer.consumers(), 0, "{command}");
    }
}

#[test]
fn list_shows_the_regions_of_folders_and_of_folders_in_them() {
    let folder = TempRegion::new();
    std::fs::create_dir_all(folder.path().join("sub")).unwrap();
    assert_eq!(shm2(&["list", "--json", &folder]).succeeded().json(), Vec::<serde_json::Value>::new());
    let at = |file: &str| Producer::builder(&format!("{}/{file}", &*folder)).unwrap().size(6 << 20).create().unwrap();
    let mut first = at("a camera");
    // Idle: it has caps and no frame yet.
    first.set_caps(GRAY.as_bytes()).unwrap();
    let _second = at("sub/second");
    std::fs::write(folder.path().join("foreign"), [1; 4096]).unwrap();
    std::os::unix::fs::symlink("second", folder.path().join("sub/link")).unwrap();

    let found = shm2(&["list", "--json", &folder]).succeeded().json();
    let names: Vec<_> = found.iter().map(|region| region["region"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, [format!("shm://{}/a%20camera", &*folder), format!("shm://{}/sub/second", &*folder)]);
    assert_eq!((&found[0]["caps"], &found[0]["age_ns"]), (&GRAY.into(), &serde_json::Value::Null));
    let text = shm2(&["list", &folder]).succeeded().text();
    assert!(text.contains("GRAY8 16x9 25/s") && text.lines().count() == 3, "{text}");
    shm2(&["list", &format!("{}/none", &*folder)]).failed_with("cannot look into");
}

#[test]
fn list_tells_of_files_that_this_user_may_not_read() {
    let folder = TempRegion::new();
    std::fs::create_dir_all(folder.path().join("theirs")).unwrap();
    let _mine = producer(&format!("{}/mine", &*folder), GRAY, 1, &[0; 144]);
    assert_eq!(shm2(&["list", &folder]).succeeded().error, "");
    let _camera = producer(&format!("{}/camera", &*folder), GRAY, 1, &[0; 144]);
    for name in ["camera", "theirs"] {
        let denied = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(folder.path().join(name), denied).unwrap();
    }
    for options in [&["list", &folder][..], &["list", "--json", &folder]] {
        let Some(ended) = shm2_without_override(options) else { return };
        let ended = ended.succeeded();
        assert!(ended.text().contains("/mine") && !ended.text().contains("/camera"), "{}", ended.text());
        assert_eq!(ended.error, "this user may not read 2 of the files and folders: shm2 doctor names them\n");
    }
}

#[test]
fn list_follows_the_regions_until_it_is_stopped() {
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    let mut following = begin(&["list", "-f", "--json", &folder]);
    let mut lines = BufReader::new(following.take_stdout().unwrap()).lines();
    let mut change = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    let mut new = Producer::builder(&format!("{}/new", &*folder)).unwrap().size(6 << 20).create().unwrap();
    assert_eq!(change()["change"], "appeared");
    new.set_caps(GRAY.as_bytes()).unwrap();
    let changed = change();
    assert_eq!((&changed["change"], &changed["state"]["caps"]), (&"changed".into(), &GRAY.into()));
    drop(new);
    assert_eq!(change()["change"], "gone");
    following.signal(shm2_testing::Signal::TERM);
    assert!(following.wait().success());
}

/// The lines of a command in the background.
fn lines(command: &mut ChildGuard) -> std::io::Lines<BufReader<ChildStdout>> {
    BufReader::new(command.take_stdout().unwrap()).lines()
}

#[test]
fn hz_measures_the_rate_of_a_producer() {
    let name = TempRegion::new();
    let mut producer = producer(&name, GRAY, 1, &[7; 144]);
    let mut measuring = begin(&["hz", "--json", "--window", "300ms", &name]);
    let mut lines = lines(&mut measuring);
    let mut counted = 0;
    while counted < 20 {
        let line: serde_json::Value = std::thread::scope(|scope| {
            let line = scope.spawn(|| serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap());
            while !line.is_finished() {
                producer.send(&[7; 144], &FrameInfo::new()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            line.join().unwrap()
        });
        // At most one frame each 5 ms.
        assert!(line["rate"].as_f64().is_none_or(|rate| rate > 0.0 && rate <= 200.0), "{line}");
        counted += line["frames"].as_u64().unwrap();
    }
    drop(producer);
    let left: Vec<_> = lines.collect();
    assert!(left.len() <= 2, "{left:?}");
    assert_eq!(measuring.wait().code(), Some(1), "the producer has ended");
}

#[test]
fn a_command_ends_when_the_reader_of_its_output_does() {
    let name = TempRegion::new();
    let _producer = producer(&name, GRAY, 1, &[7; 144]);
    let mut measuring = begin(&["hz", "--window", "20ms", &name]);
    drop(measuring.take_stdout());
    assert!(measuring.wait().success());
}

#[test]
fn counters_of_a_hostile_region_do_not_stop_the_list() {
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    let name = format!("{}/hostile", &*folder);
    let _producer = producer(&name, GRAY, 1, &[7; 144]);
    let file = std::fs::File::options().write(true).open(&name).unwrap();
    let header = |offset| std::os::unix::fs::FileExt::write_all_at(&file, &u64::MAX.to_le_bytes(), offset as u64);
    header(std::mem::offset_of!(shm2::layout::Header, dropped_oldest)).unwrap();
    header(std::mem::offset_of!(shm2::layout::Header, dropped_newest)).unwrap();
    for command in [&["list"][..], &["list", "--json"], &["metrics"], &["top", "-b", "-n", "1"]] {
        shm2(&[command, &[&*folder]].concat()).succeeded();
    }
}

#[test]
fn folders_that_contain_each_other_show_a_region_once() {
    let folder = TempRegion::new();
    std::fs::create_dir_all(folder.path().join("sub")).unwrap();
    let _producer = producer(&format!("{}/sub/one", &*folder), GRAY, 3, &[7; 144]);
    let sub = format!("{}/sub", &*folder);
    assert_eq!(shm2(&["list", "--json", &folder, &sub, &sub]).succeeded().json().len(), 1);
    let metrics = shm2(&["metrics", &folder, &sub]).succeeded().text();
    assert!(metrics.lines().any(|line| line.starts_with("shm2_frames_total{") && line.ends_with("} 3")), "{metrics}");
}

#[test]
fn names_do_not_reach_the_terminal_as_commands() {
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    let name = format!("{}/red\u{1b}[31m\u{202e}", &*folder);
    let mut following = begin(&["list", "-f", &folder]);
    let mut lines = lines(&mut following);
    let producer = producer(&name, "caps \u{1b}]0;title\u{7}", 1, &[7; 144]);
    let appeared = lines.next().unwrap().unwrap();
    drop(producer);
    let gone = lines.map_while(Result::ok).find(|line| line.starts_with("gone")).unwrap();
    for line in [appeared, gone] {
        assert!(!line.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{line:?}");
    }
}
