//! Pages: links that lead nowhere, lines that are too long, names of tests that do not exist.

use super::{Outcome, read, report};
use crate::run::root;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Longest line of a page, in characters.
const WIDTH: usize = 120;
/// A name in backticks with so many underscores is a test's.
const UNDERSCORES: usize = 4;

/// Checks every page against the tree and the tests.
pub fn check(pages: &[PathBuf], sources: &[PathBuf]) -> Outcome {
    let (mut functions, mut places) = (HashSet::new(), HashSet::new());
    for source in sources {
        let names: Vec<_> = read(source)?.lines().filter_map(function).collect();
        let file = source.file_stem().unwrap_or_default().to_string_lossy();
        places.extend(names.iter().map(|name| format!("{file}::{name}")));
        functions.extend(names);
    }
    let mut findings = Vec::new();
    for page in pages {
        let text = read(page)?;
        let mut in_code = false;
        for (number, line) in (1..).zip(text.lines()) {
            let place = format!("{}:{number}", page.display());
            in_code ^= line.trim_start().starts_with("```");
            // The row of a table cannot be wrapped.
            if !in_code && !line.starts_with('|') && line.chars().count() > WIDTH {
                findings.push(format!("{place}: longer than {WIDTH} characters"));
            }
            let unknown = quoted(line).filter(|name| !functions.contains(*name));
            findings.extend(unknown.map(|name| format!("{place}: there is no test {name}")));
            let misplaced = cited(line).filter(|name| !places.contains(*name));
            findings.extend(misplaced.map(|name| format!("{place}: no file has the test {name}")));
            if !in_code {
                findings.extend(links(line).filter_map(|link| dead(page, link)).map(|why| format!("{place}: {why}")));
            }
        }
    }
    report("pages", &findings)
}

/// The name of a function that this line begins to define.
fn function(line: &str) -> Option<String> {
    let rest = line.trim_start().split_once("fn ")?.1;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    Some(rest[..end].to_owned())
}

/// Names of tests among the words in backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    words.filter(is_name).filter(|word| word.matches('_').count() >= UNDERSCORES)
}

/// Tests cited as `place/file::name`, without the place.
fn cited(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split('`').skip(1).step_by(2).filter_map(|word| word.rsplit('/').next());
    words.filter(|word| {
        let is_test = |(_, name): (&str, &str)| name.matches('_').count() >= UNDERSCORES;
        word.split_once("::").is_some_and(is_test)
    })
}

/// Targets of the line's links.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

/// Why a link leads nowhere, if it does. Addresses on the web are not asked.
fn dead(page: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = match file {
        "" => root().join(page),
        file => root().join(page).parent()?.join(file),
    };
    if !target.exists() {
        return Some(format!("{link} does not exist"));
    }
    let anchor = anchor?;
    let text = std::fs::read_to_string(&target).ok()?;
    let has_anchor = text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
    (!has_anchor).then(|| format!("{link}: no such heading"))
}

/// The anchor that forges make of a heading.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
