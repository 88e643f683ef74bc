//! A page in Chromium sees the region by `getUserMedia`, through the portal for cameras.

mod common;

use common::portal::{self, BLUE, Portal, RED, halves};
use common::{Session, Source, consumers, is_installed, raw};
use serde_json::{Value, json};
use shm2_testing::{ChildGuard, LIMIT, TempRegion, skip, until};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

const PAGE: &str = r#"<video id=v autoplay muted></video><canvas id=c></canvas><script>
let state = '';
function color(x, y) {
  c.width = v.videoWidth; c.height = v.videoHeight;
  const context = c.getContext('2d');
  context.drawImage(v, 0, 0);
  return Array.from(context.getImageData(x * c.width, y * c.height, 1, 1).data.slice(0, 3));
}
// WirePlumber lets a browser see the cameras a moment after the portal does: until then there is none.
async function open() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({video: true});
    v.srcObject = stream; await v.play(); state = stream.getVideoTracks()[0].label;
  } catch { setTimeout(open, 300); }
}
open();
</script>"#;

/// Chromium without a window, driven by messages through two named pipes: each ends with a zero byte.
struct Browser {
    to: File,
    from: Receiver<Value>,
    last: u64,
    session: Option<String>,
    child: ChildGuard,
}

impl Browser {
    fn start(session: &Session) -> Self {
        let pipes = ["to", "from"].map(|name| session.folder().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // Open for both directions, so that no side waits for the other to open it.
        let [to, from] = pipes.each_ref().map(|pipe| OpenOptions::new().read(true).write(true).open(pipe).unwrap());
        let mut command = session.command("sh");
        command.args(["-c", "exec chromium \"$@\" 3<\"$0/to\" 4>\"$0/from\""]).arg(session.folder());
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]);
        // The page's own question is answered; the camera is that of PipeWire.
        command.args(["--enable-features=WebRtcPipeWireCamera", "--use-fake-ui-for-media-stream"]);
        command.arg(format!("--user-data-dir={}", session.folder().join("profile").display())).arg("about:blank");
        let child = ChildGuard::spawn(command.stdout(Stdio::null()).stderr(Stdio::null())).unwrap();
        let mut browser = Self { to, from: messages(from), last: 0, session: None, child };
        let target = browser.send("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.send("Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_owned);
        browser
    }

    fn send(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = self.from.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        self.send("Runtime.evaluate", parameters)["result"]["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends its helper processes as well.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        if !std::thread::panicking() {
            until("the browser ends", || !self.child.is_running());
        }
    }
}

fn messages(pipe: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(pipe).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

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
    let mut browser = Browser::start(&session);
    browser.send("Page.navigate", json!({"url": portal::serve(PAGE, |_| {})}));
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
