//! The pipelines of the pages of the elements, of docs/migrating.md and of the README run: all `gst-launch-1.0` lines of
//! a block together, each until its sinks have buffers, without an error.
//!
//! The blocks of docs/start.md and of the tutorials are run whole, by a shell: [`shm2_testing::page`]. `NOT_RUN` names
//! the pages of docs/ with `sh` blocks that no test runs, with the reasons.

mod common;

use common::Pipeline;
use gst::prelude::*;
use shm2_testing::{LIMIT, fences};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The text of a page.
fn page(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    std::fs::read_to_string(root.join(name)).unwrap()
}

/// For each `sh` block its pipelines.
fn blocks(text: &str) -> Vec<Vec<String>> {
    let blocks = fences::blocks(text).unwrap();
    let pipelines = blocks.iter().map(|block| {
        let joined = block.text.replace("\\\n", " ");
        let commands = joined.lines().filter_map(|line| line.split_once("gst-launch-1.0 "));
        commands.map(|(_, pipeline)| without_shell(pipeline).to_owned()).collect::<Vec<_>>()
    });
    pipelines.filter(|pipelines| !pipelines.is_empty()).collect()
}

/// A pipeline without options of the program before it and without a pipe behind it.
fn without_shell(pipeline: &str) -> &str {
    let pipeline = pipeline.trim_start_matches("-v ").trim_start_matches("-q ");
    pipeline.split(" | ").next().unwrap_or(pipeline).trim()
}

/// Counts of buffers that arrive at each sink.
fn counts(pipeline: &Pipeline) -> Vec<(String, Arc<AtomicU64>)> {
    let sinks = pipeline.0.iterate_sinks().into_iter().map(Result::unwrap);
    let count = |sink: gst::Element| {
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        sink.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        (sink.name().to_string(), count)
    };
    sinks.map(count).collect()
}

/// Replaces region names by those of this run, and what needs a shell or a screen.
fn prepare(pipeline: &str, run: u64) -> String {
    let own = format!("/dev/shm/shm2-gst-test-{}-page-{run}-", std::process::id());
    let mut line = pipeline.replace("/dev/shm/", &own).replace(['"', '\''], "");
    for sink in ["autovideosink", "autoaudiosink"] {
        line = line.replace(sink, "fakesink sync=true");
    }
    line = line.replace("fdsink", "fakesink");
    line
}

fn run_together(pipelines: &[String]) {
    println!("{}", pipelines.join("\n"));
    // Several pages have a region "camera", and the tests of one process may run at the same time.
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let running: Vec<_> = pipelines.iter().map(|line| Pipeline::new(&prepare(line, run))).collect();
    let counts: Vec<_> = running.iter().flat_map(counts).collect();
    assert!(!counts.is_empty());
    for pipeline in &running {
        pipeline.0.set_state(gst::State::Playing).unwrap();
    }
    let begun = Instant::now();
    while counts.iter().any(|(_, count)| count.load(Ordering::Relaxed) < 10) {
        for pipeline in &running {
            let error = pipeline.0.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
            assert!(error.is_none(), "{error:?} in {pipelines:#?}");
        }
        assert!(begun.elapsed() < LIMIT / 2, "no buffers: {counts:?} in {pipelines:#?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    running.iter().rev().for_each(Pipeline::stop);
}

fn run(name: &str, least: usize) {
    let blocks = blocks(&page(name));
    assert!(blocks.len() >= least, "{name}: {} blocks", blocks.len());
    blocks.iter().for_each(|pipelines| run_together(pipelines));
}

const SINK: &str = "docs/elements/shm2sink.md";
const SOURCE: &str = "docs/elements/shm2src.md";
const MIGRATING: &str = "docs/migrating.md";

#[test]
fn the_page_of_shm2sink_runs() {
    run(SINK, 6);
}

#[test]
fn the_page_of_shm2src_runs() {
    run(SOURCE, 13);
}

#[test]
fn the_replacements_for_other_elements_run() {
    run(MIGRATING, 2);
}

#[test]
fn the_pipelines_of_the_readme_run() {
    // Producer and consumers are in blocks of their own.
    let all: Vec<_> = blocks(&page("README.md")).concat();
    assert!(all.len() >= 4);
    run_together(&all);
}

/// Pages whose `sh` blocks are run by a shell, one test each.
#[cfg(target_os = "linux")]
mod shell {
    use super::*;
    use shm2_testing::page;

    macro_rules! pages {
        ($($test:ident: $page:literal,)+) => {
            const PAGES: &[&str] = &[$($page),+];
            $(#[test]
            fn $test() {
                run_blocks($page);
            })+
        };
    }

    pages! {
        start: "docs/start.md",
        detector: "docs/tutorials/detector.md",
        audio: "docs/tutorials/audio.md",
        untrusted: "docs/tutorials/untrusted.md",
        many_cameras: "docs/tutorials/many-cameras.md",
        virtual_machine: "docs/tutorials/virtual-machine.md",
        v4l2: "docs/tutorials/v4l2.md",
        clocks: "docs/tutorials/clocks.md",
        containers: "docs/tutorials/containers.md",
        confined: "docs/tutorials/confined.md",
        network: "docs/tutorials/network.md",
        obs: "docs/tutorials/obs.md",
        another_host: "docs/tutorials/another-host.md",
        virtual_camera: "docs/tutorials/virtual-camera.md",
        nvr: "docs/tutorials/nvr.md",
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
    }

    fn run_blocks(page: &str) {
        let test = std::env::current_exe().unwrap();
        page::run(root(), page, test.ancestors().nth(2).unwrap(), page::BLOCK_LIMIT);
    }

    #[test]
    fn every_tutorial_is_run() {
        let tutorials = std::fs::read_dir(root().join("docs/tutorials")).unwrap();
        for tutorial in tutorials.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            let page = format!("docs/tutorials/{tutorial}");
            assert!(PAGES.contains(&page.as_str()) || !page.ends_with(".md"), "{page} is missing above");
        }
    }

    /// Pages with `sh` blocks that no test runs.
    const NOT_RUN: &[(&str, &str)] = &[
        ("docs/network.md", "two machines; docs/tutorials/network.md has the same on one"),
        ("docs/platforms.md", "they install a target and build the project"),
        ("docs/relay.md", "they build the project and need a camera"),
        ("docs/shm2.md", "they show what is there until they are ended, and need a player"),
        ("docs/tools.md", "they build the project"),
    ];

    /// The pages of a folder below the root that have `sh` blocks.
    fn with_blocks(folder: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(root().join(folder)).unwrap().map(Result::unwrap) {
            let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                found.extend(with_blocks(&path));
            } else if path.ends_with(".md") && !fences::blocks(&super::page(&path)).unwrap().is_empty() {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn every_page_with_sh_blocks_is_run_or_named() {
        let by_pipelines = [SINK, SOURCE, MIGRATING];
        let not_run = NOT_RUN.iter().map(|(page, _)| *page);
        let mut known: Vec<_> = PAGES.iter().copied().chain(by_pipelines).chain(not_run).collect();
        let mut pages = with_blocks("docs");
        known.sort_unstable();
        pages.sort_unstable();
        assert_eq!(pages, known);
    }
}
