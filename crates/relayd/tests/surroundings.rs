//! The daemon and its surroundings: existing files, stuck devices, the service manager, a lost network.

#![cfg(unix)]

mod common;

use common::{Daemon, output, source};
use shm2_testing::{ChildGuard, LIMIT, RECOVERY, Signal, TempPath, skip, until};
use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Instant;

const TCP: &str = "tcp://127.0.0.1:0";

#[test]
fn a_file_at_the_control_path_is_not_replaced() {
    let file = TempPath::new("precious");
    std::fs::write(&file, "precious").unwrap();
    let path = file.to_str().unwrap();
    let refused = output(&["--output", "appsrc name=appsrc ! fakesink", "--input", "videotestsrc", "--control", path]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && errors.contains("the path is a file that is not a socket"), "{errors}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn paths_that_are_not_utf_8_are_accepted() {
    use std::os::unix::ffi::OsStrExt;
    let directory = TempPath::new("bytes");
    std::fs::create_dir(&directory).unwrap();
    let path = |name: &[u8]| directory.join(std::ffi::OsStr::from_bytes(name));
    let (socket, control) = (path(b"socket\xff"), path(b"control\xff"));
    let (token, config) = (path(b"token\xff"), path(b"config\xff"));
    std::fs::write(&token, "open\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&config, "output = \"appsrc name=appsrc ! fakesink\"\n").unwrap();
    let mut listen = std::ffi::OsString::from("unix://");
    listen.push(&socket);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shm2_relayd"));
    command.args(["--input", &source("ball"), "--listen"]).arg(&listen).arg("--control").arg(&control);
    command.arg("--token-file").arg(&token).arg("--config").arg(&config);
    let _daemon = ChildGuard::spawn(command.stderr(std::process::Stdio::null())).unwrap();
    let status = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shm2_relayd"));
        String::from_utf8(command.args(["--status", "--control"]).arg(&control).output().unwrap().stdout).unwrap()
    };
    until("the daemon answers", || status().contains("\"clients\": 0"));
    let mut client = UnixStream::connect(&socket).unwrap();
    client.write_all(b"open\n").unwrap();
    until("the client counts", || status().contains("\"clients\": 1"));
}

#[test]
fn a_browser_request_is_no_demand() {
    let daemon = Daemon::start(&source("ball"), &["--listen", TCP, "--start-delay", "200"]);
    let mut browser = daemon.connect();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    daemon.waits_for_log("it speaks HTTP");
    daemon.waits_for("clients", 0);
    assert_eq!(daemon.status()["input_starts"], 0);
}

#[test]
fn a_stuck_input_does_not_keep_the_daemon_from_ending() {
    let fifo = TempPath::new("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &*fifo, rustix::fs::Mode::RWXU).unwrap();
    // Held open for writing, and nothing is written: the input never is ready.
    let held = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let input = format!("filesrc location={} ! rawvideoparse width=64 height=48", fifo.display());
    let mut daemon = Daemon::start(&input, &["--listen", TCP, "--cool-down", "0", "--frame-timeout", "0"]);
    for _ in 0..3 {
        let client = daemon.connect();
        daemon.waits_for("input", "starting");
        drop(client);
        daemon.waits_for("clients", 0);
    }
    let _client = daemon.connect();
    daemon.waits_for("input", "starting");
    daemon.signal(Signal::TERM);
    let begun = Instant::now();
    assert!(daemon.child.wait().success() && !daemon.region.exists());
    assert!(begun.elapsed() < RECOVERY, "{:?}", begun.elapsed());
    drop(held);
}

#[test]
fn the_manual_page_lists_all_options() {
    let page = String::from_utf8(output(&["--man"]).stdout).unwrap();
    for option in ["output", "input", "splash", "listen", "activate", "token", "config", "check", "status"] {
        assert!(page.contains(&format!("\\-\\-{option}")), "{option} in\n{page}");
    }
}

#[test]
fn the_service_manager_passes_sockets_and_receives_notifications() {
    let notify = TempPath::new("notify");
    manage(UnixDatagram::bind(&notify).unwrap(), notify.as_os_str());
}

#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_with_an_abstract_socket_receives_notifications() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("shm2-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    manage(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}").as_ref());
}

#[test]
fn a_notification_that_fails_is_logged() {
    for name in ["/nowhere/notify", "@shm2-test-nowhere", "nowhere"] {
        let daemon = Daemon::start_env(&source("ball"), &["--listen", TCP], ("NOTIFY_SOCKET", name));
        daemon.waits_for_log(&format!("the service manager was not notified at NOTIFY_SOCKET={name}: "));
    }
}

/// Runs a daemon whose service manager has this socket.
fn manage(socket: UnixDatagram, notify: &std::ffi::OsStr) {
    let path = TempPath::new("activated");
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // As systemd does: the socket is descriptor 3, and the variables name this process.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_shm2_relayd")]);
    command.args(["--output", "appsrc name=appsrc ! fakesink", "--input", &source("ball"), "--cool-down", "0"]);
    command.env("NOTIFY_SOCKET", notify).env("WATCHDOG_USEC", "200000").env_remove("RUNTIME_DIRECTORY");
    let listener = std::os::fd::OwnedFd::from(listener);
    let mut child = ChildGuard::spawn(command.stdin(listener).stderr(std::process::Stdio::null())).unwrap();
    let mut received = String::new();
    let mut receives = |what: &str| {
        let mut bytes = [0; 512];
        while !received.contains(what) {
            let count = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no {what}: {error}, but {received}"));
            received.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        received.clear();
    };
    receives("READY=1");
    (0..3).for_each(|_| receives("WATCHDOG=1"));
    let client = UnixStream::connect(&path).unwrap();
    receives("STATUS=input on");
    drop(client);
    receives("STATUS=input off");
    child.signal(Signal::TERM);
    receives("STOPPING=1");
    assert!(child.wait().success());
    // The socket is the service manager's, and stays.
    assert!(path.exists());
}

/// A client with a lost network sends nothing more. Needs its own network namespace.
#[test]
fn a_silently_lost_client_is_detected_within_half_a_minute() {
    // One namespace for the daemon, one for the client, and a link between them that is then taken down.
    let script = r#"set -e
        ip link set lo up
        ip link add here type veth peer name there
        unshare --net sleep 100 & other=$!
        sleep 0.3
        ip link set there netns $other
        ip addr add 10.77.0.1/24 dev here; ip link set here up
        nsenter -t $other -n sh -c 'ip addr add 10.77.0.2/24 dev there; ip link set there up'
        "$@" & daemon=$!
        sleep 1
        nsenter -t $other -n sh -c 'sleep 60 | timeout 60 bash -c "exec 3<>/dev/tcp/10.77.0.1/5566; cat"' &
        sleep 1
        "$1" --status --control "$0" | grep '"clients"'
        ip link set here down
        for second in $(seq 30); do
            sleep 1
            if "$1" --status --control "$0" | grep -q '"clients": 0'; then echo "gone after $second s"; break; fi
        done
        kill $daemon $other; wait $daemon"#;
    let control = TempPath::new("control");
    let mut command = std::process::Command::new("timeout");
    command
        .args(["80", "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script])
        .arg(&control);
    command.arg(env!("CARGO_BIN_EXE_shm2_relayd")).args(["--output", "appsrc name=appsrc ! fakesink"]);
    command.args(["--input", &source("ball"), "--listen", "tcp://10.77.0.1:5566", "--control"]).arg(&control);
    let output = command.output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if errors.contains("Operation not permitted") || errors.contains("not found") {
        return skip(&format!(
            "no network namespaces here, a lost client is not tried: {}",
            errors.lines().next().unwrap_or_default()
        ));
    }
    println!("{text}");
    assert!(text.contains("\"clients\": 1") && text.contains("gone after"), "{text}{errors}");
}
