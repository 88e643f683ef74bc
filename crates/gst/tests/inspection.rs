//! The output of `gst-inspect-1.0` is checked in, so that review sees a change of a property, its unit, range or
//! default. `UPDATE=1 cargo test -p gst-plugin-shm2 --test inspection` rewrites the files.

mod common;

use gst::prelude::*;
use shm2_testing::TempRegion;
use std::path::Path;
use std::process::Command;

/// Lines that differ from build to build.
const VARYING: &[&str] = &["Filename", "Version", "Source release date"];

fn inspect(feature: &str) -> String {
    let here = std::env::current_exe().unwrap();
    let target = here.parent().and_then(|deps| deps.parent()).unwrap();
    let mut command = Command::new("gst-inspect-1.0");
    let output =
        command.args(["--no-colors", feature]).env("GST_PLUGIN_PATH", target).env("G_DEBUG", "fatal-criticals");
    let output = output.output().unwrap();
    assert!(output.status.success(), "{feature}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines =
        text.lines().map(str::trim_end).filter(|line| !VARYING.iter().any(|v| line.trim_start().starts_with(v)));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_elements_look_as_they_did() {
    common::init();
    if (gst::version().0, gst::version().1) != (1, 22) {
        shm2_testing::skip(&format!(
            "inspection: {} prints its own classes in another way than 1.22",
            gst::version_string()
        ));
        return;
    }
    for feature in ["shm2sink", "shm2src"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let file = root.join("docs/elements").join(feature).with_extension("txt");
        let text = inspect(feature);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        for (number, (was, is)) in expected.lines().zip(text.lines()).enumerate() {
            assert_eq!(was, is, "{} line {}; write it anew with UPDATE=1", file.display(), number + 1);
        }
        assert_eq!(expected.lines().count(), text.lines().count(), "{}", file.display());
    }
}

#[test]
fn a_live_region_is_listed_with_its_caps() {
    let name = TempRegion::new();
    let caps = "video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1";
    let producer = common::Pipeline::playing(&format!(
        "videotestsrc is-live=true ! {caps} ! shm2sink name=sink shm-path={}",
        &*name
    ));
    shm2_testing::until("a frame", || producer.stat("sink", "published") > 0);
    let here = std::env::current_exe().unwrap();
    let target = here.parent().and_then(|deps| deps.parent()).unwrap();
    let output = Command::new("gst-device-monitor-1.0").env("GST_PLUGIN_PATH", target).arg("Source/Video").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let uri = format!("shm://{}", &*name);
    assert!(text.contains(&uri) && text.contains("width=64, height=48"), "{text}");
}

/// An idle source, one whose sink waits for a consumer, and one whose frames do not stay in the region.
#[test]
fn a_region_without_a_frame_is_listed_with_its_caps() {
    let caps = "video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1";
    let live = format!("videotestsrc is-live=true ! {caps}");
    let upstream = [
        format!("appsrc is-live=true format=time caps={caps}"),
        format!("appsrc is-live=true format=time ! {caps}"),
        format!("{live} ! identity ! queue"),
        live,
    ];
    let settings = ["", "", "wait-for-connection=true", "history=0"];
    let regions: Vec<_> = upstream
        .iter()
        .zip(settings)
        .map(|(upstream, settings)| {
            let name = TempRegion::new();
            let producer = common::Pipeline::playing(&format!("{upstream} ! shm2sink {settings} shm-path={}", &*name));
            (name, producer)
        })
        .collect();
    let shows_caps = |name: &TempRegion| shm2::Overview::of(name).is_ok_and(|region| region.caps.is_some());
    shm2_testing::until("the caps of all", || regions.iter().all(|(name, _)| shows_caps(name)));
    let provider = gst::DeviceProviderFactory::by_name("shm2deviceprovider").unwrap();
    for ((name, _), upstream) in regions.iter().zip(&upstream) {
        let path = format!("shm://{}", &**name);
        let is_it = |device: &gst::Device| {
            device.properties().is_some_and(|properties| properties.get::<&str>("shm-path") == Ok(&path))
        };
        // Another test may have started the provider, which then looks once a second.
        let mut found = None;
        shm2_testing::until(&format!("{upstream} listed with its caps"), || {
            let has_caps = |device: &gst::Device| device.caps().is_some_and(|caps| caps.is_fixed());
            found = provider.devices().into_iter().find(|device| is_it(device) && has_caps(device));
            found.is_some()
        });
        let device = found.unwrap();
        assert_eq!(device.device_class(), "Source/Video", "{upstream}");
    }
}

// Windows has no directory of regions.
#[cfg(unix)]
#[test]
fn a_device_is_replaced_when_its_producer_has_other_caps() {
    let name = TempRegion::new();
    common::init();
    let provider = gst::DeviceProviderFactory::by_name("shm2deviceprovider").unwrap();
    let mut producer = shm2::Producer::builder(&name).unwrap().size(8 << 20).create().unwrap();
    let suffix = name.rsplit('/').next().unwrap().to_owned();
    let caps = || {
        let devices = provider.devices().into_iter();
        let ours: Vec<_> = devices.filter(|device| device.display_name() == suffix).collect();
        assert!(ours.len() <= 1, "{ours:?}");
        ours.first().and_then(|device| device.caps())
    };
    provider.start().unwrap();
    assert!(caps().is_some_and(|caps| caps.is_any()));
    for text in ["audio/x-opus", "video/x-vp8"] {
        producer.set_caps(text.as_bytes()).unwrap();
        producer.send(b"frame", &shm2::FrameInfo::new()).unwrap();
        shm2_testing::until("the caps", || caps().is_some_and(|caps| caps.to_string() == text));
    }
    drop(producer);
    shm2_testing::until("it to go", || caps().is_none());
    provider.stop();
}
