//! `publish --encode`: the pipeline that encodes runs while somebody reads, and ends and begins with whom it belongs to.

mod common;

use common::*;
use shm2::{Consumer, FrameInfo, Producer};
use shm2_testing::{TempPath, TempRegion, is_installed, until};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What runs encoders: the elements of the workspace, in a registry of this test's own.
struct Encoders {
    plugins: PathBuf,
    registry: TempPath,
}

impl Encoders {
    /// `None`, and the reason is printed, where something is missing.
    fn find() -> Option<Self> {
        let plugins = Path::new(env!("CARGO_BIN_EXE_shm2_zenoh")).ancestors().nth(3).unwrap().join("debug");
        let has_all = ["gst-launch-1.0", "setpriv"].into_iter().all(is_installed);
        if !has_all || !plugins.join("libgstshm2.so").exists() {
            shm2_testing::skip("--encode: needs gst-launch-1.0, setpriv and the plugin (cargo build --workspace)");
            return None;
        }
        Some(Self { plugins, registry: TempPath::new("zenoh-registry") })
    }

    fn publish(&self, router: &Router, arguments: &[&str]) -> Bridge {
        let mut command =
            program(&["publish", "--host", "north", "--connect", &router.endpoint, "--encode", "jpegenc"]);
        command.args(["--listen", "tcp/127.0.0.1:0"]).args(arguments);
        let bridge = Bridge::start(command.env("GST_PLUGIN_PATH", &self.plugins).env("GST_REGISTRY", &*self.registry));
        bridge.says("published: ");
        bridge
    }
}

/// A producer of black pictures with this side.
fn pictures(region: &str, side: usize) -> Producer {
    let mut producer = Producer::builder(region).unwrap().arena(1 << 20).create().unwrap();
    let caps = format!("video/x-raw, format=I420, width={side}, height={side}, framerate=30/1");
    producer.set_caps(caps.as_bytes()).unwrap();
    producer
}

/// Whether an encoded picture arrives now that another raw one was sent; with its caps.
fn arrives(producer: &mut Producer, side: usize, consumer: &mut Consumer) -> Option<String> {
    producer.send(&vec![0; side * side * 3 / 2], &FrameInfo::new()).unwrap();
    let frame = consumer.next(Some(Duration::from_millis(30))).ok()?;
    let caps = String::from_utf8(frame.caps()?.1.to_vec()).unwrap();
    assert!(caps.starts_with("image/jpeg"), "{caps}");
    frame.to_vec().starts_with(&[0xff, 0xd8]).then_some(caps)
}

/// Processes that run the encoder of this region.
fn encoders(region: &TempRegion) -> Vec<String> {
    let source = format!("shm-path=\"{}\"", &**region);
    let runs = |process: &PathBuf| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let arguments: Vec<_> = line.split(|byte| *byte == 0).collect();
        arguments.contains(&source.as_bytes()) && arguments.contains(&&b"shm2sink"[..])
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(runs);
    processes.map(|process| process.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// Regions that encoders of this region have made.
fn encoded(region: &TempRegion) -> usize {
    let begin = format!("{}.", region.path().file_name().unwrap().to_str().unwrap());
    let names = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with(&begin)).count()
}

#[test]
fn an_encoder_follows_kills_of_itself_and_of_its_bridge_and_ends_with_its_readers() {
    let Some(found) = Encoders::find() else { return };
    let (router, region, local) = (Router::start(), TempRegion::new(), TempRegion::new());
    let mut producer = pictures(&region, 64);
    let mut publish = found.publish(&router, &[&region]);
    let open = router.open(&region, &local, &[]);
    open.says("opened");
    let list = || router.bridge(&["list"]).stop_by_itself();
    assert!(list().contains(&format!("{}  (no caps yet)\n", source(&region))), "raw caps are not what is sent");
    assert!(encoders(&region).is_empty(), "it runs although nobody reads");
    let mut consumer = consumer(&local);
    let mut flows = |consumer: &mut Consumer, what: &str| {
        let took = until(what, || arrives(&mut producer, 64, consumer).is_some());
        println!("{what} after {took:?}");
    };
    flows(&mut consumer, "the first picture");
    assert!(list().contains(&format!("{}  image/jpeg", source(&region))));
    let first = encoders(&region);
    assert_eq!(first.len(), 1);
    assert!(Command::new("kill").args(["-9", &first[0]]).status().unwrap().success());
    publish.says("and is started again: jpegenc");
    while consumer.next(Some(Duration::from_millis(300))).is_ok() {}
    flows(&mut consumer, "a picture of the next encoder");
    assert!(!encoders(&region).contains(&first[0]));
    publish.kill();
    until("the encoder ends with its bridge", || encoders(&region).is_empty());
    while consumer.next(Some(Duration::from_millis(300))).is_ok() {}
    publish = found.publish(&router, &[&region]);
    flows(&mut consumer, "a picture of the next bridge");
    assert_eq!(encoded(&region), 1, "the region of the killed bridge's encoder is there, too");
    drop(consumer);
    publish.says("not read:");
    until("the encoder ends with its readers", || encoders(&region).is_empty() && encoded(&region) == 0);
    publish.stop();
}

/// Names that are alike once a folder is written as a full stop, and a second bridge for the same region.
#[test]
fn encoders_do_not_share_a_region() {
    let Some(found) = Encoders::find() else { return };
    let (router, folder) = (Router::start(), TempRegion::new());
    std::fs::create_dir_all(folder.path().join("a")).unwrap();
    let mut sources =
        [("a/b", 32), ("a.b", 64)].map(|(name, side)| (pictures(&format!("{}/{name}", &*folder), side), side));
    let arguments = ["a/b", "a.b", "--folder", &folder];
    let bridges = [found.publish(&router, &arguments), found.publish(&router, &arguments)];
    let locals = [TempRegion::new(), TempRegion::new()];
    let open = |name: &str, local: &TempRegion| router.bridge(&["open", name, "--as", local]);
    let _open = [open("north/a/b", &locals[0]), open("north/a.b", &locals[1])];
    for ((producer, side), local) in sources.iter_mut().zip(&locals) {
        let (mut consumer, width) = (consumer(local), format!("width=(int){side},"));
        until("pictures of the right size arrive", || {
            arrives(producer, *side, &mut consumer).is_some_and(|caps| caps.contains(&width))
        });
    }
    for bridge in bridges {
        let text = bridge.stop();
        assert!(text.contains("read: north/a") && !text.contains("the encoder ended"), "{text}");
    }
}
