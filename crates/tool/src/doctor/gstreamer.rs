//! GStreamer and the plugin.

use super::Finding;
use std::process::Command;

pub(super) fn check() -> Finding {
    let check = "GStreamer";
    let Some(version) = inspect(&["--version"]) else {
        let remedy = "only the elements need it: apt-get install gstreamer1.0-tools";
        return Finding::note(check, "gst-inspect-1.0 is not found", remedy);
    };
    let version = version.lines().next().unwrap_or_default().to_owned();
    let Some(plugin) = inspect(&["shm2"]) else {
        let remedy = "set GST_PLUGIN_PATH to the folder of libgstshm2.so";
        return Finding::note(check, format!("{version}, without the plugin shm2"), remedy);
    };
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = plugin.lines().find_map(|line| line.trim().strip_prefix("Version")).unwrap_or_default().trim();
    // A plugin built from a checkout has the commit behind its version.
    if theirs.split('-').next() == Some(ours) {
        return Finding::good(check, format!("{version}, plugin {theirs}"));
    }
    Finding::note(check, format!("{version}, plugin {theirs}, this tool {ours}"), "install both from one release")
}

fn inspect(arguments: &[&str]) -> Option<String> {
    let output = Command::new("gst-inspect-1.0").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
