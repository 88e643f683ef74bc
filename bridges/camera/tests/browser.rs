//! A page in Chromium sees the region by `getUserMedia`, through the portal for cameras.

mod common;

use common::portal::{self, BLUE, Portal, RED, halves};
use common::{Session, Source, consumers, raw};
use serde_json::Value;
use shm2_testing::browser::Browser;
use shm2_testing::{TempRegion, is_installed, skip, until};

/// What follows on the video of each page. `state` is the name of the camera that plays.
const SCRIPT: &str = r#"let state = '';
// WirePlumber lets a browser see the cameras a moment after the portal does: until then there is none.
async function open() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({video: true});
    v.srcObject = stream; await v.play(); state = stream.getVideoTracks()[0].label;
  } catch { setTimeout(open, 300); }
}
open();"#;

/// A browser whose page is not asked for the camera, which is that of PipeWire.
const OPTIONS: &[&str] = &["--enable-features=WebRtcPipeWireCamera", "--use-fake-ui-for-media-stream"];

fn is_near(color: &Value, expected: [i64; 3]) -> bool {
    let of = |place: usize| color[place].as_i64().unwrap_or(-1000);
    (0..3).all(|place| (of(place) - expected[place]).abs() <= 3)
}

#[test]
fn a_page_in_chromium_shows_the_region_and_follows_it() {
    let Some(session) = Session::start() else { return };
    if !is_installed("chromium") || !portal::is_installed() {
        return skip("no chromium, gdbus or xdg-desktop-portal: no camera is tried in Chromium");
    }
    let region = TempRegion::new();
    let source = Source::start(&region, &raw("I420", 640, 480), halves(640, 480, RED, BLUE));
    let _camera = session.camera(&["--description", "Front door", &region]);
    let _portal = Portal::start(&session);
    let browser = Browser::start(session.command("sh"), "chromium", session.folder(), OPTIONS);
    let mut browser = browser.expect("chromium runs");
    browser.visit(&portal::serve(SCRIPT, |_| {}));
    let mut state = Value::Null;
    until("the page plays", || {
        state = browser.value("state");
        state.as_str().is_some_and(|state| !state.is_empty())
    });
    assert_eq!(state, "Front door");
    let shows = |browser: &mut Browser, width: u32, left: [i64; 3], right: [i64; 3]| {
        browser.value("v.videoWidth") == width
            && is_near(&browser.value("color(0.25, 0.5)"), left)
            && is_near(&browser.value("color(0.75, 0.5)"), right)
    };
    let (red, blue) = ([254, 0, 0], [0, 0, 254]);
    until("red and blue are shown", || shows(&mut browser, 640, red, blue));
    assert_eq!(consumers(&region), 1);
    if let Ok(file) = std::env::var("SHM2_SCREENSHOT") {
        let picture = browser.value("c.toDataURL()");
        std::fs::write(file, picture.as_str().unwrap()).unwrap();
    }
    drop(source);
    let _source = Source::start(&region, &raw("I420", 320, 240), halves(320, 240, BLUE, RED));
    // Chromium takes no other size for a camera that is open.
    until("the next producer's pictures are shown in the size that the page has", || {
        shows(&mut browser, 640, blue, red)
    });
    browser.value("v.srcObject.getTracks().forEach(track => track.stop())");
    until("the region is let go", || consumers(&region) == 0);
}
