//! What browsers need beside PipeWire: the portal for cameras, and a page.

use super::Session;
use shm2_testing::{ChildGuard, is_installed as has, until};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// The beginning of a page: a video `v`, and `color(x, y)`, what is shown there, as parts of the width and height.
const VIDEO: &str = r#"<video id=v autoplay muted></video><canvas id=c></canvas><script>
function color(x, y) {
  c.width = v.videoWidth; c.height = v.videoHeight;
  const context = c.getContext('2d');
  context.drawImage(v, 0, 0);
  return Array.from(context.getImageData(x * c.width, y * c.height, 1, 1).data.slice(0, 3));
}
"#;
const STORE: &str = "/usr/libexec/xdg-permission-store";
const PORTAL: &str = "/usr/libexec/xdg-desktop-portal";
/// Whether the portal's programs are there.
pub fn is_installed() -> bool {
    has("gdbus") && [STORE, PORTAL].iter().all(|path| Path::new(path).exists())
}

/// The portal, with a permission for cameras that a user would give by a dialog.
pub struct Portal([ChildGuard; 2]);

impl Portal {
    pub fn start(session: &Session) -> Self {
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

/// Serves a page with a video and a script on loopback, which browsers let use cameras; its address. `asked` gets the path of each request.
pub fn serve(script: &str, asked: impl Fn(&str) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let page = format!("{VIDEO}{script}</script>");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let bytes = stream.read(&mut request).unwrap_or_default();
            asked(String::from_utf8_lossy(&request[..bytes]).split(' ').nth(1).unwrap_or_default());
            let head = format!("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", page.len());
            let _ = stream.write_all((head + &page).as_bytes());
        }
    });
    format!("http://{address}/")
}

/// I420 with one colour on the left, and another one on the right: luma and two colour differences, BT.601.
pub fn halves(width: usize, height: usize, left: [u8; 3], right: [u8; 3]) -> Vec<u8> {
    let plane = |number: usize, shift: usize| {
        let half = (width >> shift) / 2;
        [vec![left[number]; half], vec![right[number]; half]].concat().repeat(height >> shift)
    };
    [plane(0, 0), plane(1, 1), plane(2, 1)].concat()
}

pub const RED: [u8; 3] = [81, 90, 240];
pub const BLUE: [u8; 3] = [41, 240, 110];
