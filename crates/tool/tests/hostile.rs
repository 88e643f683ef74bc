//! Every command that looks at one region, with what is no region.

#![cfg(unix)]

mod common;

use common::{producer, shm2};
use shm2_testing::{TempPath, TempRegion};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The commands, with REGION in place of the name.
fn commands(output: &TempPath) -> Vec<String> {
    let snapshot = format!("snapshot REGION --timeout 100ms -o {}", output.text());
    let commands = ["inspect REGION", "inspect --json REGION", "hz -n 1 --window 10ms REGION"];
    let mut all: Vec<_> = commands.map(String::from).into();
    all.extend([snapshot, "cat --timeout 100ms REGION".into()]);
    all
}

/// Runs all commands at `name`: each fails with one sentence and leaves nothing behind.
fn all_fail(name: &str) {
    let output = TempPath::new("output.png");
    for command in commands(&output) {
        let arguments: Vec<_> = command.split(' ').map(|word| if word == "REGION" { name } else { word }).collect();
        let ended = shm2(&arguments).failed_with("");
        assert!(!ended.error.contains("panicked"), "{command}: {}", ended.error);
        assert!(!output.exists() && !output.with_extension("partial").exists(), "{command}");
    }
}

#[test]
fn what_is_no_region_is_named_by_one_sentence() {
    let name = TempRegion::new();
    all_fail(&name);
    for content in [&b""[..], &[0; 4096], &[0xff; 70_000], b"a text"] {
        std::fs::write(name.path(), content).unwrap();
        all_fail(&name);
    }
    std::fs::remove_file(name.path()).unwrap();
    std::fs::create_dir(name.path()).unwrap();
    all_fail(&name);
    all_fail("/dev/null");
    all_fail("/dev/shm/no-such-folder/region");
}

#[test]
fn a_region_that_is_cut_short_or_left_by_its_producer_is_named() {
    let name = TempRegion::new();
    let producer = producer(&name, "video/x-raw, format=GRAY8, width=4, height=4", 3, &[7; 16]);
    let copy = TempRegion::new();
    std::fs::copy(name.path(), copy.path()).unwrap();
    all_fail(&copy);
    for bytes in [0, 100, 4096, 1 << 20, 5 << 20] {
        File::options().write(true).open(copy.path()).unwrap().set_len(bytes).unwrap();
        all_fail(&copy);
    }
    File::options().write(true).open(name.path()).unwrap().set_len(600_000).unwrap();
    all_fail(&name);
    drop(producer);
}

#[test]
fn hostile_words_in_a_live_region_are_no_panic() {
    let name = TempRegion::new();
    let _producer = producer(&name, "video/x-raw, format=GRAY8, width=4, height=4", 5, &[7; 16]);
    let file = File::options().read(true).write(true).open(name.path()).unwrap();
    let mut header = [0; 1024];
    file.read_exact_at(&mut header, 0).unwrap();
    let output = TempPath::new("output.png");
    for offset in (64..1024).step_by(8) {
        file.write_all_at(&u64::MAX.to_le_bytes(), offset).unwrap();
        for command in commands(&output).iter().take(3) {
            let arguments: Vec<_> =
                command.split(' ').map(|word| if word == "REGION" { &name } else { word }).collect();
            let ended = shm2(&arguments);
            assert!(matches!(ended.code, Some(0 | 1)), "{offset} {command}: {:?} {}", ended.code, ended.error);
        }
        file.write_all_at(&header[offset as usize..][..8], offset).unwrap();
    }
    shm2(&["inspect", &name]).succeeded();
}
