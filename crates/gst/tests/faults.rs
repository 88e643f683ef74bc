//! Pipelines in processes of their own that are killed and stopped, and regions that are damaged under elements.

mod common;

use common::Pipeline;
use shm2_testing::{ChildGuard, TempRegion, until};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// The demonstration's program in one of its roles: it stamps and checks each frame.
struct Program {
    child: ChildGuard,
    counts: Arc<Mutex<HashMap<String, f64>>>,
}

impl Program {
    fn start(role: &str, pipeline: &str) -> Self {
        let here = std::env::current_exe().unwrap();
        let target = here.parent().and_then(|deps| deps.parent()).unwrap();
        let mut command = Command::new(target.join("examples/shm2_demo"));
        command.env("GST_PLUGIN_PATH", target).args([role, pipeline]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ChildGuard::spawn(&mut command).unwrap();
        let counts = Arc::new(Mutex::new(HashMap::new()));
        let (lines, shared) = (BufReader::new(child.take_stdout().unwrap()).lines(), counts.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
                let parsed = pairs.filter_map(|(k, v)| Some((k.to_owned(), v.parse().ok()?)));
                shared.lock().unwrap().extend(parsed);
            }
        });
        Self { child, counts }
    }

    fn count(&self, key: &str) -> f64 {
        self.counts.lock().unwrap().get(key).copied().unwrap_or_default()
    }

    fn wait_more(&mut self, key: &str, more: f64) {
        let before = self.count(key);
        until(key, || {
            assert!(self.child.is_running(), "a pipeline ended by itself");
            self.count(key) >= before + more
        });
    }

    fn stop(mut self) -> HashMap<String, f64> {
        drop(self.child.take_stdin());
        assert!(self.child.wait().success());
        self.counts.lock().unwrap().clone()
    }
}

fn producer(name: &TempRegion, size: u64) -> Program {
    let caps = "video/x-raw,format=NV12,width=320,height=240,framerate=60/1";
    let sink = format!("shm2sink name=sink shm-size={size} shm-path={}", &**name);
    Program::start("produce", &format!("videotestsrc is-live=true ! {caps} ! {sink}"))
}

fn consumer(name: &TempRegion, properties: &str) -> Program {
    Program::start("consume", &format!("shm2src name=src {properties} shm-path={} ! fakesink sync=false", &**name))
}

#[test]
fn pipelines_that_are_killed_are_replaced_and_the_others_continue() {
    let name = TempRegion::new();
    let mut survivors = [consumer(&name, ""), consumer(&name, "access=snapshot"), consumer(&name, "latest-only=true")];
    for size in [64u64 << 20, 8 << 20, 6 << 20, 64 << 20] {
        // Both are killed at the end of the round, by being dropped.
        let mut producer = producer(&name, size);
        let mut victim = consumer(&name, "");
        for program in survivors.iter_mut().chain([&mut victim]) {
            program.wait_more("frames", 10.0);
        }
        drop(victim);
        producer.wait_more("published", 10.0);
        survivors.iter_mut().for_each(|survivor| survivor.wait_more("frames", 5.0));
    }
    for survivor in survivors {
        let counts = survivor.stop();
        assert_eq!((counts["corrupt"], counts["disordered"], counts["attaches"]), (0.0, 0.0, 4.0), "{counts:?}");
    }
}

#[test]
fn a_stopped_pipeline_stops_no_other() {
    let name = TempRegion::new();
    let mut producer = producer(&name, 16 << 20);
    let (mut one, mut other) = (consumer(&name, ""), consumer(&name, ""));
    one.wait_more("frames", 10.0);
    let signal = |program: &Program, signal: &str| {
        let status = Command::new("kill").args([signal, &program.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    };
    signal(&one, "-STOP");
    producer.wait_more("published", 60.0);
    other.wait_more("frames", 60.0);
    signal(&one, "-CONT");
    one.wait_more("frames", 60.0);
    signal(&producer, "-STOP");
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(&producer, "-CONT");
    for consumer in [one, other].iter_mut() {
        consumer.wait_more("frames", 30.0);
        assert_eq!((consumer.count("corrupt"), consumer.count("disordered")), (0.0, 0.0));
    }
}

#[test]
fn a_truncated_region_is_an_error_on_both_sides() {
    let name = TempRegion::new();
    let path = &*name;
    let caps = "video/x-raw,format=NV12,width=320,height=240,framerate=60/1";
    let producer = Pipeline::playing(&format!("videotestsrc is-live=true ! {caps} ! shm2sink shm-path={path}"));
    let consumers = ["lease", "snapshot"]
        .map(|access| Pipeline::playing(&format!("shm2src name=src access={access} shm-path={path} ! fakesink")));
    for consumer in &consumers {
        until("frames", || consumer.stat("src", "received") > 5);
    }
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4096).unwrap();
    let error = producer.error().expect("the producer's error");
    assert!(error.contains("was truncated while in use"), "{error}");
    for consumer in &consumers {
        let error = consumer.error().expect("a consumer's error");
        assert!(error.contains("was truncated while in use"), "{error}");
    }
}

#[test]
fn a_kept_region_serves_one_pipeline_after_another() {
    let name = TempRegion::new();
    let path = &*name;
    let caps = "video/x-raw,format=NV12,width=320,height=240,framerate=60/1";
    let sink = format!("shm2sink keep-region=true shm-path={path}");
    let consumer = Pipeline::playing(&format!("shm2src name=src shm-path={path} ! fakesink"));
    let mut inodes = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let producer = Pipeline::playing(&format!("videotestsrc is-live=true ! {caps} ! {sink}"));
        let before = consumer.stat("src", "received");
        until("frames of this producer", || consumer.stat("src", "received") > before + 10);
        producer.stop();
        inodes.insert(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap()));
    }
    assert_eq!(inodes.len(), 1);
    assert_eq!(consumer.stat("src", "attaches"), 3);
}
