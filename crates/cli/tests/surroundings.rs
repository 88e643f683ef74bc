//! The tools in surroundings that lack something: a limit on the size of files, no /proc, forbidden system calls.

#![cfg(target_os = "linux")]

use shm2_testing::{ChildGuard, TempRegion};
use std::process::{Command, ExitStatus, Stdio};

const PRODUCER: &str = env!("CARGO_BIN_EXE_shm2_producer");

/// Runs `shm2_producer ARGUMENTS` after a line of shell; its exit status and what it printed.
fn produce_after(line: &str, arguments: &str) -> (ExitStatus, String) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{line}\nexec \"$0\" \"$@\""), PRODUCER]).args(arguments.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ChildGuard::spawn(&mut command).unwrap().output();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout) + &text(output.stderr))
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_names_it() {
    // Blocks of 512 or 1,024 bytes, as the shell has it.
    const LIMIT: &str = "ulimit -f 1024";
    for options in ["", "--keep-region"] {
        for is_prepared in [false, true] {
            let name = TempRegion::new();
            if is_prepared {
                std::fs::write(name.path(), b"").unwrap();
            }
            let (status, text) = produce_after(LIMIT, &format!("{} 10 --wait 0 {options}", &*name));
            assert_eq!(status.code(), Some(1), "{status}: {text}");
            assert!(text.contains("ulimit -f") && text.contains("LimitFSIZE="), "{text}");
            assert!(text.contains("67108864 bytes"), "{text}");
            let left = std::fs::metadata(name.path()).map(|meta| meta.len()).ok();
            assert_eq!(left, is_prepared.then_some(0), "nothing is left, or nothing has changed");
        }
    }
    // A file that has its size does not grow.
    let name = TempRegion::new();
    std::fs::File::create_new(&*name).and_then(|file| file.set_len(8 << 20)).unwrap();
    let (status, text) = produce_after(LIMIT, &format!("{} 10 --wait 0 --keep-region", &*name));
    assert!(status.success(), "{status}: {text}");
}
