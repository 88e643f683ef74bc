//! Following the regions of folders.
#![cfg(target_os = "linux")]

use shm2::discovery::{ListingChange, Watch};
use shm2::{FrameInfo, Producer};
use shm2_testing::{ChildGuard, LIMIT, TempRegion};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn producer(path: &Path, caps: Option<&str>) -> Producer {
    let mut producer = Producer::builder(path.to_str().unwrap()).unwrap().size(5 << 20).create().unwrap();
    caps.into_iter().for_each(|caps| producer.set_caps(caps.as_bytes()).unwrap());
    producer
}

fn folder() -> TempRegion {
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    folder
}

/// A change in short form: a sign, the file's name and its caps.
fn short(change: &ListingChange) -> String {
    let name = change.path().file_name().unwrap().to_string_lossy().into_owned();
    let caps = |caps: &Option<Vec<u8>>| String::from_utf8(caps.clone().unwrap_or_default()).unwrap();
    match change {
        ListingChange::Appeared(region) => format!("+{name} {}", caps(&region.caps)),
        ListingChange::Changed(region) => format!("~{name} {}", caps(&region.caps)),
        _ => format!("-{name}"),
    }
}

/// Waits for this change; others may come before it. The time that it took.
fn expect(watch: &mut Watch, wanted: &str) -> Duration {
    expect_any(watch, &[wanted])
}

/// Waits for one of these changes.
fn expect_any(watch: &mut Watch, wanted: &[&str]) -> Duration {
    let begin = Instant::now();
    let mut seen = Vec::new();
    while begin.elapsed() < LIMIT {
        seen.extend(watch.wait(Some(Duration::from_secs(1))).iter().map(short));
        if seen.iter().any(|change| wanted.contains(&change.as_str())) {
            return begin.elapsed();
        }
    }
    panic!("no {wanted:?} in {seen:?}");
}

#[test]
fn regions_that_appear_change_and_go_are_reported_in_every_folder() {
    let (first, second) = (folder(), folder());
    let old = producer(&first.path().join("old"), Some("caps"));
    let mut watch = Watch::new([first.path(), second.path()]);
    assert_eq!(watch.wait(Some(LIMIT)).iter().map(short).collect::<Vec<_>>(), ["+old caps"]);

    let mut new = producer(&second.path().join("new"), None);
    expect(&mut watch, "+new ");
    new.set_caps(b"first").unwrap();
    // Before the first frame: the region is idle.
    expect(&mut watch, "~new first");
    new.set_caps(b"second").unwrap();
    new.send(b"frame", &FrameInfo::new()).unwrap();
    expect(&mut watch, "~new second");
    drop(old);
    expect(&mut watch, "-old");
    drop(new);
    expect(&mut watch, "-new");
}

#[test]
fn a_change_in_a_quiet_folder_is_found_without_the_regular_look() {
    let folder = folder();
    let mut watch = Watch::new([folder.path()]);
    watch.wait(Some(Duration::ZERO));
    let mut shortest = [LIMIT; 3];
    for round in 0..4 {
        let mut begun = producer(&folder.path().join(round.to_string()), Some("caps"));
        let appeared = expect(&mut watch, &format!("+{round} caps"));
        // A file that has changed is looked at once more soon after; the next change comes later.
        watch.wait(Some(Duration::from_millis(200)));
        begun.set_caps(b"other").unwrap();
        let changed = expect(&mut watch, &format!("~{round} other"));
        watch.wait(Some(Duration::from_millis(200)));
        drop(begun);
        let gone = expect(&mut watch, &format!("-{round}"));
        shortest.iter_mut().zip([appeared, changed, gone]).for_each(|(least, time)| *least = time.min(*least));
    }
    // The regular look comes each 5 s.
    assert!(shortest.iter().all(|time| *time < Duration::from_secs(2)), "{shortest:?}");
}

#[test]
fn folders_in_folders_are_followed_when_they_are_made_and_removed() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("a")).unwrap();
    let in_a = producer(&path("a/deep"), Some("a"));
    let mut watch = Watch::new([folder.path()]);
    expect(&mut watch, "+deep a");

    std::fs::create_dir_all(path("b/c")).unwrap();
    let _in_b = producer(&path("b/c/late"), Some("b"));
    expect(&mut watch, "+late b");
    std::fs::rename(path("b"), path("moved")).unwrap();
    expect(&mut watch, "-late");
    drop(in_a);
    expect(&mut watch, "-deep");
    std::fs::remove_dir(path("a")).unwrap();
    // A link to a folder is not followed, so its regions are not reported twice.
    std::os::unix::fs::symlink(path("moved"), path("link")).unwrap();
    assert!(!watch.wait(Some(Duration::from_millis(200))).iter().any(|change| change.path().starts_with(path("link"))));
}

#[test]
fn a_folder_that_does_not_exist_yet_is_followed_when_it_is_made() {
    let folder = TempRegion::new();
    let mut watch = Watch::new([folder.path()]);
    assert!(watch.wait(Some(Duration::from_millis(50))).is_empty());
    std::fs::create_dir(folder.path()).unwrap();
    let _producer = producer(&folder.path().join("new"), Some("caps"));
    expect(&mut watch, "+new caps");
}

#[test]
fn a_watch_is_ended_from_another_thread() {
    let folder = folder();
    let mut watch = Watch::new([PathBuf::from(folder.path())]);
    let end = watch.ender();
    let waiting = std::thread::spawn(move || watch.wait(None));
    end.end();
    assert_eq!((waiting.join().unwrap(), end.is_set()), (Vec::new(), true));
}

#[test]
fn a_producer_that_is_killed_is_reported() {
    if let Some(path) = std::env::var_os("SHM2_TEST_PRODUCER") {
        let _producer = producer(Path::new(&path), Some("caps"));
        std::thread::sleep(LIMIT);
        return;
    }
    let folder = folder();
    let mut watch = Watch::new([folder.path()]);
    watch.wait(Some(Duration::ZERO));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_producer_that_is_killed_is_reported"]).stdout(Stdio::null());
    command.env("SHM2_TEST_PRODUCER", folder.path().join("killed"));
    let child = ChildGuard::spawn(&mut command).unwrap();
    // It may be found before it has caps.
    expect_any(&mut watch, &["+killed caps", "~killed caps"]);
    child.kill();
    expect(&mut watch, "-killed");
}
