//! Several servers start at the socket that a dead one left: one of them listens there, the others get an error.

#![cfg(target_os = "linux")]

mod common;

use common::{CAPACITY, LONG, SocketPath};
use rustix::fs::{CWD, Mode, mkfifoat};
use shm2_channel::duplex::{ConnectError, Interface, Listener, Options};
use shm2_testing::{TempPath, skip};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;
const CONTENDERS: usize = 4;

/// Leaves a socket at the path at which no process listens.
fn leave_dead_socket(path: &SocketPath) {
    drop(UnixListener::bind(&path.0).unwrap());
}

/// Results of several listeners that are made at one path at the same moment.
fn contest(path: &SocketPath) -> Vec<Result<Listener<u64>, ConnectError>> {
    let start = Barrier::new(CONTENDERS);
    let bind = || {
        start.wait();
        Listener::<u64>::bind(&path.0, Options::new(CAPACITY))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONTENDERS).map(|_| scope.spawn(bind)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn is_in_use(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse)
}

/// Whether a client that connects to the path reaches the listener.
fn is_reached(listener: &mut Listener<u64>, path: &SocketPath) -> bool {
    let options = Options::new(CAPACITY).timeout(LONG.unwrap_or_default());
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Interface::<u64>::connect(&path.0, options).is_ok());
        while !client.is_finished() {
            if listener.accept(Some(Duration::from_millis(1))).unwrap().is_some() {
                return client.join().unwrap();
            }
        }
        client.join().unwrap()
    })
}

#[test]
fn of_several_servers_at_one_dead_socket_exactly_one_listens_and_is_reached() {
    let path = SocketPath::new();
    let mut wrong = Vec::new();
    for round in 0..ROUNDS {
        leave_dead_socket(&path);
        let (mut listening, refused): (Vec<_>, Vec<_>) = contest(&path).into_iter().partition(Result::is_ok);
        let others = refused.into_iter().filter_map(Result::err).filter(|error| !is_in_use(error));
        let others: Vec<_> = others.map(|error| error.to_string()).collect();
        if listening.len() != 1 || !others.is_empty() {
            wrong.push((round, listening.len(), others));
        } else if round % 10 == 0 {
            assert!(is_reached(listening[0].as_mut().unwrap(), &path), "round {round}");
        }
        listening.clear();
        assert!(!wrong.is_empty() || !path.0.exists(), "round {round}: the socket is removed");
        let _ = fs::remove_file(&path.0);
    }
    assert!(wrong.is_empty(), "{} of {ROUNDS} rounds without exactly one listener: {wrong:?}", wrong.len());
}

#[test]
fn of_several_servers_at_a_free_path_exactly_one_listens() {
    let path = SocketPath::new();
    for round in 0..ROUNDS {
        let mut listening: Vec<_> = contest(&path).into_iter().filter_map(Result::ok).collect();
        assert_eq!(listening.len(), 1, "round {round}");
        if round % 10 == 0 {
            assert!(is_reached(&mut listening[0], &path), "round {round}");
        }
        listening.clear();
        assert!(!path.0.exists(), "round {round}");
    }
}

/// The error of a listener at a path.
fn refusal(path: &Path) -> std::io::Error {
    match Listener::<u64>::bind(path, Options::new(CAPACITY)) {
        Err(ConnectError::Listen { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_path_that_is_no_socket_is_refused_and_stays() {
    let directory = TempPath::new("duplex-kinds");
    fs::create_dir(&directory).unwrap();
    let at = |name: &str| directory.join(name);
    fs::write(at("file"), b"precious").unwrap();
    fs::create_dir(at("directory")).unwrap();
    mkfifoat(CWD, at("pipe"), Mode::RWXU).unwrap();
    drop(UnixListener::bind(at("dead")).unwrap());
    symlink(at("dead"), at("link")).unwrap();
    for name in ["file", "directory", "pipe", "link"] {
        let error = refusal(&at(name));
        assert!(error.to_string().contains("a file that is not a socket"), "{name}: {error}");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 5, "nothing is removed and no lock file is left");
    // Names that the kernel does not bind to a file: an abstract one, no name, a directory that does not exist.
    for (path, kind) in [
        ("\0abstract", ErrorKind::InvalidInput),
        ("/", ErrorKind::AlreadyExists),
        ("", ErrorKind::InvalidInput),
        ("/nonexistent/socket", ErrorKind::NotFound),
    ] {
        assert_eq!(refusal(Path::new(path)).kind(), kind, "{path:?}");
    }
    // A socket of another type is in use while a process listens there, and replaced afterwards.
    let streams = UnixListener::bind(at("stream")).unwrap();
    assert_eq!(refusal(&at("stream")).kind(), ErrorKind::AddrInUse);
    // A full queue of connections is no dead socket, and no reason to wait.
    let _waiting: Vec<_> = (0..8).map(|_| UnixStream::connect(at("stream")).unwrap()).collect();
    assert_eq!(refusal(&at("stream")).kind(), ErrorKind::AddrInUse);
    drop(streams);
    drop(Listener::<u64>::bind(at("stream"), Options::new(CAPACITY)).unwrap());
    assert!(!at("stream").exists());
}

#[test]
fn a_listener_leaves_the_socket_of_its_successor_when_it_is_dropped() {
    let path = SocketPath::new();
    for _ in 0..50 {
        let old = path.listener::<u64>();
        // Another program removes the name of a live socket: the next server does not know of the first one.
        fs::remove_file(&path.0).unwrap();
        let mut new = path.listener::<u64>();
        drop(old);
        assert!(is_reached(&mut new, &path));
    }
}

#[test]
fn a_lock_file_that_a_killed_server_left_does_not_matter_and_a_held_one_is_an_error() {
    let path = SocketPath::new();
    let name = format!(".{}.lock", path.0.file_name().unwrap().display());
    let lock = path.0.with_file_name(name);
    fs::write(&lock, b"").unwrap();
    leave_dead_socket(&path);
    drop(path.listener::<u64>());
    assert!(!lock.exists() && !path.0.exists());

    let held = fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let begun = Instant::now();
    assert_eq!(refusal(&path.0).kind(), ErrorKind::AddrInUse);
    assert!(begun.elapsed() >= Duration::from_secs(1), "a holder gets time to finish");
    fs::remove_file(&lock).unwrap();
    mkfifoat(CWD, &lock, Mode::RWXU).unwrap();
    let error = refusal(&path.0);
    assert!(error.to_string().contains("is not a file for a lock"), "{error}");
    fs::remove_file(&lock).unwrap();
    drop(path.listener::<u64>());
}

#[test]
fn a_directory_without_write_permission_is_an_error_that_says_so() {
    if rustix::process::geteuid().is_root() {
        return skip("root may write into every directory");
    }
    let directory = TempPath::new("duplex-read-only");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("socket");
    let listening = Listener::<u64>::bind(&path, Options::new(CAPACITY)).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(refusal(&path).kind(), ErrorKind::AddrInUse);
    drop(listening);
    // The dead socket cannot be removed there, and not replaced.
    assert_eq!(refusal(&path).kind(), ErrorKind::PermissionDenied);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    drop(Listener::<u64>::bind(&path, Options::new(CAPACITY)).unwrap());
}
