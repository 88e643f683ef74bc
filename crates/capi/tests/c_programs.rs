//! Programs in C and C++ that try the whole interface, bad arguments, threads, forks and a truncated file: as they are, under
//! AddressSanitizer with UndefinedBehaviorSanitizer, and under valgrind.

#![cfg(target_os = "linux")]

mod support;

use shm2_testing::{TempRegion, skip};
use support::{Language, Prefix, is_here, succeeded};

const PROGRAMS: [&str; 5] = ["bad_arguments.c", "round_trip.c", "threads.c", "fork.c", "truncated.c"];
const CPP_PROGRAM: &str = "wrapper.cpp";

/// Compiles all programs of the compiler's language and runs them side by side.
fn run_all(compiler: &str, options: &[&str], wrapper: &[&str]) {
    let prefix = Prefix::new();
    let programs = if compiler.ends_with("++") { &[CPP_PROGRAM][..] } else { &PROGRAMS };
    std::thread::scope(|scope| {
        for name in programs {
            let prefix = &prefix;
            scope.spawn(move || {
                let program = prefix.compile(&format!("tests/c/{name}"), compiler, options);
                let region = TempRegion::new();
                // A forked child has the memory of its parent's threads, but not the threads: that counts as lost.
                let leaks = ["--leak-check=no"];
                let wrapper = if *name == "fork.c" && !wrapper.is_empty() {
                    [wrapper, &leaks].concat()
                } else {
                    wrapper.to_vec()
                };
                succeeded(program.wrapped(&wrapper, &[&region]).env("ASAN_OPTIONS", "detect_leaks=1"));
            });
        }
    });
}

#[test]
fn the_programs_succeed_with_each_compiler() {
    for compiler in Language::C.compilers().chain(Language::Cpp.compilers()) {
        run_all(compiler, &["-O2"], &[]);
    }
}

#[test]
fn the_programs_succeed_under_the_sanitizers() {
    for compiler in ["gcc", "g++"].into_iter().filter(|compiler| is_here(compiler)) {
        run_all(compiler, &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], &[]);
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
        // Suppressions name functions that other ones were inlined into.
        "--read-inline-info=no",
        &suppressions,
        // Threads of the library live as long as the process, so their stacks count as possibly lost.
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--errors-for-leak-kinds=definite",
        // The handler for SIGBUS returns to the instruction that failed, which needs the right registers then.
        "--vex-iropt-register-updates=allregs-at-mem-access",
    ];
    for compiler in ["gcc", "g++"].into_iter().filter(|compiler| is_here(compiler)) {
        run_all(compiler, &["-O1"], &wrapper);
    }
}
