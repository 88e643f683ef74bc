//! `shm2 gc`: what killed producers left is listed, and removed when told so.

#![cfg(target_os = "linux")]

mod common;

use common::{folder_with_a_dead_region, shm2};
use shm2::Producer;

#[test]
fn a_dead_region_is_listed_and_removed_only_when_told_so() {
    let folder = folder_with_a_dead_region();
    let at = |name: &str| folder.path().join(name);
    let builder = |name: &str| Producer::builder(at(name).to_str().unwrap()).unwrap().size(8 << 20);
    let live = builder("live").create().unwrap();
    drop(builder("kept").keep_region(true).create().unwrap());
    std::fs::write(at("foreign"), b"text").unwrap();

    let ended = shm2(&["gc", "--json", &folder]).succeeded();
    let [line] = &ended.json()[..] else { panic!("{}", ended.text()) };
    assert_eq!(line["path"], at("dead").to_str().unwrap());
    assert!(line["kind"] == "region" && line["removed"] == false && line["bytes"].as_u64() > Some(1 << 20), "{line}");
    let text = shm2(&["gc", &folder]).succeeded().text();
    assert!(text.contains("its producer is dead") && text.contains("--delete removes it"), "{text}");
    assert!(at("dead").exists());

    let ended = shm2(&["gc", "--delete", "--json", &folder]).succeeded();
    assert_eq!(ended.json()[0]["removed"], true);
    assert!(shm2(&["gc", "--delete", &folder]).succeeded().text().contains("dead producers have left nothing"));
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["foreign", "kept", "live"]);
    drop(live);
    shm2(&["gc", "/no-such-folder"]).failed_with("cannot look into /no-such-folder");
}
