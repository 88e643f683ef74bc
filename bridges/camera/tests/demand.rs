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
    assert!(session.pictures(&camera.names[0], 3, "video/x-raw").ends_with(&gray(640, 360, 90)));
}

/// The luma of the picture that a reader who comes now gets last of `count`.
fn luma(session: &Session, node: &str, count: usize) -> u8 {
    let bytes = session.pictures(node, count, "video/x-raw,format=I420");
    let last = bytes.len().checked_sub(320 * 240 * 3 / 2);
    bytes[last.expect("the reader got pictures")]
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
        watching.receives(3);
        assert_eq!(luma(&session, &camera.names[0], 3), expected, "{what}");
        let _source = small(&region, 100);
        until("the next producer is attached", || consumers(&region) == 1);
        watching.advances(3);
        assert_eq!(luma(&session, &camera.names[0], 3), 100);
    }
}

#[test]
fn a_reader_that_comes_when_readers_and_producer_are_gone_gets_the_last_picture() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let source = small(&region, 200);
    let cameras = [("last", 200), ("blank", 32)]
        .map(|(what, luma)| (session.camera(&["--without-producer", what, &region]), luma));
    for (camera, _) in &cameras {
        session.watch(&camera.names[0]).advances(3);
    }
    // The buffers go some seconds after the last reader.
    let is_suspended = |name: &str| session.pw_cli(name, &["info", "NODE"]).contains("\"suspended\"");
    until("the nodes are suspended", || cameras.iter().all(|(camera, _)| is_suspended(&camera.names[0])));
    drop(source);
    for (camera, expected) in &cameras {
        assert_eq!(luma(&session, &camera.names[0], 3), *expected, "{:?}", camera.names);
    }
}

#[test]
fn a_reader_that_cannot_be_given_the_new_format_is_told_of() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let source = small(&region, 90);
    let camera = session.camera(&[&region]);
    let caps = raw("I420", 320, 240).replace(' ', "").replace("30/1", "30/1 ! fakesink silent=false sync=false");
    let reader = session.read(&camera.names[0], "", &caps);
    reader.advances(3);
    drop(source);
    let _source = Source::start(&region, "image/jpeg, width=320, height=240", vec![1; 100]);
    until("the reason is said", || {
        let errors = camera.errors.lock().unwrap();
        errors.iter().any(|line| line.contains("JPEG 320x240 now") && line.contains("I420 320x240"))
    });
}

#[test]
fn a_camera_whose_producer_never_came_is_dark() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.receives(3);
    assert_eq!(reader.seen().last().unwrap().bytes, 1280 * 720 * 3 / 2);
    let _source = small(&region, 200);
    until("pictures of the region come", || reader.seen().last().unwrap().bytes == 320 * 240 * 3 / 2);
    reader.advances(3);
    assert_eq!(luma(&session, &camera.names[0], 3), 200);
}

/// Times that a process is killed: `short`, or `SHM2_KILLS`, as `cargo xtask camera long` sets it.
fn kills(short: usize) -> usize {
    std::env::var("SHM2_KILLS").map_or(short, |kills| kills.parse().unwrap())
}

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
    for _ in 0..kills(2) {
        until("it is attached", || consumers(&region) == 1);
        watching.advances(3);
        producer.kill();
        producer = start();
    }
    for _ in 0..kills(2) {
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
    for _ in 0..kills(2) {
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
fn a_camera_whose_node_is_removed_comes_again() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = small(&region, 90);
    let mut camera = session.camera(&[&region]);
    let name = camera.names[0].clone();
    for removals in 1..=kills(2) {
        let reader = session.watch(&name);
        reader.advances(3);
        let errors = camera.errors.lock().unwrap().len();
        session.pw_cli(&name, &["destroy", "NODE"]);
        until("the node is gone", || camera.errors.lock().unwrap().len() > errors || removals > 1);
        drop(reader);
        until("the region is let go", || consumers(&region) == 0);
        until("the camera is there again", || {
            session.pw_cli(&name, &["ls", "Node"]).matches(&format!("{name:?}")).count() == 1
        });
        if removals == 1 {
            let errors = camera.errors.lock().unwrap()[errors..].to_vec();
            assert!(errors.len() == 1 && errors[0].contains(&*region) && errors[0].contains("removed"), "{errors:?}");
        }
    }
    assert!(session.pictures(&name, 3, "video/x-raw").ends_with(&gray(320, 240, 90)));
    assert!(camera.child.is_running());
}

#[test]
fn the_last_picture_stays_when_the_node_is_removed_or_pipewire_restarts() {
    let Some(mut session) = Session::start() else { return };
    let region = TempRegion::new();
    let source = small(&region, 200);
    let camera = session.camera(&[&region]);
    let name = &camera.names[0];
    session.watch(name).advances(3);
    drop(source);
    let is_there = |session: &Session| session.pw_cli(name, &["ls", "Node"]).contains(&format!("{name:?}"));
    session.pw_cli(name, &["destroy", "NODE"]);
    until("the node is gone", || !camera.errors.lock().unwrap().is_empty());
    until("the camera is there again", || is_there(&session));
    assert_eq!(luma(&session, name, 3), 200);
    session.pipewire.take().unwrap().kill();
    session.start_pipewire();
    session.wireplumber.take().unwrap().kill();
    session.start_wireplumber();
    until("the camera is there again", || is_there(&session));
    assert_eq!(luma(&session, name, 3), 200);
}

#[test]
fn restarts_of_pipewire_and_its_session_manager_are_followed() {
    let Some(mut session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = small(&region, 90);
    let mut camera = session.camera(&[&region]);
    for _ in 0..kills(1) {
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
