//! What is wrong is said in one sentence, with an exit code.

mod common;

use common::{Session, Source, consumers, gray, raw};
use shm2_testing::{ChildGuard, Signal, TempRegion, process, until};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Asserts that the command fails with one line that has all of `parts`.
fn fails(session: &Session, mut command: Command, code: i32, parts: &[&str]) {
    let (got, error) = session.fails(&mut command);
    assert_eq!(got, Some(code), "{error}");
    if code == 1 {
        assert!(error.starts_with("shm2-camera: "), "{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn wrong_names_formats_and_options_are_refused_with_the_remedy() {
    let Some(session) = Session::start() else { return };
    let program = |arguments: &[&str]| {
        let mut command = session.command(env!("CARGO_BIN_EXE_shm2-camera"));
        command.args(arguments);
        command
    };
    fails(&session, program(&[]), 2, &["REGION"]);
    fails(&session, program(&["http://x"]), 1, &["http"]);
    fails(&session, program(&["/dev/null"]), 1, &["/dev/null", "not a region"]);
    fails(&session, program(&["/dev/shm/a", "-d", "x", "-d", "y"]), 1, &["2 descriptions", "1 region"]);
    fails(&session, program(&["/dev/shm/a", "/dev/shm/b", "--node-name", "x"]), 1, &["--node-name", "one region"]);
    let region = TempRegion::new();
    let sound = "audio/x-raw, format=S16LE, rate=48000, channels=1, layout=interleaved";
    let _source = Source::start(&region, sound, vec![0; 960]);
    fails(&session, program(&[&region]), 1, &[&region, "audio/x-raw", "decodebin"]);
}

/// `shm2-camera` for a region with this mode, by a user who has no more rights than that gives.
fn restricted(session: &Session, region: &TempRegion, mode: u32) -> Command {
    std::fs::set_permissions(region.path(), Permissions::from_mode(mode)).unwrap();
    let mut command = session.command("setpriv");
    let capabilities = "-dac_override,-dac_read_search";
    command.args(["--inh-caps", capabilities, "--bounding-set", capabilities]);
    command.args([env!("CARGO_BIN_EXE_shm2-camera"), region]);
    command
}

#[test]
fn a_region_that_may_not_be_read_is_named() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    fails(&session, restricted(&session, &region, 0o0), 1, &[&region, "permission denied"]);
}

#[test]
fn a_region_that_may_only_be_read_is_shown() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    let mut command = restricted(&session, &region, 0o444);
    let _camera = ChildGuard::spawn(command.args(["--node-name", "readable"]).stdout(Stdio::null())).unwrap();
    until("the camera is there", || session.pw_cli("readable", &["ls", "Node"]).contains("\"readable\""));
    session.watch("readable").advances(5);
    assert!(session.pictures("readable", 3, "video/x-raw").ends_with(&gray(320, 240, 90)));
    assert_eq!(consumers(&region), 0, "a reader of copies does not attach");
}

#[test]
fn a_region_whose_permission_or_file_is_taken_away_is_shown_when_it_is_back() {
    let Some(session) = Session::start() else { return };
    let (region, other) = (TempRegion::new(), TempRegion::new());
    let source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    let mut command = restricted(&session, &region, 0o600);
    let mut camera = ChildGuard::spawn(command.args(["--node-name", "guarded"]).stdout(Stdio::null())).unwrap();
    until("the camera is there", || session.pw_cli("guarded", &["ls", "Node"]).contains("\"guarded\""));
    let shows = |luma: u8| session.pictures("guarded", 3, "video/x-raw").ends_with(&gray(320, 240, luma));
    let mode = |mode| std::fs::set_permissions(region.path(), Permissions::from_mode(mode)).unwrap();
    let reader = session.watch("guarded");
    reader.advances(5);
    // What is mapped stays so.
    mode(0o0);
    reader.advances(5);
    drop(reader);
    until("the region is let go", || consumers(&region) == 0);
    let reader = session.watch("guarded");
    reader.receives(3);
    assert_eq!(consumers(&region), 0);
    mode(0o600);
    reader.advances(5);
    // Another region under the name: it is shown when the producer of the first one ends.
    let next = Source::start(&other, &raw("I420", 320, 240), gray(320, 240, 150));
    std::fs::rename(other.path(), region.path()).unwrap();
    reader.advances(5);
    assert!(shows(90));
    drop(source);
    until("the other region is shown", || shows(150));
    drop(next);
    // What is no region.
    let _ = std::fs::remove_file(region.path());
    assert!(Command::new("mkfifo").arg(region.path()).status().unwrap().success());
    reader.receives(3);
    std::fs::remove_file(region.path()).unwrap();
    std::fs::write(region.path(), vec![7; 100_000]).unwrap();
    let busy = process::busy(camera.id());
    reader.receives(3);
    let busy = process::busy(camera.id()) - busy;
    assert!(busy < Duration::from_millis(500), "busy for {busy:?} in a second and a half");
    std::fs::remove_file(region.path()).unwrap();
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 60));
    until("the region is shown again", || shows(60));
    camera.signal(Signal::TERM);
    assert_eq!(camera.wait().code(), Some(0));
}

#[test]
fn without_pipewire_the_remedy_is_named() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    let mut command = session.command(env!("CARGO_BIN_EXE_shm2-camera"));
    command.env("XDG_RUNTIME_DIR", "/nonexistent").arg(&*region);
    fails(&session, command, 1, &["PipeWire", "/nonexistent", "systemctl --user start"]);
}

#[test]
fn a_second_camera_of_a_region_has_its_own_name_and_a_given_name_is_not_taken_twice() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    let (first, second) = (session.camera(&[&region]), session.camera(&[&region]));
    assert_eq!(second.names[0], format!("{}-2", first.names[0]));
    let readers = [session.watch(&first.names[0]), session.watch(&second.names[0])];
    readers.iter().for_each(|reader| reader.advances(5));
    assert_eq!(consumers(&region), 2);
    let mut command = session.command(env!("CARGO_BIN_EXE_shm2-camera"));
    command.args([&*region, "--node-name", &first.names[0]]);
    fails(&session, command, 1, &[&first.names[0], "already", "--node-name"]);
}

#[test]
fn what_cannot_be_shown_any_more_is_said_once_and_the_camera_goes_on() {
    let Some(session) = Session::start() else { return };
    let region = TempRegion::new();
    let source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    let mut camera = session.camera(&[&region]);
    let reader = session.watch(&camera.names[0]);
    reader.advances(5);
    drop(source);
    let source = Source::start(&region, "video/x-h264, width=320, height=240", vec![1; 100]);
    until("the reason is said", || camera.errors.lock().unwrap().iter().any(|line| line.contains("video/x-h264")));
    reader.receives(3);
    drop(source);
    let _source = Source::start(&region, &raw("I420", 320, 240), gray(320, 240, 90));
    until("it is attached again", || consumers(&region) == 1);
    reader.advances(5);
    let errors = camera.errors.lock().unwrap().clone();
    assert_eq!(errors.len(), 1, "{errors:?}");
    camera.child.signal(Signal::TERM);
    assert_eq!(camera.child.wait().code(), Some(0));
}
