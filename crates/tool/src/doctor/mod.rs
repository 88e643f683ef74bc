//! `shm2 doctor`.
//!
//! | module | checks |
//! |---|---|
//! | `memory` | space of /dev/shm, control group, descriptors |
//! | `folders` | rights, locks and leftovers in each folder |
//! | `frames` | a frame passes |
//! | `kernel` | system calls, large pages, logind |
//! | `namespaces` | containers, and processes with another /dev/shm |
//! | `machines` | memory that virtual machines share |
//! | `sections` | named sections of Windows |
//! | `gstreamer` | the elements |

#[cfg(unix)]
mod folders;
mod frames;
mod gstreamer;
#[cfg(unix)]
mod kernel;
mod machines;
#[cfg(unix)]
mod memory;
#[cfg(unix)]
mod namespaces;
#[cfg(windows)]
mod sections;

use super::Failure;
use crate::output;
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folders of regions to check
    #[cfg_attr(unix, arg(default_value = "/dev/shm"))]
    folders: Vec<PathBuf>,
    /// Print one JSON object for each finding on a line
    #[arg(long)]
    json: bool,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Good,
    Note,
    Bad,
}

/// What a check found, and what to do about it.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Good, found: found.into(), remedy: None }
    }

    fn note(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Note, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn bad(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Bad, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn text(&self) -> String {
        let word = match self.level {
            Level::Good => "good",
            Level::Note => "note",
            Level::Bad => "BAD ",
        };
        let remedy = self.remedy.as_ref().map_or(String::new(), |remedy| format!("\n{:21}-> {remedy}", ""));
        format!("{word}  {:<14} {}{remedy}", self.check, self.found)
    }
}

/// Runs all checks. An error when one of them is bad.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let findings = find(arguments);
    for finding in &findings {
        output::print(&if arguments.json { serde_json::to_string(finding)? } else { finding.text() })?;
    }
    match findings.iter().filter(|finding| finding.level == Level::Bad).count() {
        0 => Ok(()),
        bad => Err(format!("{bad} of {} findings prevent frames from passing", findings.len()).into()),
    }
}

fn find(arguments: &Arguments) -> Vec<Finding> {
    let mut findings = Vec::new();
    #[cfg(unix)]
    {
        findings.extend(memory::check());
        findings.extend(arguments.folders.iter().flat_map(|folder| folders::check(folder)));
        findings.extend(kernel::check());
        findings.extend(namespaces::check());
    }
    #[cfg(windows)]
    {
        let _ = &arguments.folders;
        findings.extend(sections::check());
    }
    findings.push(frames::check());
    findings.extend(machines::check());
    findings.push(gstreamer::check());
    findings
}
