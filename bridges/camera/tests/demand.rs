//! A region is attached only while its camera is used, and the camera follows what changes meanwhile.

mod common;

use common::{Session, Source, consumers, gray, raw};
use shm2::Overview;
use shm2_testing::{ChildGuard, TempRegion, until};
use std::process::Stdio;

fn small(region: &TempRegion, luma: u8) -> Source {
    Source::start(region, &raw("I420", 320, 240), gray(320, 240, luma))
}

#[test]
fn a_region_is_attached_only_while_its_camera_is_used() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = small(&region, 90);
    let camera = session.camera(&[&region]);
    let begun = Overview::of(&region).unwrap().newest;
    until("frames pass", || {
        assert_eq!(consumers(&region), 0);
        Overview::of(&region).unwrap().newest > begun + 15
    });
    let first = session.watch(&camera.names[0]);
    let second = session.watch(&camera.names[0]);
    first.advances(10);
    second.advances(10);
    assert_eq!(consumers(&region), 1, "one attachment for all readers");
    first.child.kill();
    second.advances(10);
    assert_eq!(consumers(&region), 1);
    second.child.kill();
    until("the region is let go", || consumers(&region) == 0);
    session.watch(&camera.names[0]).advances(10);
}

#[test]
fn another_format_and_size_are_agreed_on_while_a_reader_watches() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let source = small(&region, 90);
    let camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.advances(10);
    drop(source);
    let _source = Source::start(&region, &raw("NV12", 640, 360), gray(640, 360, 90));
    until("pictures of the new size come", || reader.seen().last().unwrap().bytes == 640 * 360 * 3 / 2);
    // pipewiresrc of PipeWire 0.3.65 agrees on the new format, and does not tell its neighbours: tests/browser.rs has a
    // reader that does.
    reader.advances(10);
}

/// The luma of the picture that a reader who comes now gets last of `count`.
fn luma(session: &Session, node: &str, count: usize) -> u8 {
    let file = session.folder().join("luma.raw");
    let rest = format!("video/x-raw,format=I420 ! filesink location={}", file.display());
    let mut reader = session.read(node, &format!("num-buffers={count}"), &rest);
    assert!(reader.child.wait().success());
    let bytes = std::fs::read(file).unwrap();
    bytes[bytes.len() - 320 * 240 * 3 / 2]
}

#[test]
fn without_a_producer_the_last_picture_stays_or_a_dark_one_comes() {
    let Some(session) = Session::start() else { return };
    for (what, expected) in [("last", 200), ("blank", 32)] {
        let region = TempRegion::new();
        let source = small(&region, 200);
        let camera = session.camera(&["--without-producer", what, &region]);
        let watching = session.watch(&camera.names[0]);
        watching.advances(10);
        assert_eq!(luma(&session, &camera.names[0], 3), 200);
        drop(source);
        watching.advances(3);
        assert_eq!(luma(&session, &camera.names[0], 3), expected, "{what}");
        let _source = small(&region, 100);
        until("the next producer is attached", || consumers(&region) == 1);
        watching.advances(3);
        assert_eq!(luma(&session, &camera.names[0], 3), 100);
    }
}

#[test]
fn a_camera_whose_producer_never_came_is_dark() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.advances(3);
    assert_eq!(reader.seen().last().unwrap().bytes, 1280 * 720 * 3 / 2);
    let _source = small(&region, 200);
    until("pictures of the region come", || reader.seen().last().unwrap().bytes == 320 * 240 * 3 / 2);
}

/// Times that each process is killed.
const KILLS: usize = 10;

#[test]
fn killed_producers_and_readers_are_followed() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let start = || {
        let mut producer = session.command("gst-launch-1.0");
        producer.args(
            "-q videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 !".split(' '),
        );
        producer.arg("shm2sink").arg(format!("shm-path={}", &*region)).stderr(Stdio::null());
        ChildGuard::spawn(&mut producer).unwrap()
    };
    let mut producer = start();
    until("the producer is there", || Overview::of(&region).is_ok_and(|overview| overview.newest > 0));
    let camera = session.camera(&[&region]);
    let watching = session.watch(&camera.names[0]);
    for _ in 0..KILLS {
        until("it is attached", || consumers(&region) == 1);
        watching.advances(3);
        producer.kill();
        producer = start();
    }
    for _ in 0..KILLS {
        let reader = session.watch(&camera.names[0]);
        reader.advances(3);
        reader.child.kill();
        watching.advances(3);
    }
    producer.kill();
}

#[test]
fn a_killed_camera_leaves_nothing_and_comes_again_under_its_name() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = small(&region, 90);
    let mut names = Vec::new();
    for _ in 0..KILLS {
        let camera = session.camera(&[&region]);
        session.watch(&camera.names[0]).advances(3);
        names.extend(camera.names);
        camera.child.kill();
        until("its page is freed", || consumers(&region) == 0);
    }
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn restarts_of_pipewire_and_its_session_manager_are_followed() {
    let Some(mut session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = small(&region, 90);
    let mut camera = session.camera(&[&region]);
    for _ in 0..KILLS {
        session.watch(&camera.names[0]).advances(3);
        session.wireplumber.take().unwrap().kill();
        session.start_wireplumber();
        session.watch(&camera.names[0]).advances(3);
        session.pipewire.take().unwrap().kill();
        until("the region is let go", || consumers(&region) == 0);
        session.start_pipewire();
        session.wireplumber.take().unwrap().kill();
        session.start_wireplumber();
        let name = &camera.names[0];
        until("the camera is there again", || {
            let listed = session.command("pw-cli").args(["ls", "Node"]).output().unwrap();
            String::from_utf8_lossy(&listed.stdout).contains(name.as_str())
        });
    }
    assert!(camera.child.is_running());
}
