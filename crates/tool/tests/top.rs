//! `shm2 top`: rounds of text, and the screen in a pseudo terminal.

#![cfg(unix)]

mod common;

use common::{producer, shm2};
use shm2_testing::{ChildGuard, TempRegion, skip};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

const GRAY: &str = "video/x-raw, format=(string)GRAY8, width=(int)16, height=(int)9, framerate=(fraction)25/1";

/// A folder with the region `a`.
fn folder() -> (TempRegion, shm2::Producer) {
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    let producer = producer(&format!("{}/a", &*folder), GRAY, 3, &[7; 144]);
    (folder, producer)
}

#[test]
fn rounds_are_printed_as_text_or_objects() {
    let (folder, _producer) = folder();
    let text = shm2(&["top", "-b", "-n", "2", "--interval", "50ms", &folder]).succeeded().text();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("a ")).collect();
    assert_eq!((rows.len(), text.matches("REGION").count()), (2, 2), "{text}");
    assert!(rows.iter().all(|row| row.ends_with("  GRAY8 16x9 25/s")), "{text}");
    let ended = shm2(&["top", "-b", "-n", "2", "--json", "--interval", "50ms", &folder]).succeeded();
    let objects = ended.json();
    assert_eq!(objects.len(), 2);
    for object in objects {
        assert_eq!(object["state"]["region"], format!("shm://{}/a", &*folder));
        assert_eq!((&object["rates"]["frames"], &object["state"]["newest"]), (&0.0.into(), &3.into()));
        assert!(object["time_ns"].as_u64().is_some_and(|time| time > 1 << 60));
    }
}

#[test]
fn without_a_terminal_the_remedy_is_named() {
    let (folder, _producer) = folder();
    shm2(&["top", &folder]).failed_with("standard output is no terminal: print rounds of text with -b");
    shm2(&["top", "-b", "/dev/shm/shm2-test-none"]).failed_with("cannot look into");
    assert_eq!(shm2(&["top", "--json", &folder]).code, Some(2));
}

/// Runs the arguments in a pseudo terminal of 80 by 24 and prints what it shows. When it has shown the text of `argv[1]`,
/// the keys of `argv[2]` are typed, or SIGTERM is sent for none. The last lines: whether the modes of the terminal are as
/// before, and the exit code.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, signal, struct, sys, termios, time
main, side = pty.openpty()
fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
before = termios.tcgetattr(side)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(side, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(side, fd)
    os.execvp(sys.argv[3], sys.argv[3:])
shown, is_told, ended, deadline = b"", False, None, time.monotonic() + 50
while time.monotonic() < deadline:
    if select.select([main], [], [], 0.02)[0]:
        shown += os.read(main, 65536)
    elif ended is not None:
        break
    if not is_told and sys.argv[1].encode() in shown:
        is_told = True
        os.write(main, sys.argv[2].encode()) if sys.argv[2] else os.kill(pid, signal.SIGTERM)
    if ended is None:
        done, status = os.waitpid(pid, os.WNOHANG)
        ended = status if done else None
if ended is None:
    os.kill(pid, signal.SIGKILL)
sys.stdout.buffer.write(shown)
print("\nmodes", "restored" if termios.tcgetattr(side) == before else "changed")
print("code", os.waitstatus_to_exitcode(ended) if ended is not None else "none")
"#;

/// What the terminal got, and the lines after it.
fn in_terminal(until: &str, keys: &str, folder: &str) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL, until, keys, env!("CARGO_BIN_EXE_shm2"), "top", folder]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = ChildGuard::spawn(&mut command).unwrap();
    let mut text = Vec::new();
    child.take_stdout().unwrap().read_to_end(&mut text).unwrap();
    child.wait();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn the_terminal_is_restored_after_the_key_and_after_a_signal() {
    if Command::new("python3").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skip("no python3: no pseudo terminal for shm2 top");
    }
    let (folder, _producer) = folder();
    for keys in ["q", "\x03", ""] {
        let text = in_terminal("GRAY8", keys, &folder);
        let (enter, leave) = (text.find("\x1b[?1049h"), text.rfind("\x1b[?1049l"));
        assert!(enter.is_some() && enter < leave, "{keys:?}: {text:?}");
        assert!(text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is hidden after {keys:?}: {text:?}");
        assert!(text.ends_with("\nmodes restored\ncode 0\n"), "{keys:?}: {text:?}");
    }
}

#[test]
fn a_closed_pipe_ends_the_rounds_without_a_panic() {
    let (folder, _producer) = folder();
    let mut child = common::begin(&["top", "-b", "--interval", "50ms", &folder]);
    let mut line = String::new();
    BufReader::new(child.take_stdout().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("time "), "{line}");
    let ended = child.output();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}
