//! A limit on the size of files, which also applies to memory without a name, is an error and not a signal.

#![cfg(target_os = "linux")]

use shm2_channel::{Sender, Signals, blob};
use std::error::Error;
use std::process::Command;

/// Set for the process that has the limit.
const LIMITED: &str = "SHM2_TEST_LIMITED";

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_names_it() {
    if std::env::var_os(LIMITED).is_some() {
        let (signals, _peer) = Signals::event_pair().unwrap();
        let channel: Box<dyn Error> = Sender::<u64>::new(1 << 20, signals).map(|_| ()).unwrap_err().into();
        let blob: Box<dyn Error> = blob::write_once("test", 1 << 20, |_| ()).map(|_| ()).unwrap_err().into();
        for error in [channel, blob] {
            let source = error.source().expect("the system's error");
            let error = format!("{error}: {source}");
            assert!(error.contains("ulimit -f") && error.contains("LimitFSIZE="), "{error}");
        }
        return;
    }
    let name = "a_limit_on_the_size_of_files_is_an_error_that_names_it";
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let output = limited.args(["--exact", name]).env(LIMITED, "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
