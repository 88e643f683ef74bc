//! Readers that ask for what they do not get, and a producer that is faster than every reader: the others go on.

mod common;

use common::{Session, Source, gray, raw};
use shm2::{FrameInfo, Producer};
use shm2_testing::{Signal, TempRegion, process, until};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn readers_that_want_another_format_or_few_buffers_do_not_disturb_others() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    let camera = session.camera(&[&region]);
    let name = &camera.names[0];
    let watching = session.watch(name);
    watching.advances(5);
    for caps in ["video/x-raw,format=RGB", "image/jpeg", "video/x-raw,width=17"] {
        let mut reader = session.read(name, "", &format!("{caps} ! fakesink"));
        assert!(!reader.child.wait().success(), "{caps}");
        watching.advances(5);
    }
    for (least, most) in [(1, 1), (2, 2), (40, 60)] {
        let buffers = format!("min-buffers={least} max-buffers={most}");
        session.read(name, &buffers, "video/x-raw ! fakesink silent=false sync=false").advances(5);
        watching.advances(5);
    }
    drop(watching);
    // Also a reader that is the only one.
    let refused = session.read(name, "", "video/x-raw,format=RGB ! fakesink silent=false");
    let few = session.read(name, "min-buffers=1 max-buffers=1", "video/x-raw ! fakesink silent=false sync=false");
    few.advances(5);
    assert_eq!(refused.count(), 0);
    drop((refused, few));
    assert!(session.pictures(name, 3, "video/x-raw").ends_with(&gray(320, 240, 90)));
}

/// A producer that sends small frames without a pause, while `rest` runs.
fn flood(region: &TempRegion, rest: impl FnOnce()) {
    struct End<'e>(&'e AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let mut producer = Producer::builder(region).unwrap().size(16 << 20).create().unwrap();
    producer.set_caps(raw("I420", 64, 48).as_bytes()).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                producer.send(&gray(64, 48, 90), &FrameInfo::new()).unwrap();
            }
        });
        // Also when `rest` fails.
        let _end = End(&ended);
        rest();
    });
}

#[test]
fn a_producer_without_pauses_ends_no_camera_and_leaves_time_to_others() {
    let Some(session) = Session::start() else { return };
    let (fast, slow) = (TempRegion::new(), TempRegion::new());
    let _source = Source::start(&slow, &raw("I420", 320, 240), gray(320, 240, 90));
    flood(&fast, || {
        let mut camera = session.camera(&[&fast, &slow]);
        let readers = [session.watch(&camera.names[0]), session.watch(&camera.names[1])];
        readers.iter().for_each(|reader| reader.advances(5));
        // Many cycles of PipeWire.
        std::thread::sleep(Duration::from_secs(3));
        readers.iter().for_each(|reader| reader.advances(5));
        let resident = process::peak_bytes(camera.child.id()).unwrap();
        assert!(resident < 256 << 20, "{resident} bytes were resident");
        camera.child.signal(Signal::TERM);
        let status = camera.child.wait();
        assert_eq!(status.code(), Some(0), "{status} {:?}", camera.errors.lock().unwrap());
        until("the region is let go", || common::consumers(&fast) == 0);
    });
}
