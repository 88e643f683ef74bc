//! Pipes, links, sockets, directories and devices where a region could be: looking for regions opens none of them, and
//! a peer that is told to use one gets an error in words, at once.

#![cfg(target_os = "linux")]

use rustix::fs::{CWD, FileType, Mode, OFlags, mkfifoat, mknodat, open};
use rustix::io::Errno;
use shm2::{Access, Overview};
use shm2::{AttachError, Consumer, Producer, layout};
use shm2_testing::{TempPath, skip, until};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A program that waits until another opens its named pipe for reading.
struct Writer {
    pipe: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn new(pipe: PathBuf) -> Self {
        mkfifoat(CWD, &pipe, Mode::RWXU).unwrap();
        let path = pipe.clone();
        let thread = std::thread::spawn(move || drop(fs::File::options().write(true).open(path).unwrap()));
        Self { pipe, thread: Some(thread) }
    }

    /// Whether a reader came.
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(|thread| thread.is_finished())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let thread = self.thread.take().unwrap();
        until("the writer gets a reader from the test", || {
            drop(open(&self.pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()));
            thread.is_finished()
        });
        thread.join().unwrap();
    }
}

/// A new directory in the file system of regions.
fn directory() -> PathBuf {
    let name = TempPath::new("foreign").file_name().unwrap().to_owned();
    let directory = Path::new("/dev/shm").join(name);
    fs::create_dir(&directory).unwrap();
    directory
}

/// Removed at the end, also of a test that fails.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a node of the device `/dev/null`. False without the right to do so.
fn make_device(path: &Path) -> bool {
    match mknodat(CWD, path, FileType::CharacterDevice, Mode::RWXU, rustix::fs::makedev(1, 3)) {
        Ok(()) => true,
        Err(Errno::PERM) => {
            skip("no right to make a device node");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn create(path: &Path) -> Producer {
    Producer::builder(path.to_str().unwrap()).unwrap().size(layout::MIN_REGION).create().unwrap()
}

#[test]
fn looking_for_regions_opens_no_pipe_and_follows_no_link() {
    let folder = Removed(directory());
    let at = |name: &str| folder.0.join(name);
    let elsewhere = Removed(directory());
    let (_region, _other) = (create(&at("region")), create(&elsewhere.0.join("other")));
    let writers = [Writer::new(at("pipe")), Writer::new(elsewhere.0.join("pipe"))];
    symlink(elsewhere.0.join("other"), at("link-to-region")).unwrap();
    symlink(elsewhere.0.join("pipe"), at("link-to-pipe")).unwrap();
    symlink("/dev/null", at("link-to-device")).unwrap();
    symlink(at("loop"), at("loop")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("text"), b"no region").unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    make_device(&at("device"));
    for _ in 0..50 {
        let found: Vec<_> = Overview::all_in(&folder.0).into_iter().map(|overview| overview.path).collect();
        // A writer that got a reader ends a moment later.
        std::thread::sleep(Duration::from_millis(2));
        assert!(!writers.iter().any(Writer::has_ended), "a named pipe was opened");
        assert_eq!(found, [at("region")]);
    }
    // A link that the caller names is followed.
    let named = Overview::of(at("link-to-region").to_str().unwrap()).unwrap();
    assert_eq!(named.path, at("link-to-region"));
}

#[test]
fn a_name_that_is_no_regular_file_is_an_error_in_words_at_once() {
    let folder = Removed(directory());
    let at = |name: &str| folder.0.join(name);
    let writers = [Writer::new(at("pipe")), Writer::new(at("linked-pipe"))];
    symlink(at("linked-pipe"), at("link")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let has_device = make_device(&at("device"));
    let mut names = vec![("pipe", "a pipe"), ("link", "a pipe"), ("directory", "a directory"), ("socket", "a socket")];
    names.extend(has_device.then_some(("device", "a device")));
    let begun = Instant::now();
    for (name, kind) in names {
        let path = at(name);
        let text = path.to_str().unwrap();
        for access in [Access::Lease, Access::Snapshot, Access::Auto] {
            let consumer = Consumer::builder(text).unwrap().access(access).attach(Some(Duration::from_secs(5)));
            let Err(AttachError::NotAFile { what, .. }) = consumer else { panic!("{name}: {consumer:?}") };
            assert_eq!(what, kind, "{name}");
        }
        assert!(matches!(Overview::of(text), Err(AttachError::NotAFile { .. })), "{name}");
        if matches!(name, "pipe" | "link" | "socket") {
            let device = format!("ivshmem://{text}");
            let consumer = Consumer::builder(&device).unwrap().attach(Some(Duration::from_secs(5)));
            let consumer = consumer.err().map(|error| error.to_string()).unwrap_or_default();
            let producer = Producer::builder(&device).unwrap().create().unwrap_err().to_string();
            for error in [consumer, producer] {
                assert!(error.contains("a pipe or a socket"), "{name}: {error}");
            }
        }
        for keep in [false, true] {
            let builder = Producer::builder(text).unwrap().size(layout::MIN_REGION).keep_region(keep);
            let error = builder.create().unwrap_err().to_string();
            // A producer does not follow links.
            let kind = if name == "link" { "a symbolic link" } else { kind };
            assert!(error.contains(kind), "{name}: {error}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(!writers.iter().any(Writer::has_ended), "a named pipe was opened");
}
