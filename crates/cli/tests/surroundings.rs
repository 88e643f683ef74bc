//! The tools in surroundings that lack something: a limit on the size of files, no /proc, forbidden system calls.

#![cfg(target_os = "linux")]

use shm2::consumer::Overview;
use shm2_testing::{ChildGuard, Deny, TempRegion, deny, skip};
use std::fs;
use std::os::unix::process::ExitStatusExt;
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
    let calls = [Deny::unnamed_files(libc::EACCES), vec![Deny::by_death(libc::SYS_renameat2)]].concat();
    let (status, text) = produce_without(&calls, &format!("{} 20 --wait 0", &*name));
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}: {text}");
    let [left] = files_of(&name).try_into().unwrap();
    assert!(left.to_str().unwrap().starts_with(&format!("{}.new-", &*name)), "{left:?}");
    assert!(fs::metadata(&left).unwrap().len() == 64 << 20 && !name.exists());
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
