//! The tools in surroundings that lack something: a limit on the size of files, no /proc, forbidden system calls.

#![cfg(target_os = "linux")]

use shm2::Overview;
use shm2_testing::{ChildGuard, Deny, TempPath, TempRegion, deny, skip, until};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

const PRODUCER: &str = env!("CARGO_BIN_EXE_shm2_producer");
const CONSUMER: &str = env!("CARGO_BIN_EXE_shm2_consumer");

fn start(mut command: Command, arguments: &str) -> ChildGuard {
    command.args(arguments.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ChildGuard::spawn(&mut command).unwrap()
}

/// Waits for its end; its exit status and what it printed.
fn end(child: ChildGuard) -> (ExitStatus, String) {
    let output = child.output();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout) + &text(output.stderr))
}

/// Runs `shm2_producer ARGUMENTS` after a line of shell.
fn produce_after(line: &str, arguments: &str) -> (ExitStatus, String) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{line}\nexec \"$0\" \"$@\""), PRODUCER]);
    end(start(command, arguments))
}

/// Runs `shm2_producer ARGUMENTS` with system calls that fail.
fn produce_without(calls: &[Deny], arguments: &str) -> (ExitStatus, String) {
    let mut command = Command::new(PRODUCER);
    deny(&mut command, calls);
    end(start(command, arguments))
}

/// The files whose names begin with the region's, or are hidden ones with it.
fn files_of(name: &TempRegion) -> Vec<PathBuf> {
    let begin = name.path().file_name().unwrap().to_str().unwrap();
    let files = fs::read_dir(name.path().parent().unwrap()).unwrap().flatten();
    files
        .filter(|file| file.file_name().to_string_lossy().trim_start_matches('.').starts_with(begin))
        .map(|file| file.path())
        .collect()
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_names_it() {
    // Blocks of 512 or 1,024 bytes, as the shell has it.
    const LIMIT: &str = "ulimit -f 1024";
    for options in ["", "--keep-region"] {
        for is_prepared in [false, true] {
            let name = TempRegion::new();
            if is_prepared {
                fs::write(name.path(), b"").unwrap();
            }
            let (status, text) = produce_after(LIMIT, &format!("{} 10 --wait 0 {options}", &*name));
            assert_eq!(status.code(), Some(1), "{status}: {text}");
            assert!(text.contains("ulimit -f") && text.contains("LimitFSIZE="), "{text}");
            assert!(text.contains("67108864 bytes"), "{text}");
            let left = fs::metadata(name.path()).map(|meta| meta.len()).ok();
            assert_eq!(left, is_prepared.then_some(0), "nothing is left, or nothing has changed");
        }
    }
    // A file that has its size does not grow.
    let name = TempRegion::new();
    fs::File::create_new(&*name).and_then(|file| file.set_len(8 << 20)).unwrap();
    let (status, text) = produce_after(LIMIT, &format!("{} 10 --wait 0 --keep-region", &*name));
    assert!(status.success(), "{status}: {text}");
}

#[test]
fn without_proc_both_sides_work() {
    const NO_PROC: &str = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let without_proc = |program: &str, arguments: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", NO_PROC, program]);
        start(command, arguments)
    };
    let (status, text) = end(without_proc("true", ""));
    if !status.success() {
        return skip(&format!("no right to hide /proc: {text}"));
    }
    for options in ["", "--keep-region"] {
        let name = TempRegion::new();
        let consumer = without_proc(CONSUMER, &format!("{} 20", &*name));
        let (status, text) = end(without_proc(PRODUCER, &format!("{} 20 --rate 100 {options}", &*name)));
        assert!(status.success(), "{status}: {text}");
        let (status, text) = end(consumer);
        assert!(status.success() && text.contains("frames 20  missed 0"), "{status}: {text}");
        assert_eq!(files_of(&name).len(), usize::from(!options.is_empty()), "{:?}", files_of(&name));
    }
}

/// The other errors come from kernels and file systems that have no such files.
#[test]
fn without_unnamed_files_a_producer_works_under_any_name() {
    for error in [libc::EACCES, libc::EPERM, libc::ENOSYS, libc::EOPNOTSUPP, libc::EISDIR, libc::EINVAL] {
        let name = TempRegion::new();
        let consumer = start(Command::new(CONSUMER), &format!("{} 20", &*name));
        let (status, text) = produce_without(&Deny::unnamed_files(error), &format!("{} 20 --rate 100", &*name));
        assert!(status.success(), "{error}: {status}: {text}");
        let (status, text) = end(consumer);
        assert!(status.success() && text.contains("frames 20  missed 0"), "{error}: {status}: {text}");
        assert_eq!(files_of(&name), [] as [PathBuf; 0]);
    }
    // The longest name that a file can have.
    let name = TempRegion::new();
    let directory = name.path().parent().unwrap().to_str().unwrap().len() + 1;
    let long = format!("{}{}", &*name, "x".repeat(255 - (name.len() - directory)));
    let calls = Deny::unnamed_files(libc::EACCES);
    let (status, text) = produce_without(&calls, &format!("{long} 20 --wait 0"));
    assert!(status.success(), "{status}: {text}");
    assert!(!Path::new(&long).exists());
}

#[test]
fn a_producer_that_died_before_its_file_had_its_name_leaves_nothing_to_the_next_one() {
    let name = TempRegion::new();
    let kept_apart = format!("{}2.new-0123456789abcdef", &*name);
    // The file has its size, its memory, its whole header.
    for call in [libc::SYS_fallocate, libc::SYS_fchmod, libc::SYS_renameat2] {
        let calls = [Deny::unnamed_files(libc::EACCES), vec![Deny::by_death(call)]].concat();
        let (status, text) = produce_without(&calls, &format!("{} 20 --wait 0", &*name));
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}: {text}");
        let [left] = files_of(&name).try_into().unwrap();
        assert!(left.to_str().unwrap().starts_with(&format!("{}.new-", &*name)), "{left:?}");
        assert!(fs::metadata(&left).unwrap().len() == 64 << 20 && !name.exists());
    }
    // A file of another region stays.
    fs::write(&kept_apart, b"another region's").unwrap();
    let waiting = [Deny::unnamed_files(libc::EACCES), vec![Deny::all(libc::SYS_renameat2, libc::EPERM)]].concat();
    let (status, text) = produce_without(&waiting, &format!("{} 20 --wait 0", &*name));
    assert!(status.success(), "a hard link serves as well: {status}: {text}");
    let (status, text) = end(start(Command::new(PRODUCER), &format!("{} 20 --wait 0", &*name)));
    assert!(status.success(), "{status}: {text}");
    assert_eq!(files_of(&name), [PathBuf::from(&kept_apart)]);
    fs::remove_file(kept_apart).unwrap();
}

#[test]
fn a_file_with_a_temporary_name_is_no_region_that_is_found() {
    let name = TempRegion::new();
    let producer = shm2::Producer::create(&format!("{}.new-0123456789abcdef", &*name)).unwrap();
    let other = shm2::Producer::create(&format!("{}.new-lens", &*name)).unwrap();
    let found: Vec<_> = Overview::all_in(Path::new("/dev/shm")).into_iter().map(|region| region.path).collect();
    assert!(!found.contains(&producer.path().to_path_buf()) && found.contains(&other.path().to_path_buf()));
}

#[test]
fn forbidden_calls_have_errors_that_name_them() {
    for (calls, expected) in [
        (vec![Deny::all(libc::SYS_fallocate, libc::EPERM)], "cannot reserve memory for"),
        (vec![Deny::all(libc::SYS_ftruncate, libc::EPERM)], "cannot set the size of"),
        (vec![Deny::all(libc::SYS_fchmod, libc::EPERM)], "cannot set the permissions of"),
        (
            vec![Deny::all(libc::SYS_linkat, libc::EPERM), Deny::all(libc::SYS_renameat2, libc::EACCES)],
            "cannot give its name to",
        ),
    ] {
        let name = TempRegion::new();
        let (status, text) = produce_without(&calls, &format!("{} 20 --wait 0", &*name));
        assert_eq!(status.code(), Some(1), "{status}: {text}");
        let is_named = text.contains(expected) && text.contains("seccomp") && !text.contains("owner and mode");
        assert!(is_named, "{expected}: {text}");
        assert_eq!(files_of(&name), [] as [PathBuf; 0]);
    }
    // Without the link the file is made under a temporary name.
    let name = TempRegion::new();
    let calls = [Deny::all(libc::SYS_linkat, libc::EPERM)];
    let (status, text) = produce_without(&calls, &format!("{} 20 --wait 0", &*name));
    assert!(status.success(), "{status}: {text}");
    let (status, text) = end(start(Command::new(PRODUCER), &format!("{}/ 20 --wait 0", &*name)));
    assert!(!status.success() && text.contains("ends with a slash"), "{status}: {text}");
    let (status, text) = end(start(Command::new(CONSUMER), &format!("{}/ 20", &*name)));
    assert!(!status.success() && text.contains("ends with a slash"), "{status}: {text}");
}

/// As AppArmor does with a file that may be read and written, but not locked.
#[test]
fn forbidden_locks_are_an_error_on_both_sides() {
    for error in [libc::EACCES, libc::EPERM] {
        let argument = Some((1, libc::F_OFD_SETLK as u32));
        let calls = [Deny { call: libc::SYS_fcntl, argument, error: Some(error) }];
        let name = TempRegion::new();
        let (status, text) = produce_without(&calls, &format!("{} 20 --wait 0", &*name));
        assert!(!status.success() && text.contains("cannot lock") && text.contains("AppArmor"), "{text}");
        assert_eq!(files_of(&name), [] as [PathBuf; 0]);
        let _producer = start(Command::new(PRODUCER), &format!("{} 1000000 --rate 100 -q", &*name));
        until("the region is there", || name.exists());
        for access in ["lease", "snapshot", "auto"] {
            let mut command = Command::new(CONSUMER);
            deny(&mut command, &calls);
            let (status, text) = end(start(command, &format!("{} 20 --timeout 20 --access {access}", &*name)));
            assert!(!status.success() && text.contains("cannot lock"), "{access}: {text}");
        }
    }
}

#[test]
fn another_users_file_is_named_with_its_owner_and_a_way_out() {
    // The program is in a directory that the other user may not enter.
    let program = TempPath::new("producer");
    fs::copy(PRODUCER, &program).unwrap();
    let as_nobody = |arguments: &str| {
        let mut command = Command::new(&*program);
        command.uid(65_534).gid(65_534).args(arguments.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ChildGuard::spawn(&mut command).ok().map(end)
    };
    for (mode, options, expected) in [
        (0o660, "", "let that user or root remove it"),
        (0o660, "--keep-region", "let that user or root"),
        (0o644, "", "that user or root"),
        (0o644, "--keep-region", "let that user or root"),
        (0o600, "", "let that user or root remove it"),
    ] {
        let name = TempRegion::new();
        // What a killed producer leaves.
        let producer = shm2::Producer::builder(&name).unwrap().size(8 << 20).perms(mode).create().unwrap();
        let copy = TempRegion::new();
        fs::copy(name.path(), copy.path()).unwrap();
        drop(producer);
        fs::rename(copy.path(), name.path()).unwrap();
        fs::set_permissions(name.path(), fs::Permissions::from_mode(mode)).unwrap();
        let Some((status, text)) = as_nobody(&format!("{} 10 --wait 0 {options}", &*name)) else {
            return skip("no right to become another user");
        };
        let is_clear = text.contains("user 0 (root)") && text.contains(expected) && text.contains(&*name);
        assert!(!status.success() && is_clear, "{mode:o} {options}: {status}: {text}");
    }
}

#[test]
fn a_file_of_another_user_is_kept_only_if_its_owner_is_permitted() {
    let name = TempRegion::new();
    fs::File::create_new(&*name).and_then(|file| file.set_len(8 << 20)).unwrap();
    if chown(&*name, Some(65_533), None).is_err() {
        return skip("no right to give a file to another user");
    }
    let produce =
        |option: &str| end(start(Command::new(PRODUCER), &format!("{} 10 --wait 0 --keep-region {option}", &*name)));
    let (status, text) = produce("");
    assert!(!status.success() && text.contains("user 65533") && text.contains("--foreign-owner"), "{status}: {text}");
    let (status, text) = produce("--foreign-owner");
    assert!(status.success(), "{status}: {text}");
}

#[test]
fn a_consumer_that_waits_prints_where_and_what_to_check() {
    let wait = |spec: &str| end(start(Command::new(CONSUMER), &format!("{spec} 5 --timeout 2"))).1;
    let assert_says = |text: &str, expected: &[&str]| {
        let line = text.lines().find(|line| line.starts_with("waiting for ")).unwrap_or_else(|| panic!("{text}"));
        assert!(expected.iter().all(|part| line.contains(part)), "{expected:?}: {line}");
        assert_eq!(text.lines().filter(|line| line.starts_with("waiting for ")).count(), 1, "{text}");
    };
    std::thread::scope(|scope| {
        // No file.
        scope.spawn(|| {
            let name = TempRegion::new();
            let place = format!("waiting for {} (file system tmpfs, device 0:", &*name);
            assert_says(&wait(&name.uri()), &[&place, "): no producer there", "check", "/dev/shm", "container"]);
        });
        // No directory.
        scope.spawn(|| {
            let name = TempRegion::new();
            let text = wait(&format!("{}/cam", &*name));
            assert_says(&text, &["(file system tmpfs, device 0:", "its directory does not exist"]);
        });
        // A link that leads to nothing.
        scope.spawn(|| {
            let (name, target) = (TempRegion::new(), TempRegion::new());
            symlink(target.path(), name.path()).unwrap();
            assert_says(&wait(&name), &["a symbolic link", &target]);
        });
        // A leftover, and prepared memory.
        scope.spawn(|| {
            let (name, copy) = (TempRegion::new(), TempRegion::new());
            let producer = shm2::Producer::builder(&name).unwrap().size(8 << 20).create().unwrap();
            fs::copy(name.path(), copy.path()).unwrap();
            drop(producer);
            assert_says(&wait(&copy), &["its producer has ended"]);
        });
        scope.spawn(|| {
            let name = TempRegion::new();
            fs::write(name.path(), vec![0; 8 << 20]).unwrap();
            assert_says(&wait(&name), &["memory that is prepared for a producer"]);
        });
        // A producer that sends nothing.
        scope.spawn(|| {
            let name = TempRegion::new();
            let _producer = shm2::Producer::create(&name).unwrap();
            assert_says(&wait(&name), &[&format!("waiting for the first frame of {}", &*name)]);
        });
    });
}

#[test]
fn a_path_that_is_not_utf_8_is_a_region_for_both_tools() {
    use std::os::unix::ffi::OsStrExt;
    let directory = TempRegion::new();
    fs::create_dir(directory.path()).unwrap();
    let path = directory.path().join(std::ffi::OsStr::from_bytes(b"cam%41\xff \xc3"));
    let run = |program: &str| {
        let mut command = Command::new(program);
        command.arg(&path);
        start(command, "20 --json")
    };
    let consumer = run(CONSUMER);
    let (status, text) = end(run(PRODUCER));
    let summary = text.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    assert!(status.success() && summary.starts_with("{\"sent\":20,\"count\":20,\"bytes\":1280,"), "{text}");
    let (status, text) = end(consumer);
    assert!(status.success() && text.contains("\"frames\":20,"), "{text}");
}
