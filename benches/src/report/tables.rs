//! The report as a page.

use crate::machine::Machine;
use crate::targets::Outcome;
use figures::Record;
use std::fmt::Write;

/// The whole page.
pub(crate) fn page(machine: &Machine, outcomes: &[Outcome], medians: &[Record], charts: &[String]) -> String {
    let Machine { processor, processors, kernel, gstreamer, date, commit, command } = machine;
    let mut page = format!(
        "# Measurements\n\n`{command}`, {date}, commit {commit}. {processors} x {processor}, {kernel}, GStreamer \
         {gstreamer}.\n\nThe ways alternate in rounds. Figures are medians; ratios are medians of the ratios of the \
         rounds. Figures of two tables, or of two machines, cannot be compared.\n\n## Targets\n\n"
    );
    page.push_str(&targets(outcomes));
    if !charts.is_empty() {
        page.push_str("\n## Charts\n\n");
        for chart in charts {
            let _ = writeln!(page, "![{chart}]({chart})\n");
        }
    }
    let mut benches: Vec<&str> = medians.iter().map(|record| record.bench.as_str()).collect();
    benches.dedup();
    for bench in benches {
        let own: Vec<_> = medians.iter().filter(|record| record.bench == bench).collect();
        let _ = write!(page, "\n## {bench}\n\n{}", figures(&own));
    }
    page
}

/// One row for each target.
pub(crate) fn targets(outcomes: &[Outcome]) -> String {
    let mut table = String::from(
        "| what | figure | shm2 | peer | peer's | ratio | target | met |\n|---|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        let Outcome { what, figure, ours, peer, theirs, ratio, target, is_met } = outcome;
        let [ours, theirs, ratio] = [ours, theirs, ratio].map(|figure| figure.map_or(String::new(), number));
        let is_met = match is_met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        let _ = writeln!(table, "| {what} | {figure} | {ours} | {peer} | {theirs} | {ratio} | {target} | {is_met} |");
    }
    table
}

/// A row for each case and way, a column for each figure that one of them has.
fn figures(records: &[&Record]) -> String {
    let mut names: Vec<&String> = Vec::new();
    for name in records.iter().flat_map(|record| record.figures.keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut table = String::from("| case | way |");
    for name in &names {
        let _ = write!(table, " {name} |");
    }
    table.push_str("\n|---|---|");
    table.push_str(&"---|".repeat(names.len()));
    table.push('\n');
    for record in records {
        let _ = write!(table, "| {} | {} |", record.case, record.way);
        for name in &names {
            let cell = record.figures.get(*name).map_or(String::new(), |figure| number(*figure));
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

/// About three digits.
fn number(figure: f64) -> String {
    match figure.abs() {
        large if large >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        zero if zero < 0.0005 => "0".into(),
        small if small < 0.1 => format!("{figure:.3}"),
        _ => format!("{figure:.2}"),
    }
}
