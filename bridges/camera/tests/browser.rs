//! A page in Chromium sees the region by `getUserMedia`, through the portal for cameras.

mod common;

use common::{Session, Source, consumers, is_installed, raw};
use serde_json::{Value, json};
use shm2_testing::{ChildGuard, LIMIT, TempRegion, skip, until};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

const STORE: &str = "/usr/libexec/xdg-permission-store";
const PORTAL: &str = "/usr/libexec/xdg-desktop-portal";
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

/// The portal, with a permission for cameras that a user would give by a dialog.
struct Portal(#[expect(dead_code, reason = "it runs until the end")] [ChildGuard; 2]);

impl Portal {
    fn start(session: &Session) -> Self {
        let spawn = |command: &mut Command| {
            let command = command.stdout(Stdio::null()).stderr(Stdio::null());
            ChildGuard::spawn(command).unwrap()
        };
        let store = spawn(&mut session.command(STORE));
        let name = "org.freedesktop.impl.portal.PermissionStore";
        until("the permission is stored", || {
            let mut call = session.command("gdbus");
            call.args(["call", "--session", "--dest", name]);
            call.args(["--object-path", "/org/freedesktop/impl/portal/PermissionStore", "--method"]);
            call.arg(format!("{name}.SetPermission")).args(["devices", "true", "camera", "", "['yes']"]);
            call.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        });
        // The portal for cameras is there only if some program promises to show dialogs.
        let folder = session.folder().join("portals");
        std::fs::create_dir(&folder).unwrap();
        let text = "[portal]\nDBusName=org.freedesktop.impl.portal.desktop.shm2\n\
                    Interfaces=org.freedesktop.impl.portal.Access;\nUseIn=shm2\n";
        std::fs::write(folder.join("shm2.portal"), text).unwrap();
        let mut portal = session.command(PORTAL);
        let portal = spawn(portal.env("XDG_CURRENT_DESKTOP", "shm2").env("XDG_DESKTOP_PORTAL_DIR", folder));
        until("the portal sees the camera", || {
            let mut call = session.command("gdbus");
            call.args(["call", "--session", "--dest", "org.freedesktop.portal.Desktop"]);
            call.args(["--object-path", "/org/freedesktop/portal/desktop", "--method"]);
            call.args(["org.freedesktop.DBus.Properties.Get", "org.freedesktop.portal.Camera", "IsCameraPresent"]);
            String::from_utf8_lossy(&call.stderr(Stdio::null()).output().unwrap().stdout).contains("true")
        });
        Self([store, portal])
    }
}

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

/// Serves the page on loopback, which browsers let use cameras; its address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", PAGE.len());
            let _ = stream.write_all((head + PAGE).as_bytes());
        }
    });
    format!("http://{address}/")
}

/// I420 with one colour on the left, and another one on the right: luma and two colour differences, BT.601.
fn halves(width: usize, height: usize, left: [u8; 3], right: [u8; 3]) -> Vec<u8> {
    let plane = |number: usize, shift: usize| {
        let half = (width >> shift) / 2;
        [vec![left[number]; half], vec![right[number]; half]].concat().repeat(height >> shift)
    };
    [plane(0, 0), plane(1, 1), plane(2, 1)].concat()
}

const RED: [u8; 3] = [81, 90, 240];
const BLUE: [u8; 3] = [41, 240, 110];

fn is_near(color: &Value, expected: [i64; 3]) -> bool {
    let of = |place: usize| color[place].as_i64().unwrap_or(-1000);
    (0..3).all(|place| (of(place) - expected[place]).abs() <= 3)
}

#[test]
fn a_page_in_chromium_shows_the_region_and_follows_it() {
    let Some(session) = Session::start() else { return };
    let programs = ["chromium", "gdbus"].into_iter().all(is_installed);
    if !programs || ![STORE, PORTAL].iter().all(|path| std::path::Path::new(path).exists()) {
        return skip("no chromium, gdbus or xdg-desktop-portal: no camera is tried in a browser");
    }
    let region = TempRegion::new();
    let source = Source::start(&region, &raw("I420", 640, 480), halves(640, 480, RED, BLUE));
    let _camera = session.camera(&["--description", "Front door", &region]);
    let _portal = Portal::start(&session);
    let mut browser = Browser::start(&session);
    browser.send("Page.navigate", json!({"url": serve()}));
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
