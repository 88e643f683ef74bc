//! The plugin in GStreamer's own programs on Windows: pipelines as processes, killed and started again.

#![cfg(windows)]

use shm2::{Consumer, Start};
use shm2_testing::{ChildGuard, TempRegion, until};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(30));

/// A directory with the plugin alone, so that GStreamer scans no other file.
fn plugins() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let here = std::env::current_exe().unwrap();
        // Cargo builds the plugin here together with this test, and copies it elsewhere in `cargo build` only.
        let built = here.parent().unwrap().join("gstshm2.dll");
        let folder = std::env::temp_dir().join(format!("shm2-gst-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&built, folder.join("gstshm2.dll")).unwrap_or_else(|e| panic!("{built:?}: {e}"));
        folder
    })
}

/// One of GStreamer's programs; killed when dropped. Its output goes to a file.
struct Program {
    child: ChildGuard,
    said: PathBuf,
}

impl Program {
    fn start(program: &str, arguments: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let said = plugins().join(format!("said-{number}.txt"));
        let file = File::create(&said).unwrap();
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).env("GST_PLUGIN_PATH", plugins()).env("GST_DEBUG", "2");
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: ChildGuard::spawn(&mut command).unwrap_or_else(|e| panic!("{program}: {e}")), said }
    }

    fn launch(pipeline: &str) -> Self {
        Self::start("gst-launch-1.0.exe", &format!("-q {pipeline}"))
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.said).unwrap()).into_owned()
    }

    fn runs(&mut self) -> bool {
        self.child.is_running()
    }

    /// Waits for a successful exit.
    fn end(mut self) -> String {
        let status = self.child.wait();
        assert!(status.success(), "{status}: {}", self.said());
        self.said()
    }

    fn kill(mut self) {
        assert!(self.runs(), "it ended by itself: {}", self.said());
        self.child.kill();
        assert_clean(&String::from_utf8_lossy(&std::fs::read(&self.said).unwrap()));
    }
}

/// Neither errors nor critical warnings.
fn assert_clean(said: &str) {
    for word in ["ERROR", "CRITICAL", "panicked"] {
        assert!(!said.contains(word), "{said}");
    }
}

const PICTURE: &str = "video/x-raw,format=NV12,width=1920,height=1080,framerate=30/1";

#[test]
fn the_elements_are_found_by_the_real_programs() {
    for (element, property) in [("shm2sink", "perms"), ("shm2src", "latest-only")] {
        let text = Program::start("gst-inspect-1.0.exe", element).end();
        assert!(text.contains("winshm://Local/gst-shm2-default") && text.contains(property), "{text}");
    }
}

#[test]
fn a_pair_of_pipelines_shows_pictures_and_plays_sound() {
    let name = TempRegion::new();
    let producer = Program::launch(&format!(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! \
         shm2sink shm-path={}",
        &*name
    ));
    let line = format!("shm2src shm-path={} is-live=true num-buffers=60 ! queue ! videoconvert ! fakesink", &*name);
    assert_clean(&Program::launch(&line).end());
    producer.kill();
    let sound = TempRegion::new();
    let producer = Program::launch(&format!(
        "audiotestsrc is-live=true ! audio/x-raw,format=S16LE,channels=2,rate=48000 ! shm2sink shm-path={}",
        &*sound
    ));
    let line = format!("shm2src shm-path={} num-buffers=60 ! queue ! audioconvert ! audioresample ! fakesink", &*sound);
    assert_clean(&Program::launch(&line).end());
    producer.kill();
}

#[test]
fn consumers_attach_and_detach_while_the_producer_runs() {
    let name = TempRegion::new();
    let mut producer =
        Program::launch(&format!("videotestsrc is-live=true ! {PICTURE} ! shm2sink shm-path={}", &*name));
    for cycle in 0..8 {
        let line = format!("shm2src shm-path={} ! queue ! fakesink", &*name);
        match cycle % 2 {
            // Half of them are killed while they run.
            0 => {
                let consumer = Program::launch(&line);
                std::thread::sleep(Duration::from_millis(1500));
                consumer.kill();
            }
            _ => assert_clean(&Program::launch(&line.replace("! queue", "num-buffers=20 ! queue")).end()),
        }
        std::thread::sleep(Duration::from_millis(300));
        assert!(producer.runs(), "{}", producer.said());
        assert_clean(&producer.said());
    }
    let mut last = Consumer::builder(&name).unwrap().start(Start::Next).attach(LONG).unwrap();
    for _ in 0..30 {
        let frame = last.next(LONG).unwrap();
        assert_eq!((frame.missed(), frame.len()), (0, 1920 * 1080 * 3 / 2));
    }
    producer.kill();
}

#[test]
fn a_consumer_continues_with_each_producer_that_was_killed_and_started_again() {
    let name = TempRegion::new();
    let mut pipeline = Program::launch(&format!("shm2src shm-path={} ! queue ! fakesink sync=true", &*name));
    let mut consumer = Consumer::new(&name).unwrap();
    for life in 1..=4 {
        let size = [0, 16_000_000, 64_000_000][life % 3];
        let producer = Program::launch(&format!(
            "videotestsrc is-live=true ! {PICTURE} ! shm2sink shm-size={size} shm-path={}",
            &*name
        ));
        while consumer.stats().attaches < life as u64 {
            consumer.next(LONG).unwrap();
        }
        let held = consumer.next(LONG).unwrap();
        let bytes = held.to_vec();
        (0..20).for_each(|_| drop(consumer.next(LONG).unwrap()));
        producer.kill();
        assert_eq!(held.to_vec(), bytes, "a held frame outlives its killed producer");
        assert!(pipeline.runs(), "{}", pipeline.said());
    }
    pipeline.kill();
}

#[test]
fn a_second_producer_is_refused_with_an_error() {
    let name = TempRegion::new();
    let line = format!("videotestsrc is-live=true ! {PICTURE} ! shm2sink shm-path={}", &*name);
    let first = Program::launch(&line);
    Consumer::builder(&name).unwrap().attach(LONG).unwrap();
    let mut second = Program::launch(&line);
    until("it is refused", || !second.runs());
    assert!(second.said().contains("has a live producer already"), "{}", second.said());
    first.kill();
}
