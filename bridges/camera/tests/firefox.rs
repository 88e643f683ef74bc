//! A page in Firefox sees the region by `getUserMedia`, through the portal for cameras, and reports what it shows.

mod common;

use common::portal::{self, BLUE, Portal, RED, halves};
use common::{Session, Source, consumers, raw};
use shm2_testing::{ChildGuard, TempRegion, is_installed, skip, until};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

/// Asks for a path every 300 ms: `/error/...`, or `/shows/` with label, width, and the colours at the left and right.
const SCRIPT: &str = r#"const report = (...parts) => fetch('/' + parts.map(encodeURIComponent).join('/')).catch(() => {});
async function open() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({video: true});
    v.srcObject = stream; await v.play();
    const label = stream.getVideoTracks()[0].label;
    setInterval(() => report('shows', label, v.videoWidth, color(0.25, 0.5), color(0.75, 0.5)), 300);
  } catch (error) { report('error', error); setTimeout(open, 300); }
}
open();"#;

/// The cameras of PipeWire; the page's own question is answered; nothing is asked of other hosts.
const PREFERENCES: &str = r#"
user_pref("media.webrtc.camera.allow-pipewire", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.gmp-manager.url", "");
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("toolkit.telemetry.enabled", false);
"#;

/// Firefox without a window.
fn firefox(session: &Session, url: &str) -> ChildGuard {
    let profile = session.folder().join("profile");
    std::fs::create_dir(&profile).unwrap();
    std::fs::write(profile.join("user.js"), PREFERENCES).unwrap();
    let mut command = session.command("firefox-esr");
    command.args(["--headless", "--no-remote", "--profile"]).arg(&profile).arg(url);
    ChildGuard::spawn(command.stdout(Stdio::null()).stderr(Stdio::null())).unwrap()
}

/// Whether the page reports this label and width, and near colours.
fn is_shown(path: &str, label: &str, width: u32, colors: [[i64; 3]; 2]) -> bool {
    let parts: Vec<_> = path.split('/').skip(1).collect();
    let ["shows", name, size, rest @ ..] = &parts[..] else { return false };
    let is_near = |(text, expected): (&&str, &[i64; 3])| {
        let found: Vec<i64> = text.split("%2C").filter_map(|number| number.parse().ok()).collect();
        found.len() == 3 && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 3)
    };
    *name == label && *size == width.to_string() && rest.len() == 2 && rest.iter().zip(&colors).all(is_near)
}

#[test]
fn a_page_in_firefox_shows_the_region_and_the_next_producer() {
    let Some(session) = Session::start() else { return };
    if !is_installed("firefox-esr") || !portal::is_installed() {
        return skip("no firefox-esr, gdbus or xdg-desktop-portal: no camera is tried in Firefox");
    }
    let region = TempRegion::new();
    let source = Source::start(&region, &raw("I420", 640, 480), halves(640, 480, RED, BLUE));
    let _camera = session.camera(&["--description", "Front", &region]);
    let _portal = Portal::start(&session);
    let last: Arc<Mutex<String>> = Arc::default();
    let to = last.clone();
    let url = portal::serve(SCRIPT, move |path| path.clone_into(&mut to.lock().unwrap()));
    let mut browser = firefox(&session, &url);
    let (red, blue) = ([254, 0, 0], [0, 0, 254]);
    let shows = |width: u32, colors: [[i64; 3]; 2]| is_shown(&last.lock().unwrap(), "Front", width, colors);
    until("red and blue are shown", || shows(640, [red, blue]));
    assert_eq!(consumers(&region), 1);
    drop(source);
    let _source = Source::start(&region, &raw("I420", 640, 480), halves(640, 480, BLUE, RED));
    until("the next producer's pictures are shown", || shows(640, [blue, red]));
    browser.signal(shm2_testing::Signal::TERM);
    browser.wait();
    until("the region is let go", || consumers(&region) == 0);
}
