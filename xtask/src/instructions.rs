//! The regression guard: instructions of single steps, counted by callgrind, against `counts/baseline.txt`.
//!
//! Plain valgrind is enough: it starts and stops counting at two functions of `shm2-counts`, and the counts of a run are
//! those of any other run. The C library's copies are those of a CPU without AVX2, so that the CPU does not matter.

use crate::run::{self, BUILD, command, root, run, succeeds, target};
use crate::{Outcome, setup};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

const BASELINE: &str = "counts/baseline.txt";
const REMEDY: &str = "cargo xtask instructions --update";

/// Counts of one section of the baseline, by the name of the step, in order.
type Counts = Vec<(String, f64)>;

/// What was counted with one compiler and, for the elements, one version of GStreamer.
struct Section {
    title: String,
    compiler: String,
    counts: Counts,
}

/// Compares the counts with the baseline, or writes the baseline.
pub fn instructions(update: bool) -> Outcome {
    if !cfg!(target_arch = "x86_64") {
        println!("skipped: instructions: the baseline is of x86-64");
        return Ok(());
    }
    if !succeeds("valgrind --version") && setup::install(&["valgrind"]).is_err() {
        println!("skipped: instructions: valgrind can neither be found nor installed");
        return Ok(());
    }
    run(BUILD)?;
    run("cargo build --profile counts -p shm2-counts --no-default-features")?;
    let counted = count()?;
    let mut baseline = Baseline::read()?;
    if update {
        counted.into_iter().for_each(|section| baseline.replace(section));
        return baseline.write();
    }
    let mut worse = Vec::new();
    for section in &counted {
        worse.extend(baseline.compare(section));
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(format!("instructions differ from {BASELINE}:\n  {}\nif that is meant: {REMEDY}", worse.join("\n  ")))
}

/// Runs the programs under callgrind.
fn count() -> Result<Vec<Section>, String> {
    let directory = target().join("callgrind");
    fs::create_dir_all(&directory).map_err(|e| format!("cannot make {}: {e}", directory.display()))?;
    let compiler = output("rustc", &["--version"])?.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let elements = target().join("debug/shm2_count_elements").display().to_string();
    let steps = callgrind(&target().join("counts/shm2_count_steps").display().to_string(), "", true)?;
    let mut of_elements = callgrind(&elements, "sink", true)?;
    of_elements.extend(callgrind(&elements, "source", false)?);
    let title = output(&elements, &["version"])?;
    Ok(vec![
        Section { title: "steps".into(), compiler: compiler.clone(), counts: steps },
        Section { title, compiler, counts: of_elements },
    ])
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = run::program(program).args(arguments).output().map_err(|e| format!("cannot run {program}: {e}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Median of the batches of each case. Counts inside one function, or everything.
fn callgrind(program: &str, argument: &str, in_function: bool) -> Result<Counts, String> {
    let out = target().join(format!("callgrind/{argument}.out"));
    // Of an earlier run; there may be none.
    let _ = fs::remove_file(&out);
    let mut valgrind = command("valgrind --tool=callgrind --combine-dumps=yes --dump-after=shm2_counts::end_of_batch");
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    if in_function {
        valgrind.arg("--toggle-collect=shm2_counts::counted*");
    }
    valgrind.arg(program).args(Some(argument).filter(|argument| !argument.is_empty()));
    valgrind.env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM");
    // No plugin but ours: their number would be part of the counts.
    valgrind.env("GST_REGISTRY", target().join("callgrind/registry.bin")).env("GST_REGISTRY_FORK", "no");
    valgrind.env("GST_PLUGIN_SYSTEM_PATH_1_0", "").env("GST_PLUGIN_PATH", "");
    println!("==> callgrind {program} {argument}");
    let done = valgrind.output().map_err(|e| format!("cannot run valgrind: {e}"))?;
    if !done.status.success() {
        return Err(format!("{program} failed under valgrind:\n{}", String::from_utf8_lossy(&done.stderr)));
    }
    let written = fs::read_to_string(&out).map_err(|e| format!("cannot read {}: {e}", out.display()))?;
    medians(&String::from_utf8_lossy(&done.stdout), &written)
}

/// `batches` has a line for each batch, `written` its total in the same order.
fn medians(batches: &str, written: &str) -> Result<Counts, String> {
    let totals = written.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<f64>().ok());
    let mut cases: Vec<(String, Vec<f64>)> = Vec::new();
    let mut totals = totals.peekable();
    for line in batches.lines() {
        let (steps, name) = line.split_once(' ').unwrap_or((line, ""));
        let steps: f64 = steps.parse().map_err(|_| format!("not the line of a batch: {line}"))?;
        let total = totals.next().ok_or("valgrind wrote fewer counts than there were batches")?;
        match cases.last_mut() {
            _ if steps == 0.0 => {}
            Some((last, counts)) if last == name => counts.push(total / steps),
            _ => cases.push((name.to_owned(), vec![total / steps])),
        }
    }
    // What was counted after the last batch.
    totals.next();
    if totals.peek().is_some() {
        return Err("valgrind wrote more counts than there were batches".into());
    }
    let median = |mut counts: Vec<f64>| {
        counts.sort_by(f64::total_cmp);
        counts[counts.len() / 2]
    };
    Ok(cases.into_iter().map(|(name, counts)| (name, median(counts))).collect())
}

/// The committed file.
struct Baseline {
    /// Lines before the first section: comments and tolerances.
    head: String,
    sections: Vec<Section>,
}

impl Baseline {
    fn path() -> PathBuf {
        root().join(BASELINE)
    }

    fn read() -> Result<Self, String> {
        let text = fs::read_to_string(Self::path()).map_err(|e| format!("cannot read {BASELINE}: {e}"))?;
        let (mut head, mut sections) = (String::new(), Vec::<Section>::new());
        for line in text.lines() {
            if let Some(title) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                sections.push(Section { title: title.into(), compiler: String::new(), counts: Vec::new() });
                continue;
            }
            let Some(section) = sections.last_mut() else {
                head.push_str(line);
                head.push('\n');
                continue;
            };
            match line.trim().split_once(' ') {
                None => {}
                Some(("compiler", version)) => section.compiler = version.trim().into(),
                Some((count, name)) => {
                    let count = count.parse().map_err(|_| format!("{BASELINE}: no count: {line}"))?;
                    section.counts.push((name.trim().into(), count));
                }
            }
        }
        Ok(Self { head, sections })
    }

    fn replace(&mut self, new: Section) {
        match self.sections.iter_mut().find(|section| section.title == new.title) {
            Some(section) => *section = new,
            None => self.sections.push(new),
        }
    }

    fn write(&self) -> Outcome {
        let mut text = format!("{}\n", self.head.trim_end());
        for Section { title, compiler, counts } in &self.sections {
            let _ = writeln!(text, "\n[{title}]\ncompiler {compiler}");
            for (name, count) in counts {
                let _ = writeln!(text, "{count:>9.1}  {name}");
            }
        }
        fs::write(Self::path(), text).map_err(|e| format!("cannot write {BASELINE}: {e}"))?;
        println!("{BASELINE} is written");
        Ok(())
    }

    /// Percent by which the counts of a kind of steps may grow. The kind is the first word of their name.
    fn tolerances(&self) -> BTreeMap<&str, f64> {
        let lines = self.head.lines().filter_map(|line| line.strip_prefix("tolerance ")?.split_once(' '));
        lines.filter_map(|(kind, percent)| Some((kind, percent.trim_end_matches(['%', ' ']).parse().ok()?))).collect()
    }

    /// Prints old and new counts; returns what grew by more than the tolerance, or is not in the baseline.
    fn compare(&self, counted: &Section) -> Vec<String> {
        let Section { title, compiler, counts } = counted;
        println!("\n{:<50}{:>10}{:>10}{:>9}", format!("instructions, {title}"), "baseline", "now", "%");
        let Some(old) = self.sections.iter().find(|section| section.title == *title) else {
            println!("skipped: {title}: {BASELINE} has no counts of it; to add them: {REMEDY}");
            return Vec::new();
        };
        let is_comparable = old.compiler == *compiler;
        let tolerances = self.tolerances();
        let mut worse = Vec::new();
        for (name, now) in counts {
            let Some((_, before)) = old.counts.iter().find(|(old, _)| old == name) else {
                worse.push(format!("{name}: new"));
                continue;
            };
            let percent = (now / before - 1.0) * 100.0;
            println!("{name:<50}{before:>10.1}{now:>10.1}{percent:>+9.1}");
            let kind = name.split(':').next().unwrap_or_default();
            let tolerance = tolerances.get(kind).copied().unwrap_or_default();
            if percent > tolerance {
                worse.push(format!("{name}: {before:.1}, now {now:.1}: {percent:+.1} %, above {tolerance} %"));
            } else if percent < -tolerance {
                println!("    lower by more than the tolerance; to keep that: {REMEDY}");
            }
        }
        let is_counted = |name: &str| counts.iter().any(|(counted, _)| counted == name);
        let gone = old.counts.iter().filter(|(name, _)| !is_counted(name));
        worse.extend(gone.map(|(name, _)| format!("{name}: no longer counted")));
        if !is_comparable {
            println!("skipped: {title}: the baseline is of rustc {}, this is {compiler}: {REMEDY}", old.compiler);
            worse.clear();
        }
        worse
    }
}
