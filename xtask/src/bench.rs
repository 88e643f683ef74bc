//! Benchmarks: the programs of `benches/`, and a report on what they measured.

use crate::run::{self, command, is_root, run, run_command, target};
use crate::{Outcome, setup};
use std::path::PathBuf;
use std::time::Instant;

/// What is measured, and where records go.
struct Plan {
    is_quick: bool,
    records: String,
}

/// One part: its name, what it measures, and the function.
type Part = (&'static str, &'static str, fn(&Plan) -> Outcome);

const PARTS: [Part; 8] = [
    ("frames", "the core beside iceoryx2 and raw limits", frames),
    ("elements", "shm2sink and shm2src beside shmsink and shmsrc", elements),
    ("ahead", "waking ahead of time, the core and the elements", ahead),
    ("newer", "the elements beside unixfdsink, in a tree of a newer Debian release", newer),
    ("rings", "messages through rings, sockets and pipes", rings),
    ("handover", "round trips of frames", handover),
    ("copies", "memcpy and streaming stores", copies),
    ("scale", "many consumers, sizes, many regions, a very large region", scale),
];

/// Runs all parts, or one, and makes the report.
pub fn bench(words: &[&str]) -> Outcome {
    let (is_quick, only) = match words {
        [] => (false, None),
        ["--quick"] => (true, None),
        ["--only", name] => (false, Some(*name)),
        ["--quick", "--only", name] | ["--only", name, "--quick"] => (true, Some(*name)),
        _ => return Err(format!("bench does not know {words:?}: its options are --quick and --only PART")),
    };
    let parts: Vec<_> = PARTS.iter().filter(|(name, ..)| only.is_none_or(|only| only == *name)).collect();
    if parts.is_empty() {
        let known = PARTS.map(|(name, ..)| name).join(", ");
        return Err(format!("there is no part {:?}: write one of {known}", only.unwrap_or_default()));
    }
    setup::setup()?;
    run("cargo build --release --manifest-path benches/Cargo.toml --workspace --bins")?;
    if parts.iter().any(|(name, ..)| ["elements", "ahead", "newer"].contains(name)) {
        run("cargo build --release -p gst-plugin-shm2 --lib")?;
    }
    let directory = target().join("bench");
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let directory = directory.canonicalize().map_err(|e| format!("{}: {e}", directory.display()))?;
    let records = directory.join("records.jsonl");
    // Of an earlier run.
    let _ = std::fs::remove_file(&records);
    let plan = Plan { is_quick, records: records.display().to_string() };
    let (begun, mut failed) = (Instant::now(), Vec::new());
    for (number, (name, text, measure)) in parts.iter().enumerate() {
        println!("\n==> part {} of {}, after {} s: {name}: {text}", number + 1, parts.len(), begun.elapsed().as_secs());
        if let Err(error) = measure(&plan) {
            println!("failed: {name}: {error}");
            failed.push(*name);
        }
    }
    println!("\nmeasured for {} s", begun.elapsed().as_secs());
    if records.exists() {
        let line = format!("cargo xtask bench {}", words.join(" "));
        let mut report = run::program(binary("report"));
        report.arg(&records).arg(&directory).arg(line.trim());
        run_command(report, "report")?;
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("without figures of: {}", failed.join(", "))) }
}

fn binary(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// Runs a program of `benches/` with these options.
fn program(plan: &Plan, name: &str, options: &str) -> Outcome {
    let mut program = run::program(binary(name));
    program.args(options.split_whitespace()).args(["--json", &plan.records]);
    program.env("GST_PLUGIN_PATH", target().join("release"));
    program.env("GST_REGISTRY", target().join("bench/registry.bin"));
    run_command(program, &format!("{name} {options}"))
}

fn frames(plan: &Plan) -> Outcome {
    match plan.is_quick {
        true => {
            let cases = "--case paced --case paced-3m --case stream-64 --case stream-1k --case stream-3m --case ping";
            program(plan, "frames", &format!("{cases} --rounds 5 --seconds 0.25"))?;
            program(plan, "frames", "--case woken --rounds 5 --seconds 0.8")
        }
        false => program(plan, "frames", "--rounds 9"),
    }
}

fn elements(plan: &Plan) -> Outcome {
    match plan.is_quick {
        true => program(plan, "elements", "--set quick --rounds 5 --seconds 0.6"),
        false => {
            program(plan, "elements", "--set complete --rounds 5")?;
            // In runs of their own, because strace slows the programs down.
            program(
                plan,
                "elements",
                "--bench elements-syscalls --syscalls --rounds 1 --case M:pool:untouched:60:1 --case M:pool:untouched:60:4",
            )
        }
    }
}

fn ahead(plan: &Plan) -> Outcome {
    let (cases, rounds) = if plan.is_quick { ("one 2.5", 3) } else { ("jitter 4", 5) };
    program(plan, "ahead", &format!("{cases} {rounds}"))?;
    // The rhythm is known after some twenty frames.
    let case = "--case M:pool:untouched:60:1 --way shm2-ahead --seconds 3";
    program(plan, "elements", &format!("{case} --rounds {rounds}"))
}

/// The same program enters a tree that the job `newer` made, or makes it.
fn newer(plan: &Plan) -> Outcome {
    if !is_root() {
        println!("skipped: unixfdsink: a tree can be made and entered by root only");
        return Ok(());
    }
    if plan.is_quick && !target().join("trees/forky/etc/shm2-complete").exists() {
        println!("skipped: unixfdsink: no tree; `cargo xtask newer` makes it, and so does bench without --quick");
        return Ok(());
    }
    let options = match plan.is_quick {
        true => "--rounds 5 --seconds 0.5 --case M:pool:untouched:60:1 --case M:pool:untouched:0:1",
        false => "--rounds 5 --set complete",
    };
    let line = format!("cargo run --quiet -p shm2-rigs -- bench {options} --bench elements-newer --json");
    let mut bench = command(&line);
    bench.arg(&plan.records);
    run_command(bench, &format!("{line} {}", plan.records))
}

fn rings(plan: &Plan) -> Outcome {
    program(plan, "rings", if plan.is_quick { "--rounds 5" } else { "--rounds 9" })
}

fn handover(plan: &Plan) -> Outcome {
    program(plan, "handover", if plan.is_quick { "--rounds 5" } else { "--rounds 9" })
}

fn copies(plan: &Plan) -> Outcome {
    program(plan, "copies", if plan.is_quick { "--rounds 5" } else { "--rounds 9" })
}

fn scale(plan: &Plan) -> Outcome {
    let rounds = if plan.is_quick { 1 } else { 5 };
    let cases = "--case scale-consumers --case scale-sizes --case scale-regions --case scale-huge";
    program(plan, "frames", &format!("{cases} --rounds {rounds}"))
}
