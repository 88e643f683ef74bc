//! The example programs in C and Python are built and run, in pairs and across the languages.

mod common;

use shm2_testing::{LIMIT, TempRegion};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("examples")
}

/// Compiles an example in C; the warnings are errors.
fn c(name: &str) -> Command {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "gstreamer-1.0", "gstreamer-app-1.0"]).output();
    let flags = String::from_utf8(flags.unwrap().stdout).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    let built = cc.arg(examples().join("c").join(name).with_extension("c")).args(flags.split_whitespace()).status();
    assert!(built.unwrap().success(), "{name}.c");
    Command::new(program)
}

/// An example in Python; `None` where the bindings are not installed.
fn python(name: &str) -> Option<Command> {
    // The bindings belong to the system's Python.
    let interpreter = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let bindings = "import gi; gi.require_version('GstApp', '1.0'); from gi.repository import Gst, GstApp";
        Command::new(python).args(["-c", bindings]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    });
    let Some(interpreter) = interpreter else {
        shm2_testing::skip("no GStreamer bindings for Python on this machine (package python3-gst-1.0)");
        return None;
    };
    let mut command = Command::new(interpreter);
    command.arg(examples().join("python").join(name).with_extension("py")).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

fn start(mut command: Command, arguments: &[&str]) -> Child {
    let here = std::env::current_exe().unwrap();
    let target = here.parent().and_then(|deps| deps.parent()).unwrap();
    command.args(arguments).env("GST_PLUGIN_PATH", target).env("G_DEBUG", "fatal-criticals");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Output {
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !waiting.is_finished() {
        assert!(begun.elapsed() < LIMIT, "an example does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    waiting.join().unwrap()
}

fn check(produce: Command, watch: Command) {
    let name = TempRegion::new();
    let watcher = start(watch, &[&name, "20"]);
    let producer = start(produce, &[&name, "60"]);
    for (child, least) in [(watcher, 20), (producer, 0)] {
        let output = end(child);
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {text}{errors}", output.status);
        assert!(text.lines().count() >= least && errors.is_empty(), "{text}{errors}");
    }
}

#[test]
fn the_examples_in_c_work() {
    check(c("produce"), c("watch"));
}

#[test]
fn the_examples_in_python_work_and_with_those_in_c() {
    let pair = || python("produce").zip(python("watch"));
    let Some((produce, watch)) = pair() else { return };
    check(produce, watch);
    let Some((produce, _)) = pair() else { return };
    check(produce, c("watch"));
}

#[test]
fn a_bad_path_is_one_line_on_stderr() {
    let programs = [Some(c("watch")), Some(c("produce")), python("watch"), python("produce")];
    for program in programs.into_iter().flatten() {
        let output = end(start(program, &["bad://path", "5"]));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.lines().count() == 1 && errors.contains("bad://path"), "{errors}");
    }
}
