//! `shm2 doctor`.

use super::Failure;
use serde::Serialize;
use shm2::{Access, Consumer, FrameInfo, Producer};
use shm2_cli::print_result;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
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
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Good, found: found.into(), remedy: None }
    }

    fn note(check: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { check, level: Level::Note, found: found.into(), remedy: Some(remedy) }
    }

    fn bad(check: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { check, level: Level::Bad, found: found.into(), remedy: Some(remedy) }
    }
}

/// Runs all checks. An error when one of them is bad.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let checks = [memory, control_group, limits, frames, kernel, logind, containers, devices, gstreamer];
    let findings: Vec<_> = checks.iter().flat_map(|check| check()).collect();
    for finding in &findings {
        print_result(&if arguments.json { serde_json::to_string(finding)? } else { text(finding) })?;
    }
    match findings.iter().filter(|finding| finding.level == Level::Bad).count() {
        0 => Ok(()),
        bad => Err(format!("{bad} of {} findings prevent frames from passing", findings.len()).into()),
    }
}

fn text(finding: &Finding) -> String {
    let word = match finding.level {
        Level::Good => "good",
        Level::Note => "note",
        Level::Bad => "BAD ",
    };
    let remedy = finding.remedy.map_or(String::new(), |remedy| format!("\n{:21}-> {remedy}", ""));
    format!("{word}  {:<14} {}{remedy}", finding.check, finding.found)
}

/// Space of /dev/shm.
fn memory() -> Vec<Finding> {
    let check = "/dev/shm";
    let Ok(file_system) = rustix::fs::statvfs("/dev/shm") else {
        return vec![Finding::bad(check, "it is not there", "mount it: mount -t tmpfs tmpfs /dev/shm")];
    };
    let mib = |blocks: u64| blocks.saturating_mul(file_system.f_frsize) >> 20;
    let (whole, free) = (mib(file_system.f_blocks), mib(file_system.f_bavail));
    let found = format!("{free} of {whole} MiB are free");
    vec![match free {
        0..64 => Finding::bad(
            check,
            found,
            "a region has 64 MiB by default: free some, or enlarge it: mount -o remount,size=2G /dev/shm; in Docker --shm-size=2g",
        ),
        64..512 => Finding::note(check, found, "eight frames of 4K RGB need 256 MiB; in Docker --shm-size=2g"),
        _ => Finding::good(check, found),
    }]
}

/// The memory that this process's control group has left.
fn control_group() -> Vec<Finding> {
    let check = "control group";
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(group) = group.lines().find_map(|line| line.strip_prefix("0::")) else { return Vec::new() };
    let number = |name: &str| -> Option<u64> {
        let path = format!("/sys/fs/cgroup{}/{name}", group.trim_end_matches('/'));
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let Some((limit, used)) = number("memory.max").zip(number("memory.current")) else { return Vec::new() };
    let left = limit.saturating_sub(used) >> 20;
    let found = format!("{left} of {} MiB are left", limit >> 20);
    vec![match left {
        0..128 => Finding::note(check, found, "the memory of a region counts for the group: raise memory.max"),
        _ => Finding::good(check, found),
    }]
}

fn limits() -> Vec<Finding> {
    let check = "descriptors";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let found = limit.map_or("no limit".into(), |limit| format!("a process may have {limit}"));
    vec![match limit {
        Some(0..256) => Finding::note(check, found, "each region takes some of them: ulimit -n 4096"),
        _ => Finding::good(check, found),
    }]
}

/// A frame passes through a region of its own, by each access.
fn frames() -> Vec<Finding> {
    let check = "a frame";
    let pass = |access| -> Result<(), Failure> {
        let name = format!("/dev/shm/shm2-doctor-{}", std::process::id());
        let mut producer = Producer::builder(&name)?.size(shm2::layout::MIN_REGION).create()?;
        let mut consumer = Consumer::builder(&name)?.access(access).attach(Some(Duration::from_secs(2)))?;
        producer.send(b"frame", &FrameInfo::new())?;
        let frame = consumer.next(Some(Duration::from_secs(2)))?;
        if frame.to_vec() == b"frame" { Ok(()) } else { Err("its bytes are wrong".into()) }
    };
    let result = pass(Access::Lease).and_then(|()| pass(Access::Snapshot));
    vec![match result {
        Ok(()) => Finding::good(check, "it passes, leased and copied"),
        Err(error) => Finding::bad(
            check,
            error.to_string(),
            "the text says what the system refuses; seccomp filters and odd file systems do so",
        ),
    }]
}

fn kernel() -> Vec<Finding> {
    let check = "kernel";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0u32));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    vec![match version {
        (0..5, _) | (5, 0..16) => {
            Finding::note(check, release, "without futex_waitv (Linux 5.16) consumers wake ten times a second")
        }
        (5, _) | (6, 0) => {
            Finding::note(check, release, "without MADV_COLLAPSE (Linux 6.1) large frames lie on small pages")
        }
        _ => Finding::good(check, release),
    }]
}

/// logind removes files of a user who logs out.
fn logind() -> Vec<Finding> {
    let is_running = Path::new("/run/systemd/seats").exists();
    let settings = fs::read_to_string("/etc/systemd/logind.conf").unwrap_or_default();
    let keeps = settings.lines().any(|line| line.trim() == "RemoveIPC=no");
    let is_person = rustix::process::getuid().as_raw() >= 1000;
    if !is_running || keeps || !is_person {
        return Vec::new();
    }
    let remedy = "for services use a system user, or set RemoveIPC=no in /etc/systemd/logind.conf";
    vec![Finding::note("logind", "regions of this user are removed when the last session ends", remedy)]
}

/// A container has a /dev/shm of its own.
fn containers() -> Vec<Finding> {
    let is_docker = Path::new("/.dockerenv").exists();
    let is_podman = Path::new("/run/.containerenv").exists();
    let name = match () {
        () if is_docker => "Docker",
        () if is_podman => "Podman",
        () if std::env::var_os("SNAP").is_some() => "a snap",
        () if Path::new("/.flatpak-info").exists() => "Flatpak",
        () => return Vec::new(),
    };
    let remedy = "programs outside see another /dev/shm: run both with --ipc=host, or mount one folder into both";
    vec![Finding::note("container", format!("this is {name}"), remedy)]
}

/// Memory that a virtual machine shares with its host.
fn devices() -> Vec<Finding> {
    let all = shm2::ivshmem::all().unwrap_or_default();
    all.iter()
        .map(|device| Finding::good("ivshmem", format!("{}, {} MiB", device.device, device.bytes >> 20)))
        .collect()
}

fn gstreamer() -> Vec<Finding> {
    let check = "GStreamer";
    let run = |arguments: &[&str]| {
        let output = Command::new("gst-inspect-1.0").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(version) = run(&["--version"]) else {
        return vec![Finding::note(
            check,
            "gst-inspect-1.0 is not found",
            "only the elements need it: apt-get install gstreamer1.0-tools",
        )];
    };
    let version = version.lines().next().unwrap_or_default().to_owned();
    let Some(plugin) = run(&["shm2"]) else {
        return vec![Finding::note(
            check,
            format!("{version}, without the plugin shm2"),
            "set GST_PLUGIN_PATH to the folder of libgstshm2.so",
        )];
    };
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = plugin.lines().find_map(|line| line.trim().strip_prefix("Version")).unwrap_or_default().trim();
    vec![if theirs == ours {
        Finding::good(check, format!("{version}, plugin {theirs}"))
    } else {
        Finding::note(check, format!("{version}, plugin {theirs}, this tool {ours}"), "install both from one release")
    }]
}
