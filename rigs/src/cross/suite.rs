//! The tests that run for aarch64 under QEMU, and those that cannot.
//!
//! QEMU translates programs and passes their system calls on. On x86-64 it orders accesses to memory more strongly than
//! an aarch64 machine does, so this suite shows nothing about weak ordering: the loom models do. It shows layouts,
//! alignment, numbers and structures of system calls, and what happens without `futex_waitv`, which QEMU lacks.

use super::emulation::{Emulation, timed};
use std::collections::BTreeSet;
use std::fs;
use xtask::Outcome;
use xtask::run::{target, test_threads};

/// One line, so that all have the same features of their dependencies, which are then built once.
const PACKAGES: &str = "-p shm2 -p shm2-ring -p shm2-channel -p shm2-media -p shm2-cli -p shm2-tool -p shm2-capi \
     -p gst-plugin-shm2 -p shm2-relayd --tests --examples";
/// The short form's: these tests, and what [`exchange`](super::plugin::exchange) runs.
const FEW_PACKAGES: &str = "-p shm2 -p shm2-ring -p shm2-channel -p shm2-media -p shm2-cli -p gst-plugin-shm2";
const FEW_TESTS: &str = "--test transport --test backends --test waiting --test waiting_threads --test wait_set \
     --test hostile_memory --test hostile_reader --test file_kinds --test poll_fd --test region \
     --test ring --test channel --test duplex --test dead_peer --test hostile";

/// A test, or all whose names contain this text, and why it cannot run under QEMU.
const SKIPPED: &[(&str, &str)] = &[
    ("forked_child", FORK),
    ("sleeping_children_keep", FORK),
    ("a_fork_inside_a_region_operation", FORK),
    ("a_leasing_consumer_is_guarded_unless", FORK),
    ("without_a_call_that_waits_for_many_words", FILTER),
    ("without_futex_waitv", FILTER),
    ("without_file_watches", FILTER),
    ("a_producer_that_died_before_its_file_had_its_name", FILTER),
    ("forbidden_calls_have_errors", FILTER),
    ("forbidden_locks_are_an_error", FILTER),
    ("without_unnamed_files", FILTER),
    ("a_filter_that_refuses_futex_waitv", FILTER),
    ("a_system_that_refuses_locks", FILTER),
    ("descriptors_pass_beside_the_elements", "QEMU 7.2 does not know the socket option SO_PASSRIGHTS"),
    ("the_programs_succeed_under", "valgrind and the sanitizers of this machine run no programs for aarch64"),
    ("block_loses_nothing", SLOW),
    ("held_frames_never_change", SLOW),
    ("a_file_that_is_cut_anywhere", SLOW),
    ("a_file_with_other_bytes_anywhere", SLOW),
    ("a_lifecycle_keeps_its_invariants", SLOW),
    ("many_consumers_of_both_kinds", SLOW),
    ("a_task_for_each_client_and_cancelled_waits", "its time limits of microseconds are shorter than a step"),
    ("a_consumer_whose_wake_up_is_taken", "without futex_waitv sleeps are short, and no wake-up is lost"),
    ("the_terminal_is_restored", "QEMU 7.2 lacks a system call for terminals"),
    ("metrics_of_all_regions_are_printed_once", "a frame becomes older than the second that the test allows"),
];

/// Seconds after which all processes of the tests end.
const TIME_LIMIT: &str = "1800";

const FORK: &str = "QEMU ignores MADV_DONTFORK, and a fork beside other threads may hang in it";
const FILTER: &str = "QEMU has no seccomp filters, by which the test refuses system calls";
const SLOW: &str = "it computes for minutes, without a structure of the system";

/// Tests that the short form leaves out. They succeed, but compute for seconds.
const LONG: &[&str] = &[
    "snapshot_consumers_need_no_write_permission",
    "one_thread_serves_three_clients",
    "many_consumers_at_once",
    "a_canceller_is_heard_at_any_moment",
];

/// Builds and runs all tests.
pub fn tests(emulation: &Emulation) -> Outcome {
    let build = format!("cargo test {PACKAGES} --no-run");
    timed(emulation.cargo(&build), &build)?;
    run(emulation, PACKAGES, &[])
}

/// Builds and runs tests of the core, the ring, the channel and the media types, and builds the programs and the plugin.
pub fn few_tests(emulation: &Emulation) -> Outcome {
    let build = format!("cargo build {FEW_PACKAGES} --lib --bins {FEW_TESTS}");
    timed(emulation.cargo(&build), &build)?;
    run(emulation, &format!("{FEW_PACKAGES} {FEW_TESTS}"), LONG)
}

/// Runs tests that are built.
fn run(emulation: &Emulation, which: &str, left_out: &[&str]) -> Outcome {
    SKIPPED.iter().for_each(|(name, why)| println!("skipped: {name} under QEMU: {why}"));
    left_out.iter().for_each(|name| println!("skipped: {name} under QEMU: `cargo xtask cross tests` runs it"));
    let skipped = std::path::absolute(target().join("skipped-cross.txt")).map_err(|e| e.to_string())?;
    // Of the last run; there may be none.
    let _ = fs::remove_file(&skipped);
    let names = SKIPPED.iter().map(|(name, _)| name).chain(left_out);
    let mut tests = emulation.enter_alone("timeout");
    tests.args(["--signal=KILL", TIME_LIMIT, "cargo", "test"]).args(which.split_whitespace());
    tests.args(["--no-fail-fast", "--"]).args(names.flat_map(|name| ["--skip", name]));
    tests.env("SHM2_SKIPPED", &skipped).env("RUST_TEST_THREADS", test_threads()).env("PROPTEST_CASES", "16");
    let outcome = timed(tests, &format!("cargo test {which} (under QEMU)"));
    let text = fs::read_to_string(&skipped).unwrap_or_default();
    let lines: BTreeSet<_> = text.lines().collect();
    lines.iter().for_each(|line| println!("{line}"));
    outcome
}
