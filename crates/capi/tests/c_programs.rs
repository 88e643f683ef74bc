//! Programs in C that try the whole interface, bad arguments, threads, forks and a truncated file: as they are, under
//! AddressSanitizer with UndefinedBehaviorSanitizer, and under valgrind.

#![cfg(target_os = "linux")]

mod support;

use shm2_testing::{TempRegion, skip};
use support::{Language, Prefix, is_here, succeeded};

const PROGRAMS: [&str; 5] = ["bad_arguments", "round_trip", "threads", "fork", "truncated"];

/// Compiles all programs and runs them side by side.
fn run_all(compiler: &str, options: &[&str], wrapper: &[&str]) {
    let prefix = Prefix::new();
    std::thread::scope(|scope| {
        for name in PROGRAMS {
            let prefix = &prefix;
            scope.spawn(move || {
                let program = prefix.compile(&format!("tests/c/{name}.c"), compiler, options);
                let region = TempRegion::new();
                // A forked child has the memory of its parent's threads, but not the threads: that counts as lost.
                let leaks = ["--leak-check=no"];
                let wrapper =
                    if name == "fork" && !wrapper.is_empty() { [wrapper, &leaks].concat() } else { wrapper.to_vec() };
                succeeded(program.wrapped(&wrapper, &[&region]).env("ASAN_OPTIONS", "detect_leaks=1"));
            });
        }
    });
}

#[test]
fn the_programs_succeed_with_each_compiler() {
    for compiler in Language::C.compilers() {
        run_all(compiler, &["-O2"], &[]);
    }
}

#[test]
fn the_programs_succeed_under_the_sanitizers() {
    if is_here("gcc") {
        run_all("gcc", &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], &[]);
    }
}

#[test]
fn the_programs_succeed_under_valgrind() {
    if !is_here("valgrind") {
        return skip("C under valgrind, which is not installed");
    }
    let suppressions = format!("--suppressions={}", support::here().join("tests/valgrind.supp").display());
    let wrapper = [
        "valgrind",
        "--quiet",
        "--error-exitcode=99",
        &suppressions,
        // Threads of the library live as long as the process, so their stacks count as possibly lost.
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--errors-for-leak-kinds=definite",
        // The handler for SIGBUS returns to the instruction that failed, which needs the right registers then.
        "--vex-iropt-register-updates=allregs-at-mem-access",
    ];
    run_all("gcc", &["-O1"], &wrapper);
}
